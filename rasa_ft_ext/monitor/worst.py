"""Which messages went wrong worst: one for each that came again and again, redacted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from rasa_ft_ext.monitor.distance import Nearest, groups_of
from rasa_ft_ext.monitor.turns import Turn
from rasa_ft_ext.redaction import Redactor

# Why a message is chosen, the worst first, and the word for it in the name of a draft.
UNPARSED = "no command could be read from the answer"
CANNOT_HANDLE = "the assistant could not handle it"
UNTRAINED = "it starts a flow that no example starts"
FAR = "it is far from every message of the training data"
CLARIFIED = "the assistant asked what was meant"
SLUGS = {
    UNPARSED: "unparsed",
    CANNOT_HANDLE: "cannot_handle",
    UNTRAINED: "untrained_flow",
    FAR: "far",
    CLARIFIED: "clarified",
}


@dataclass
class Group:
    """Messages that are alike, letters aside: the first of them, and how many they are."""

    turn: Turn
    date: str
    reasons: tuple[str, ...]
    nearest: Nearest | None
    count: int = 1


@dataclass
class WorstTurns:
    """Collects while turns are read; `chosen` are the worst so far."""

    groups: dict[object, Group] = field(default_factory=dict)

    def add(self, turn: Turn, date: str, reasons: Sequence[str], nearest: Nearest | None) -> None:
        """Take note of a turn with at least one reason."""
        key = groups_of(turn.text) or turn.text
        if key not in self.groups:
            self.groups[key] = Group(turn, date, tuple(reasons), nearest)
            return
        group = self.groups[key]
        group.count += 1
        if _rank(reasons) < _rank(group.reasons):
            self.groups[key] = Group(turn, date, tuple(reasons), nearest, group.count)

    def chosen(self, count: int) -> list[Group]:
        """The worst: by the first reason, then by how often they came, then by how far they are."""
        return sorted(self.groups.values(), key=_order)[:count]


def reasons_for(turn: Turn, *, far: bool, untrained: bool) -> list[str]:
    """Why a turn should be looked at; nothing for most."""
    if not (turn.answered and turn.typed):
        return []
    found = {
        UNPARSED: turn.unparsed,
        CANNOT_HANDLE: turn.went("cannot handle", "pattern_cannot_handle"),
        UNTRAINED: untrained,
        FAR: far,
        CLARIFIED: turn.went("clarify", "pattern_clarification"),
    }
    return [reason for reason, holds in found.items() if holds]


def redacted(turn: Turn, regions: Sequence[str]) -> tuple[list[dict[str, str]], str]:
    """The steps up to the message, with it, and what the LLM answered; the same placeholder for the same value."""
    redactor = Redactor(regions)
    steps = [{kind: redactor.text(text) for kind, text in step.items()} for step in turn.before]
    steps.append({"user": redactor.text(turn.text)})
    return steps, redactor.text(turn.reading)


def _rank(reasons: Sequence[str]) -> int:
    return list(SLUGS).index(reasons[0])


def _order(group: Group) -> tuple[int, int, float, float]:
    similarity = group.nearest.similarity if group.nearest else 1.0
    return _rank(group.reasons), -group.count, similarity, group.turn.timestamp
