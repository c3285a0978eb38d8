"""A test case for each path: what the user says, which commands that should give, and what can be checked after it.

Checked is what is known without the answers' texts: which response comes, and which slot is set. Where a branch hangs
on the result of a custom action, the test stubs it; and as Rasa then runs no custom action at all, it stubs all.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from rasa_ft_ext.commands import Command
from rasa_ft_ext.coverage.conditions import Value
from rasa_ft_ext.coverage.paths import Path
from rasa_ft_ext.coverage.walk import Event
from rasa_ft_ext.coverage_results import Gap
from rasa_ft_ext.flow_map import FlowMap, MappedFlow, MappedSlot

_LONGEST = 16  # words of a description that are taken for a wish
_NO_WISH = re.compile(r"(the|a|an|this|that|when|if|use|flow|used|[a-z]+(?<!s)s)\b|.*\b(user|users|customer)\b", re.I)
_UTTER = "utter_"


@dataclass(frozen=True)
class Turn:
    """One message of the user.

    `meant` tells an LLM what it says, `value` must stand in it. `checks` are steps that come after it, `assertions`
    stand with it; Rasa takes one or the other in a test case.
    """

    message: str
    command: Command
    meant: str
    value: str | None = None
    checks: tuple[Mapping[str, Any], ...] = ()
    assertions: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True)
class Draft:
    """One test case, for the gaps that it closes or, by Rasa's name, for a `command`.

    `stubs` are there if any is needed, for every custom action that runs, with the slots it sets.

    `notes` say what a person has to do before the test can pass.
    """

    name: str
    flow: str
    about: str
    turns: tuple[Turn, ...]
    closes: tuple[Gap, ...]
    start: Mapping[str, Any] = field(default_factory=dict)
    stubs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    needs_stubs: bool = False
    notes: tuple[str, ...] = ()
    command: str | None = None


def drafts(flows: FlowMap, paths: Sequence[Path]) -> list[Draft]:
    """The test cases, with a number each within the flow whose first gap they close."""
    writer = Writer(flows)
    numbers: dict[str, int] = {}
    found = []
    for path in paths:
        flow = path.closes[0].flow
        numbers[flow] = numbers.get(flow, 0) + 1
        found.append(writer.draft(path, f"suggested_{re.sub(r'[^A-Za-z0-9_]', '_', flow)}_{numbers[flow]}"))
    return found


class Writer:
    """Writes the test case for a path."""

    def __init__(self, flows: FlowMap) -> None:
        self._flows = {flow.id: flow for flow in flows.flows}
        self._steps = {(flow.id, step.id): step for flow in flows.flows for step in flow.steps}
        self._slots = {slot.name: slot for slot in (*flows.slots, *flows.others)}
        self._actions = frozenset(flows.actions)

    def draft(self, path: Path, name: str) -> Draft:
        walk = path.walk
        asked = {walk.variables[event.number].slot for event in walk.events if event.kind == "ask"}
        checked = {f"validate_{slot}" for slot in asked} & self._actions
        first = self._flows[walk.events[0].flow]
        starts = {slot: self._value(slot, walk.value(number)) for slot, number in walk.starts.items()}
        return Draft(
            name=name,
            flow=path.closes[0].flow if path.closes else first.id,
            about=first.description or first.name or first.id,
            turns=tuple(self._turns(path)),
            closes=path.closes,
            start={slot: value for slot, value in starts.items() if value != self._initial(slot)},
            stubs=self._stubs(path, checked),
            needs_stubs=bool(walk.stubs or checked),
            notes=tuple(self._notes(path)),
        )

    def _turns(self, path: Path) -> Iterator[Turn]:
        turn: Turn | None = None
        for event in path.walk.events:
            check = {"utter": event.name} if event.name.startswith(_UTTER) else None
            if turn is not None and check:
                turn = replace(turn, checks=(*turn.checks, check))
            if event.kind in ("start", "ask"):
                yield from [turn] if turn else []
                turn = self._first(event) if event.kind == "start" else self._answer(path, event)
        yield from [turn] if turn else []

    def _first(self, event: Event) -> Turn:
        flow = self._flows[event.flow]
        about = flow.description or flow.name or flow.id
        return Turn(_wish(flow), Command(type="StartFlow", args=(flow.id,)), f"asks for the first time: {about}")

    def _answer(self, path: Path, event: Event) -> Turn:
        slot, value = path.walk.variables[event.number].slot, path.walk.value(event.number)
        about = self._steps[event.flow, event.step].description or slot.replace("_", " ")
        text = str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
        check = {"slot_was_set": [{slot: value}]}
        command = Command(type="SetSlot", args=(slot, text))
        if isinstance(value, bool):
            said, meant = ("Yes, please.", "yes") if value else ("No, thanks.", "no")
            return Turn(said, command, f"says {meant} to the question ({about})", checks=(check,))
        known = self._slots.get(slot)
        if known and known.values:
            said = f"{text.replace('_', ' ')}, please"
            return Turn(said, command, f"chooses {text!r} ({about})", checks=(check,))
        return Turn(text, command, f"answers {text!r} ({about})", text, (check,))

    def _stubs(self, path: Path, checked: set[str]) -> dict[str, dict[str, Any]]:
        """By custom action, the slots that it sets, in the order in which they run."""
        walk = path.walk
        ran = [event.name for event in walk.events if event.kind == "run" or event.name in self._actions]
        sets: dict[str, dict[str, Any]] = {name: {} for name in [*dict.fromkeys(ran), *sorted(checked)]}
        if "action_session_start" in self._actions:
            sets["action_session_start"] = {}
        for (action, slot), number in walk.stubs.items():
            sets[action][slot] = self._value(slot, walk.value(number))
        return sets

    def _notes(self, path: Path) -> Iterator[str]:
        if path.clash:
            yield (
                "The conditions on this way contradict each other, or refuse every value that was tried: those "
                "below do not lead there. Give others, set slots by fixtures or stubs, or change the flow."
            )
        if path.called:
            flow = path.walk.events[0].flow
            yield f"No flow that a user can start leads to {flow}: let a test start what does, such as a pattern."
        if path.walk.open:
            yield f"Bring about what cannot be read from the flows: {'; '.join(dict.fromkeys(path.walk.open))}."

    def _value(self, slot: str, value: Value) -> Any:
        return [value] if self._type(slot) == "list" and value is not None else value

    def _type(self, slot: str) -> str:
        return self._slots.get(slot, MappedSlot(name=slot, type="any")).type

    def _initial(self, slot: str) -> Any:
        return self._slots[slot].initial if slot in self._slots else None


def _wish(flow: MappedFlow) -> str:
    """What a user says who wants this, from the description if it is an instruction, else from the name."""
    about = re.split(r"[;:.(]|, such as|, but ", " ".join(flow.description.split()))[0].strip(" ,")
    if about and len(about.split()) <= _LONGEST and not _NO_WISH.match(about):
        return f"I'd like to {about[0].lower()}{about[1:]}."
    return f"I need help with {flow.name or flow.id.replace('_', ' ')}."
