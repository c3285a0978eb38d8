"""Labels that contradict each other: the same state and message, other commands. No model can learn both.

Two rows are of the same state if their prompts are the same but for date and time (a problem), or but for the wording
of the user's earlier messages as well (a warning: that wording may be the reason).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from rasa_ft_ext.checks.entries import Entry
from rasa_ft_ext.checks.findings import Finding
from rasa_ft_ext.commands import difference, value_difference
from rasa_ft_ext.prompts import one_line

_USER = re.compile(r"^([ \t]*USER:).*$", re.MULTILINE)
_ADVICE = (
    "Decide which of them is right, change the tests or the flows' descriptions so that the teacher says it each time, "
    "and make the data again."
)


def check_contradictions(entries: Sequence[Entry]) -> Iterator[Finding]:
    """One finding for each state and message with several answers, at the first row that has another one."""
    told: set[str] = set()
    by_prompt: dict[str, list[Entry]] = {}
    by_state: dict[tuple[str, str], list[Entry]] = {}
    for entry in entries:
        by_prompt.setdefault(entry.timeless, []).append(entry)
        if entry.message:
            by_state.setdefault(_state(entry), []).append(entry)
    for found in by_prompt.values():
        if other := _contradicting(found):
            told |= {entry.row for entry in found}
            yield _finding("problem", "the same prompt", found[0], other)
    for found in by_state.values():
        other = _contradicting([entry for entry in found if entry.row not in told])
        if other:
            first = next(entry for entry in found if entry.row not in told)
            yield _finding("warning", "the same message in the same state", first, other)


def _state(entry: Entry) -> tuple[str, str]:
    """The prompt without the user's words, and the message."""
    silent = _USER.sub(r"\1", entry.timeless).replace(one_line(entry.message), "")
    return silent, " ".join(entry.message.casefold().split())


def _contradicting(found: Sequence[Entry]) -> Entry | None:
    """The first row that has other commands than the first one; the place of a `SetSlot` does not matter."""
    return next((other for other in found[1:] if _contradict(found[0], other)), None)


def _contradict(one: Entry, other: Entry) -> bool:
    return bool(difference(one.commands, other.commands) or value_difference(one.commands, other.commands))


def _finding(severity: str, what: str, first: Entry, other: Entry) -> Finding:
    text = (
        f"{what.capitalize()}, {other.message or 'an unknown one'!r}, has other commands: "
        f"{_in_line(other)} here, {_in_line(first)} at {first.place}."
    )
    return Finding.model_validate(
        {"kind": "contradiction", "severity": severity, "place": other.place, "text": text, "advice": _ADVICE}
    )


def _in_line(entry: Entry) -> str:
    return "; ".join(entry.completion.splitlines())
