"""Labels that contradict each other: the same state and message, other commands. No model can learn both.

They come about where the tests do not agree, or where a student's prompt leaves out what the teacher's label depends
on. They are named, not dropped: which of them is right only a person can say.

Two rows are of the same state if their prompts are the same but for date and time (a problem), or but for the wording
of the user's earlier messages as well (a warning: that wording may be the reason). Commands contradict when Rasa would
do something else for them.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol, TypeVar

from rasa_ft_ext.checks.entries import Entry
from rasa_ft_ext.checks.findings import Finding, quoted
from rasa_ft_ext.commands import Command, same_commands
from rasa_ft_ext.conversation import Example
from rasa_ft_ext.prompts import one_line, without_clock

_USER = re.compile(r"^([ \t]*USER:).*$", re.MULTILINE)
_ADVICE = (
    "Decide which of them is right, change the tests or the flows' descriptions so that the teacher says it each time, "
    "and make the data again."
)


class _Labelled(Protocol):
    @property
    def commands(self) -> tuple[Command, ...]: ...


_Row = TypeVar("_Row", bound=_Labelled)


def contradictions_of(examples: Iterable[Example]) -> tuple[str, ...]:
    """The prompts with contradicting examples, a sentence each, in the order of the examples."""
    by_prompt: dict[str, list[Example]] = {}
    for example in examples:
        by_prompt.setdefault(without_clock(example.prompt), []).append(example)
    return tuple(_told(found) for found in by_prompt.values() if _contradicting(found))


def check_contradictions(entries: Sequence[Entry]) -> Iterator[Finding]:
    """One finding for each state and message with several answers, at the first row that has another one."""
    told: set[str] = set()
    by_prompt: dict[str, list[Entry]] = {}
    by_state: dict[tuple[bytes, str], list[Entry]] = {}
    for entry in entries:
        by_prompt.setdefault(entry.timeless, []).append(entry)
        if entry.message:
            by_state.setdefault(_state(entry), []).append(entry)
    for found in by_prompt.values():
        if other := _contradicting(found):
            told |= {entry.row for entry in found}
            yield _finding("problem", "the same prompt", found[0], other)
    for found in by_state.values():
        rest = [entry for entry in found if entry.row not in told]
        if other := _contradicting(rest):
            yield _finding("warning", "the same message in the same state", rest[0], other)


def _state(entry: Entry) -> tuple[bytes, str]:
    """The SHA-256 of the prompt without the user's words, since the prompts are long, and the message."""
    silent = _USER.sub(r"\1", entry.timeless).replace(one_line(entry.message), "")
    return hashlib.sha256(silent.encode()).digest(), " ".join(entry.message.casefold().split())


def _contradicting(found: Sequence[_Row]) -> _Row | None:
    """The first row that has other commands than the first one."""
    return next((other for other in found[1:] if not same_commands(found[0].commands, other.commands)), None)


def _finding(severity: str, what: str, first: Entry, other: Entry) -> Finding:
    text = (
        f"{what.capitalize()}, {quoted(other.message or 'an unknown one')}, has other commands: "
        f"{_in_line(other.completion)} here, {_in_line(first.completion)} at {first.place}."
    )
    return Finding.model_validate(
        {"kind": "contradiction", "severity": severity, "place": other.place, "text": text, "advice": _ADVICE}
    )


def _told(examples: Sequence[Example]) -> str:
    """Such as `'the big one': cars.yml::a (set slot size big) or cars.yml::b (start flow book_hotel)`."""
    answers: dict[str, list[str]] = {}
    for example in examples:
        answers.setdefault(example.completion, []).extend([example.test, *example.also_in])
    parts = [f"{', '.join(dict.fromkeys(tests))} ({_in_line(text)})" for text, tests in answers.items()]
    return f"{examples[0].message!r}: {' or '.join(parts)}"


def _in_line(completion: str) -> str:
    return "; ".join(completion.splitlines())
