"""Count what passing tests cover: one pass over their events, one over the flows.

    coverage = count(workspace.flow_map(), [as_tested(entry) for entry in conversations], offered, failed=0)

No path through a flow is ever listed, so many branches cost no more than many steps.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rasa_ft_ext._version import __version__
from rasa_ft_ext.commands import Command
from rasa_ft_ext.conversation import Conversation
from rasa_ft_ext.coverage.stack import moves
from rasa_ft_ext.coverage_results import CommandCoverage, Coverage, FlowCoverage, Gap, SlotCoverage
from rasa_ft_ext.flow_map import FlowMap, MappedFlow, MappedSlot, MappedStep, Way

# What Rasa calls the commands in its events and in its own histogram.
RASAS_NAMES = {
    "StartFlow": "start flow",
    "SetSlot": "set slot",
    "CancelFlow": "cancel flow",
    "Clarify": "clarify",
    "ChitChat": "chitchat",
    "SearchAndReply": "knowledge",
    "SkipQuestion": "skip question",
    "RepeatLastBotMessages": "repeat",
    "ContinueAgent": "continue agent",
    "RestartAgent": "restart agent",
    "HumanHandoff": "human handoff",
    "CannotHandle": "cannot handle",
    "ChangeFlow": "change_flow",
}


@dataclass(frozen=True)
class Tested:
    """One passing test: the tracker's events, and by the place of a user message among them what the LLM said to it."""

    __test__ = False  # keeps pytest from collecting the class

    id: str
    events: Sequence[Mapping[str, Any]]
    labels: Mapping[int, Sequence[Command]] = field(default_factory=dict)


def as_tested(conversation: Conversation) -> Tested:
    """An annotated conversation as a test that counts."""
    labels = {turn.events_before: turn.annotation.labels for turn in conversation.turns if turn.annotation is not None}
    return Tested(conversation.id, conversation.events, labels)


def count(flows: FlowMap, tests: Iterable[Tested], offered: Iterable[str], *, failed: int) -> Coverage:
    """Count.

    Args:
        flows: The assistant's flows.
        tests: The passing tests.
        offered: The types of the commands that the assistant's prompt names.
        failed: How many other tests there were.

    Raises:
        WorkspaceError: the events of a test are not whole.
    """
    seen = _Seen()
    for test in tests:
        seen.add(test)
    return Coverage(
        version=__version__,
        tests=seen.tests,
        failed=failed,
        flows=tuple(_flow(flow, seen) for flow in flows.flows),
        slots=tuple(_slot(slot, seen) for slot in flows.slots),
        commands=_commands(seen.commands, offered),
    )


class _Seen:
    """What the tests came through."""

    def __init__(self) -> None:
        self.tests = 0
        self.steps: set[tuple[str, str]] = set()
        self.ways: set[tuple[str, str, str]] = set()
        self.by_flow: dict[str, dict[str, None]] = {}
        self.commands: Counter[str] = Counter()
        self.filled: dict[str, list[Any]] = {}
        self.set_by_command: Counter[str] = Counter()

    def add(self, test: Tested) -> None:
        self.tests += 1
        for move in moves(test.events):
            self.steps.add((move.flow, move.after))
            self.by_flow.setdefault(move.flow, {})[test.id] = None
            if move.before is not None:
                self.ways.add((move.flow, move.before, move.after))
        said = False
        for index, event in enumerate(test.events):
            if event.get("event") == "user":
                said = True
                self._hear(event, test.labels.get(index, ()))
            elif said and event.get("event") == "slot" and event.get("value") is not None:
                self.filled.setdefault(str(event.get("name")), []).append(event["value"])

    def _hear(self, event: Mapping[str, Any], labels: Sequence[Command]) -> None:
        """Count the commands that took effect, and those that the LLM gave and Rasa turned into others."""
        processed = (event.get("parse_data") or {}).get("commands") or []
        names = Counter(str(entry.get("command")) for entry in processed)
        answered = Counter(RASAS_NAMES.get(label.type, label.text or label.type) for label in labels)
        self.commands.update(names | answered)
        slots = Counter(str(entry.get("name")) for entry in processed if entry.get("command") == "set slot")
        slots |= Counter(str(label.args[0]) for label in labels if label.type == "SetSlot")
        self.set_by_command.update(slots)


def _flow(flow: MappedFlow, seen: _Seen) -> FlowCoverage:
    missing: list[Gap] = []
    known = {step.id: step for step in flow.steps}
    visited = branches = taken = 0
    for step in flow.steps:
        came = (flow.id, step.id) in seen.steps
        visited += came
        untaken = [way for way in _branches(step) if (flow.id, step.id, way.to) not in seen.ways]
        branches += len(_branches(step))
        taken += len(_branches(step)) - len(untaken)
        missing += [_branch(flow, step, way, known.get(way.to)) for way in untaken] if came else [_step(flow, step)]
    return FlowCoverage(
        **flow.model_dump(include={"id", "description", "file", "line", "startable"}),
        steps=len(flow.steps),
        visited=visited,
        branches=branches,
        taken=taken,
        tests=tuple(seen.by_flow.get(flow.id, ())),
        missing=tuple(missing),
    )


def untaken_behind(flows: FlowMap, gaps: Iterable[Gap]) -> list[Gap]:
    """The branches that leave steps nobody came to: they are missing as soon as the step no longer is."""
    unseen = {(gap.flow, gap.step) for gap in gaps if gap.kind == "step"}
    known = {(flow.id, step.id): step for flow in flows.flows for step in flow.steps}
    return [
        _branch(flow, step, way, known.get((flow.id, way.to)))
        for flow in flows.flows
        for step in flow.steps
        if (flow.id, step.id) in unseen
        for way in _branches(step)
    ]


def _branches(step: MappedStep) -> tuple[Way, ...]:
    return step.ways if len(step.ways) > 1 else ()


def _step(flow: MappedFlow, step: MappedStep) -> Gap:
    return Gap(kind="step", flow=flow.id, step=step.id, what=_about(step), file=flow.file, line=step.line)


def _about(step: MappedStep) -> str:
    return f"{step.kind} {step.slot or step.action or step.flow or ', '.join(step.sets) or step.id}"


def _branch(flow: MappedFlow, step: MappedStep, way: Way, target: MappedStep | None) -> Gap:
    when = "else" if way.condition is None else f"if {way.condition}"
    return Gap(
        kind="branch",
        flow=flow.id,
        step=step.id,
        to=way.to,
        condition=way.condition,
        what=f"{when}, on to {_about(target) if target else 'the end'}",
        file=flow.file,
        line=step.line,
    )


def _slot(slot: MappedSlot, seen: _Seen) -> SlotCoverage:
    values = seen.filled.get(slot.name, [])
    had = {str(value).casefold() for value in values}
    return SlotCoverage(
        name=slot.name,
        filled=len(values),
        by_command=seen.set_by_command[slot.name],
        unseen=tuple(value for value in slot.values if value.casefold() not in had),
    )


def _commands(counted: Counter[str], offered: Iterable[str]) -> tuple[CommandCoverage, ...]:
    """The commands that the prompt offers, then the others that occurred, each kind by name."""
    wanted = {RASAS_NAMES[kind] for kind in offered}
    names = [*sorted(wanted), *sorted(counted.keys() - wanted)]
    return tuple(CommandCoverage(name=name, count=counted[name], offered=name in wanted) for name in names)
