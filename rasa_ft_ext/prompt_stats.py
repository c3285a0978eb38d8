"""How long an assistant's prompts are, and how much of them a server need not compute again.

The same messages are rendered with each template: every annotated user message of the recorded conversations. They
come in the order in which they would come if all conversations went on at once: the first message of each, then the
second of each, and so on. Where a template shows a clock and the assistant has one, every message has a time of its
own, seven seconds after the one before.

A server with prefix caching, such as vLLM, keeps what it has computed in blocks of 16 tokens. A block can be used again
if it and all blocks before it are the same as in an earlier prompt; of a prompt that was seen before as a whole, the
last token is computed again. `reusable` is the share of all prompt tokens that are found in such a cache, which begins
empty and never throws anything away. Without that limit the order of the prompts hardly matters. The tokens are those
of the prompt itself, without the few that the chat template of a model puts around it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from itertools import zip_longest
from math import ceil
from pathlib import Path
from typing import Any, NamedTuple

from rasa_ft_ext.conversation import AnnotatedFile, Record
from rasa_ft_ext.dataset.student import SHIPPED, StudentPrompt, check_recordings, check_variables, read_student_prompt
from rasa_ft_ext.errors import ConfigError, MissingExtraError, WorkspaceError
from rasa_ft_ext.prompts import render, to_json, variables_of
from rasa_ft_ext.workspace import DATASET, PROMPT_TEMPLATE, Workspace

BLOCK = 16
OWN = ("data", "assistant")
RASA = ("CompactLLMCommandGenerator", "SearchReadyLLMCommandGenerator", "SingleStepLLMCommandGenerator")
TOKENIZER = "cl100k_base"
_CLOCK = "current_datetime"
_FIRST, _BETWEEN = datetime(2026, 1, 5, 9, tzinfo=UTC), timedelta(seconds=7)


class PromptFigures(Record):
    """The prompts of one template, in tokens.

    `clock` says whether the prompts show date or time. `tokens_p50` and `tokens_p95` are the lengths that half and
    95 % of the prompts do not exceed. `reusable` is the share of all tokens that a prefix cache has already.
    """

    template: str
    clock: bool
    tokens_mean: float
    tokens_p50: int
    tokens_p95: int
    tokens_max: int
    reusable: float


class PromptStats(Record):
    """The figures of all templates on the same messages.

    `prompts` is the number of messages, `left_out` the number of those whose variables could not be recorded.
    """

    tokenizer: str
    conversations: int
    prompts: int
    left_out: int
    templates: tuple[PromptFigures, ...]
    notes: tuple[str, ...] = ()


class Tokenizer(NamedTuple):
    """What a prompt's tokens are counted with."""

    name: str
    encode: Callable[[str], Sequence[int]]


@dataclass(frozen=True)
class Asked:
    """One message that a prompt is to be rendered for: the recorded variables, and what was said up to it."""

    variables: dict[str, Any]
    messages: tuple[str, ...]


@dataclass(frozen=True)
class Template:
    """A template to be measured; `clock` adds date and time, whether or not the assistant has them."""

    name: str
    source: str
    clock: bool = False


