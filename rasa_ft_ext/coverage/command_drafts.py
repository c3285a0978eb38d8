"""A test case for each command that occurs too seldom: a conversation in which the user says what needs the command.

    found, notes = command_drafts(flows, coverage.commands, times=1, values=values)

Only commands that the assistant's prompt names are looked at.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice, pairwise
from typing import Any

from rasa_ft_ext.commands import Command
from rasa_ft_ext.coverage.conditions import Value
from rasa_ft_ext.coverage.count import RASAS_NAMES
from rasa_ft_ext.coverage.drafts import Draft, Turn, Writer
from rasa_ft_ext.coverage.guide import Guide
from rasa_ft_ext.coverage.paths import Path
from rasa_ft_ext.coverage.walk import Walk
from rasa_ft_ext.coverage_results import CommandCoverage
from rasa_ft_ext.flow_map import FlowMap

_MOST = 3  # tests for one command
_EFFORT = 200  # steps to a flow's first question
_KINDS = {name: kind for kind, name in RASAS_NAMES.items()}


@dataclass(frozen=True)
class _Said:
    """What a user says so that a command is needed; `{name}` is what the assistant calls a flow.

    `pattern` is what Rasa starts then, whatever the assistant is.
    """

    message: str
    meant: str
    pattern: str | None = None


_SAID = {
    "CancelFlow": _Said("Never mind, I don't want that any more.", "gives up the task: {name}"),
    "SkipQuestion": _Said(
        "I'd rather not say. Let's go on without it.",
        "does not want to answer the question, but to go on",
        pattern="pattern_skip_question",
    ),
    "RepeatLastBotMessages": _Said(
        "Sorry, could you say that again?", "asks to hear the last message again", pattern="pattern_repeat_bot_messages"
    ),
    "ChitChat": _Said("How are you today?", "makes small talk"),
    "SearchAndReply": _Said("What should I know about {name}?", "asks for knowledge about: {name}"),
}


def command_drafts(
    flows: FlowMap, commands: Iterable[CommandCoverage], *, times: int, values: Mapping[str, Sequence[Value]]
) -> tuple[list[Draft], list[str]]:
    """The test cases, and a note on commands for which there is none.

    Args:
        flows: All flows.
        commands: How often each command occurs, with the tests that are suggested for other gaps.
        times: How often it should; of one command, no more tests are drafted than flows can begin, and few.
        values: The values that each slot may have, likely ones first.
    """
    found: list[Draft] = []
    none: list[str] = []
    places = _Places(flows, values)
    for command in commands:
        lacking = min(times - command.count, _MOST)
        if command.offered and lacking > 0:
            drafts = list(islice(places.drafts(command.name), lacking))
            found += drafts
            none += [] if drafts else [repr(command.name)]
    note = f"No test could be drafted for these commands: {', '.join(none)}. Write one by hand."
    return found, [note] if none else []


class _Places:
    """The flows that a user can start, each up to its first question, simple ones first."""

    def __init__(self, flows: FlowMap, values: Mapping[str, Sequence[Value]]) -> None:
        self._writer = Writer(flows)
        self._flows = {flow.id: flow for flow in flows.flows if flow.startable and flow.steps}
        found = [_to_question(Guide(flows, values), flow) for flow in self._flows]
        self._walks = sorted((walk for walk in found if walk is not None), key=_effort)

    def drafts(self, name: str) -> Iterator[Draft]:
        """Tests for a command, no more than one for each flow."""
        kind = _KINDS.get(name, "")
        if kind == "Clarify":
            made = self._unclear()
        elif kind in _SAID:
            made = self._behind_questions(kind, _SAID[kind])
        else:  # how a flow is started and a slot is set is drafted anyway
            made = (self._draft(walk) for walk in self._walks if kind in ("StartFlow", "SetSlot"))
        for number, draft in enumerate(made, 1):
            yield replace(draft, name=f"suggested_command_{name.replace(' ', '_')}_{number}", command=name)

    def _draft(self, walk: Walk) -> Draft:
        return self._writer.draft(Path(walk, ()), "")

    def _behind_questions(self, kind: str, said: _Said) -> Iterator[Draft]:
        """The first question of a flow comes, and the user says something else."""
        for walk in self._walks:
            begun = self._draft(replace(walk, events=walk.events[:-1]))
            turn = _turn(kind, said, walk.events[0].flow, self._name(walk.events[0].flow))
            checks = () if turn.assertions else self._draft(walk).turns[0].checks
            yield replace(begun, turns=(replace(begun.turns[0], checks=checks), turn))

    def _unclear(self) -> Iterator[Draft]:
        """The user names two flows, and wants one of them."""
        ids = [walk.events[0].flow for walk in self._walks if not walk.starts]
        for one, other in pairwise(ids if len(ids) > 1 else self._flows):
            both = f"{self._name(one)} or {self._name(other)}"
            turn = Turn(
                f"It's about {both}, I'm not sure which.",
                Command(type="Clarify", args=tuple(sorted((one, other)))),
                f"is not sure which of the two is wanted: {both}",
                assertions=({"flow_started": "pattern_clarification"},),
            )
            yield Draft("", one, both, (turn,), ())

    def _name(self, flow: str) -> str:
        return self._flows[flow].name or flow.replace("_", " ")


def _turn(kind: str, said: _Said, flow: str, name: str) -> Turn:
    assertions: list[dict[str, Any]] = []
    if kind == "CancelFlow":
        assertions = [{"flow_cancelled": {"flow_id": flow}}]
    elif said.pattern:
        assertions = [{"flow_started": said.pattern}]
    meant = said.meant.format(name=name)
    return Turn(said.message.format(name=name), Command(type=kind), meant, assertions=tuple(assertions))


def _to_question(guide: Guide, flow: str) -> Walk | None:
    """The shortest way from a flow's beginning to a question."""
    waiting = deque(guide.begin(flow))
    for _ in range(_EFFORT):
        if not waiting:
            return None
        walk = waiting.popleft()
        if walk.events[-1].kind == "ask":
            return walk
        waiting += guide.advance(walk)
    return None


def _effort(walk: Walk) -> tuple[int, int]:
    """What a test has to prepare before the question, and how far it is."""
    return len(walk.stubs) + len(walk.starts) + len(walk.open), len(walk.events)
