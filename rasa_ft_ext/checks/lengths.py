"""Rows that will not fit into the context of a base model: a training that cut them off would learn half an answer."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rasa_ft_ext.checks.entries import Entry
from rasa_ft_ext.checks.findings import Finding
from rasa_ft_ext.errors import ConfigError


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


def lengths_of(entries: Sequence[Entry], context: Context) -> list[int]:
    """The tokens of prompt and completion of each row, without those that a chat template puts around them."""
    known: dict[str, int] = {}

    def count(text: str) -> int:
        if text not in known:
            known[text] = len(context.encode(text))
        return known[text]

    return [count(entry.prompt) + count(entry.completion) for entry in entries]


def check_lengths(entries: Sequence[Entry], lengths: Sequence[int], context: Context) -> Iterator[Finding]:
    """One finding for each row that is too long."""
    advice = (
        "Make the data again with --student-prompt compact, let the assistant retrieve fewer flows, or take a base "
        "model with a longer context."
    )
    for entry, length in zip(entries, lengths, strict=True):
        if length > context.tokens:
            text = f"It has {length:,} tokens of {context.tokenizer}; a row may have {context.tokens:,}."
            yield Finding(kind="length", severity="problem", place=entry.place, text=text, advice=advice)