class PrefixCache:
    """A cache of whole blocks of tokens, each known by its content and that of all blocks before it."""

    def __init__(self, block: int = BLOCK) -> None:
        self._block = block
        self._known: dict[tuple[int, tuple[int, ...]], int] = {}

    def add(self, ids: Sequence[int]) -> int:
        """Take in a prompt; return how many of its tokens were there already."""
        size = self._block
        usable = (len(ids) - 1) // size  # the last token is computed in any case: what comes after it is wanted
        found = before = 0
        for number in range(len(ids) // size):
            key = (before, tuple(ids[number * size : (number + 1) * size]))
            found += key in self._known and number < usable
            before = self._known.setdefault(key, len(self._known) + 1)
        return found * size


def prompt_stats(
    workspace: Workspace, *, templates: Sequence[str] = (), tokenizer: str | None = None, project: Path = Path()
) -> PromptStats:
    """Measure prompts.

    Args:
        workspace: Holds the annotations, and the examples if they are made already.
        templates: What to measure: `data`, `assistant`, those that ship, those of Rasa's generators, files. By
            default all but files.
        tokenizer: A folder or file with a Hugging Face tokenizer, or a name on its hub; by default `cl100k_base`.
        project: The folder that files start from.

    Raises:
        WorkspaceError: there are no annotations, or none with variables.
        ConfigError: a template or the tokenizer cannot be used.
        MissingExtraError: a template of Rasa's was asked for, which is not installed.
    """
    annotated = list(workspace.annotations())
    notes: list[str] = []
    asked, left_out = in_order_of_arrival(annotated)
    if not asked:
        raise WorkspaceError(f"No annotation in {workspace.root} holds the variables of its prompt: nothing to render.")
    chosen = _templates(workspace, templates, project, notes)
    for template in chosen:
        student = StudentPrompt(template.name, template.source)
        check_variables(student, workspace.card())
        check_recordings(student, annotated)
    counted = load_tokenizer(tokenizer, project)
    if left_out:
        notes.append(f"{left_out} messages are left out: the variables of their prompts could not be recorded.")
    return PromptStats(
        tokenizer=counted.name,
        conversations=sum(len(file.conversations) for file in annotated),
        prompts=len(asked),
        left_out=left_out,
        templates=tuple(measure(template, asked, counted.encode) for template in chosen),
        notes=tuple(notes),
    )


def in_order_of_arrival(annotated: Iterable[AnnotatedFile]) -> tuple[list[Asked], int]:
    """The recorded messages as if all conversations went on at once, and how many had to be left out."""
    rows: list[list[Asked]] = []
    left_out = 0
    for file in annotated:
        for conversation in file.conversations:
            said = tuple(turn.message for turn in conversation.turns)
            rows.append([])
            for index, turn in conversation.annotated:
                if turn.annotation is not None and turn.annotation.renders:
                    rows[-1].append(Asked(turn.annotation.variables, said[: index + 1]))
                else:
                    left_out += 1
    return [entry for round_ in zip_longest(*rows) for entry in round_ if entry is not None], left_out


def measure(template: Template, asked: Sequence[Asked], encode: Callable[[str], Sequence[int]]) -> PromptFigures:
    """Render a template for all messages, count the tokens, and send them through a prefix cache."""
    cache = PrefixCache()
    prompts = [encode(prompt) for prompt in prompts_of(template, asked)]
    found = sum(cache.add(ids) for ids in prompts)
    lengths = sorted(len(ids) for ids in prompts)
    return PromptFigures(
        template=template.name,
        clock=_has_clock(template, asked),
        tokens_mean=round(sum(lengths) / len(lengths), 1),
        tokens_p50=_percentile(lengths, 0.5),
        tokens_p95=_percentile(lengths, 0.95),
        tokens_max=lengths[-1],
        reusable=round(found / sum(lengths), 4),
    )


def prompts_of(template: Template, asked: Sequence[Asked]) -> list[str]:
    """The prompt for each of the messages, in their order."""
    prompts = []
    clock = _has_clock(template, asked)
    for number, entry in enumerate(asked):
        now = {_CLOCK: to_json(_FIRST + number * _BETWEEN)} if clock else {}
        prompts.append(render(template.source, {**entry.variables, **now}, entry.messages))
    return prompts


def _has_clock(template: Template, asked: Sequence[Asked]) -> bool:
    shown = _CLOCK in variables_of(template.source)
    return shown and (template.clock or any(entry.variables.get(_CLOCK) for entry in asked))


def _percentile(ordered: Sequence[int], share: float) -> int:
    """The smallest of the numbers that so many do not exceed."""
    return ordered[ceil(share * len(ordered)) - 1]


def _templates(workspace: Workspace, names: Sequence[str], project: Path, notes: list[str]) -> list[Template]:
    """The templates with these names, one entry for those that are the same."""
    chosen: list[Template] = []
    if "data" in names or (not names and (workspace.folder(DATASET) / PROMPT_TEMPLATE).is_file()):
        chosen.append(Template("data", workspace.template()))
    if "assistant" in names or not names:
        own = workspace.card().templates
        chosen += [Template("assistant" if len(own) == 1 else f"assistant {id_}", own[id_]) for id_ in own]
    known = {*OWN, *RASA}
    students = [name for name in dict.fromkeys(names) if name not in known] if names else [*SHIPPED]
    chosen += _read(students, project)
    of_rasa = [name for name in RASA if name in names or not names]
    if of_rasa and find_spec("rasa") is None:
        if names:
            raise MissingExtraError("Rasa Pro, whose templates are asked for,", "rasa")
        notes.append("The templates of Rasa's generators are not measured: Rasa Pro is not installed here.")
    elif of_rasa:
        from rasa_ft_ext.rasa_pro.templates import default_templates

        found = default_templates()
        chosen += [Template(name, found[name], clock=True) for name in of_rasa]
    return _merged(chosen)


def _read(names: Iterable[str], project: Path) -> list[Template]:
    """The templates that ship or stand in files; the problems of all of them at once."""
    found, problems = [], []
    for name in names:
        try:
            found.append(Template(name, read_student_prompt(name, project).source))
        except ConfigError as error:
            problems += [f"{name}: {problem}" for problem in error.problems]
    if problems:
        raise ConfigError(f"templates (others have the names {', '.join((*OWN, *RASA))})", problems)
    return found


def _merged(templates: Iterable[Template]) -> list[Template]:
    """Give templates with the same text one entry with all of their names."""
    names: dict[tuple[str, bool], list[str]] = {}
    for template in templates:
        names.setdefault((template.source, template.clock), []).append(template.name)
    return [Template(" = ".join(found), source, clock) for (source, clock), found in names.items()]


def load_tokenizer(given: str | None, project: Path = Path()) -> Tokenizer:
    """The tokenizer in a folder or file of Hugging Face's, or of that name on its hub; by default one that is here.

    Raises:
        ConfigError: it cannot be loaded.
    """
    if given is None:
        return Tokenizer(TOKENIZER, _bundled())
    from tokenizers import Tokenizer as Fast

    path = project / given
    file = path / "tokenizer.json" if path.is_dir() else path
    try:
        found = Fast.from_file(str(file)) if path.exists() else Fast.from_pretrained(given)
    except Exception as error:  # of Rust, of the hub, of the network
        reason = f"{file} cannot be read" if path.exists() else "there is no such folder, and the hub does not give it"
        raise ConfigError(f"tokenizer {given}", [f"It cannot be loaded: {reason} ({error})."]) from error
    return Tokenizer(given, lambda text: found.encode(text, add_special_tokens=False).ids)


def _bundled() -> Callable[[str], Sequence[int]]:
    """The tokenizer of GPT-4 as litellm brings it along, so that nothing is downloaded."""
    import tiktoken

    variable, litellm = "TIKTOKEN_CACHE_DIR", find_spec("litellm")
    before = os.environ.get(variable)
    if litellm is not None and litellm.origin is not None:
        os.environ[variable] = str(Path(litellm.origin).parent / "litellm_core_utils" / "tokenizers")
    try:
        encoding = tiktoken.get_encoding(TOKENIZER)
    finally:
        os.environ.pop(variable, None)
        if before is not None:
            os.environ[variable] = before
    return lambda text: encoding.encode(text, disallowed_special=())
