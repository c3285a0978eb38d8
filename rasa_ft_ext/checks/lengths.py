"""Rows that will not fit into the context of a base model: a training that cut them off would learn half an answer."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from rasa_ft_ext.checks.entries import Entry
from rasa_ft_ext.checks.findings import Finding
from rasa_ft_ext.errors import ConfigError

_REMEMBERED = 1000  # texts: most rows share their completion with others


@dataclass(frozen=True)
class Context:
    """The context of a base model: what it counts with, and how many tokens it holds."""

    tokenizer: str
    encode: Callable[[str], Sequence[int]]
    tokens: int


def context_length(folder: Path) -> int:
    """The tokens that a base model's context holds, as the `config.json` in its folder says.

    Raises:
        ConfigError: there is no such file, or it does not say.
    """
    file = folder / "config.json"
    if not file.is_file():
        raise ConfigError(
            "check-data", [f"There is no {file}, which says how long a row may be. Give that with --max-length."]
        )
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        tokens = found.get("max_position_embeddings") or found.get("text_config", {}).get("max_position_embeddings")
    except (OSError, ValueError, AttributeError):
        tokens = None
    if not isinstance(tokens, int):
        raise ConfigError("check-data", [f"{file} does not say how long a row may be. Give it with --max-length."])
    return tokens


def lengths_of(entries: Iterable[Entry], context: Context) -> Iterator[int]:
    """The tokens of prompt and completion of each row, without those that a chat template puts around them."""

    @lru_cache(maxsize=_REMEMBERED)
    def count(text: str) -> int:
        return len(context.encode(text))

    for entry in entries:
        yield count(entry.prompt) + count(entry.completion)


def check_lengths(entries: Sequence[Entry], lengths: Iterable[int], context: Context) -> Iterator[Finding]:
    """One finding for each row that is too long."""
    advice = (
        "Make the data again with --student-prompt compact, let the assistant retrieve fewer flows, or take a base "
        "model with a longer context."
    )
    for number, length in enumerate(lengths):
        if length > context.tokens:
            text = f"It has {length:,} tokens of {context.tokenizer}; a row may have {context.tokens:,}."
            place = entries[number].place
            yield Finding(kind="length", severity="problem", place=place, text=text, advice=advice)
