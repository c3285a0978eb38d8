"""Go through flows on paper: what an assistant would do, with the values of slots left open as long as possible.

A `Walk` stands before a step. `Guide.advance` takes the step and gives every way on, each with the values that are
still possible on it: a branch narrows the slots that its condition names. Where a value comes from is decided as it is
in the assistant: the user is asked, a custom action (which a test can stub) leaves it, or it is there from the
beginning.

Nothing is searched here; `rasa_ft_ext.coverage.paths` does that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice, product

from rasa_ft_ext.coverage.conditions import Condition, Value, read
from rasa_ft_ext.coverage.walk import Event, Frame, Variable, Walk, give, note
from rasa_ft_ext.flow_map import END, FlowMap, MappedFlow, MappedSlot, MappedStep

_COMBINATIONS = 2000  # of the values of several slots that one condition names
_TRIED = 8  # of those that fit
_NOT_TEXT = {"bool", "float", "integer"}  # what the LLM says for a slot of another type stays a text


@dataclass(frozen=True)
class Clash:
    """A way that could not be taken: the slot has none of the values that it needs."""

    slot: str
    needed: tuple[Value, ...]


class Guide:
    """Knows the flows, and which values each slot may have.

    `values` are the values to try for each slot, likely ones first. `wishes` narrow what a slot gets wherever that is
    possible, `clashes` are what stood in the way. With `lenient` a way can be taken also where its condition cannot
    hold, and a value given that is refused.
    """

    def __init__(self, flows: FlowMap, values: Mapping[str, Sequence[Value]], *, lenient: bool = False) -> None:
        self.flows: dict[str, MappedFlow] = {flow.id: flow for flow in flows.flows}
        self.steps: dict[tuple[str, str], MappedStep] = {
            (flow.id, step.id): step for flow in flows.flows for step in flow.steps
        }
        self.slots: dict[str, MappedSlot] = {slot.name: slot for slot in (*flows.slots, *flows.others)}
        self.actions = frozenset(flows.actions)
        self.values = values
        self.lenient = lenient
        self.wishes: dict[str, tuple[Value, ...]] = {}
        self.clashes: list[Clash] = []
        self._read: dict[str, Condition | None] = {}
        self._scopes: dict[str, list[str]] = {}

    def begin(self, flow: str) -> list[Walk]:
        """Start a flow, as a user does, with its guard kept."""
        mapped = self.flows[flow]
        if not mapped.steps:
            return []
        walk = Walk((Frame(flow, mapped.steps[0].id),), (Event("start", flow),))
        return self._where(walk, [(mapped.guard, True)]) if mapped.guard else [walk]

    def advance(self, walk: Walk) -> list[Walk]:
        """What can come next; none where the walk ends or cannot go on."""
        if walk.done:
            return []
        return self._leave(walk) if walk.frames[-1].left else self._enter(walk)

    def condition(self, text: str) -> Condition | None:
        if text not in self._read:
            self._read[text] = read(text)
        return self._read[text]

    def _enter(self, walk: Walk) -> list[Walk]:
        frame = walk.frames[-1]
        step = self.steps[frame.flow, frame.step]
        walk = note(walk, Event("visit", frame.flow, frame.step))
        walk = replace(walk, frames=(*walk.frames[:-1], replace(frame, left=True)))
        called = self.flows.get(step.flow or "")
        if step.kind == "collect" and step.slot:
            return self._collect(walk, step, step.slot)
        if step.kind == "link" and called is not None and called.steps:
            ended = self._end(replace(walk, frames=walk.frames[:-1]), frame.flow)
            return [replace(ended, frames=(*ended.frames, Frame(called.id, called.steps[0].id)))]
        if step.kind == "call" and called is not None and called.steps:
            return [replace(walk, frames=(*walk.frames, Frame(called.id, called.steps[0].id)))]
        if step.kind == "action" and step.action:
            return [self._act(walk, step.action)]
        if step.kind == "call":
            walk = replace(walk, open=(*walk.open, f"the end of {step.flow}, which is no flow"))
        for name, value in step.sets.items():
            walk = give(walk, Variable(name, "flow", (value,)))
        return [walk]

    def _act(self, walk: Walk, action: str) -> Walk:
        frame = walk.frames[-1]
        if action not in self.actions:
            return note(walk, Event("say", frame.flow, frame.step, name=action))
        left = {slot: number for (name, slot), number in walk.stubs.items() if name == action}
        walk = replace(walk, slots={**walk.slots, **left}, action=action)
        return note(walk, Event("run", frame.flow, frame.step, name=action))

    def _collect(self, walk: Walk, step: MappedStep, slot: str) -> list[Walk]:
        """Ask, unless the slot has a value; a slot that the LLM may not fill must have one."""
        mapped = self.slots.get(slot, MappedSlot(name=slot, type="any"))
        if slot not in walk.slots and (not mapped.from_llm or mapped.initial is not None):
            walk = self._supplied(walk, slot, by_action=not mapped.from_llm)
        if slot not in walk.slots or (step.ask_anyway and mapped.from_llm):
            found = [self._ask(walk, step, slot)]
        else:
            filled = self._narrow(walk, walk.slots[slot], lambda value: value is not None)
            empty = self._narrow(walk, walk.slots[slot], lambda value: value is None)
            found = [filled, self._ask(empty, step, slot) if empty and mapped.from_llm else None]
        return [entry for entry in found if entry]

    def _ask(self, walk: Walk, step: MappedStep, slot: str) -> Walk | None:
        """The user is asked and gives a value that is not refused."""
        known = [value for value in self._possible(slot) if value is not None]
        if slot in self.slots and self.slots[slot].type not in _NOT_TEXT:
            known = [value for value in known if isinstance(value, str)]
        given = known
        for text in step.refused:
            refusal = self.condition(text)
            if refusal is not None and refusal.slots == {slot}:
                known = [value for value in known if not refusal.holds({slot: value})]
        known = known or (given if self.lenient else [])
        if not known:
            self.clashes.append(Clash(slot, ()))
            return None
        frame = walk.frames[-1]
        event = Event("ask", frame.flow, frame.step, name=step.asks or "", number=len(walk.variables))
        asked = give(note(walk, event), Variable(slot, "user", tuple(known)))
        for text in step.refused:
            refusal = self.condition(text)
            if refusal is not None and refusal.slots > {slot} and refusal.slots <= asked.slots.keys():
                kept = self._where(asked, [(text, False)])
                asked = kept[0] if kept else asked
        return asked

    def _leave(self, walk: Walk) -> list[Walk]:
        frame = walk.frames[-1]
        ways = self.steps[frame.flow, frame.step].ways
        if not ways:
            return [self._go(walk, END)]
        found: list[Walk] = []
        before: list[tuple[str, bool]] = []
        for way in ways:
            here = [*before, (way.condition, True)] if way.condition else before
            found += [self._go(possible, way.to) for possible in self._where(walk, here)]
            before.append((way.condition or "true", False))
        return found

    def _go(self, walk: Walk, to: str) -> Walk:
        frame = walk.frames[-1]
        walk = note(walk, Event("take", frame.flow, frame.step, to=to))
        if (frame.flow, to) in self.steps:
            return replace(walk, frames=(*walk.frames[:-1], Frame(frame.flow, to)))
        ended = replace(walk, frames=walk.frames[:-1])
        return ended if ended.frames else self._end(ended, frame.flow)

    def _end(self, walk: Walk, flow: str) -> Walk:
        """The slots of a flow that ends, and of those that it called, are what they were at the beginning."""
        if walk.frames:
            return walk
        for slot in self._scoped(flow):
            initial = self.slots[slot].initial if slot in self.slots else None
            walk = give(walk, Variable(slot, "flow", (initial,)))
        return walk

    def _scoped(self, flow: str) -> list[str]:
        """The slots that are emptied when a flow ends."""
        if flow not in self._scopes:
            flows, waiting = {flow}, [flow]
            while waiting:
                called = {step.flow for step in self.flows[waiting.pop()].steps if step.kind == "call" and step.flow}
                fresh = (called & self.flows.keys()) - flows
                flows |= fresh
                waiting += fresh
            steps = [step for name in flows for step in self.flows[name].steps]
            filled = {slot for step in steps for slot in [step.slot, *step.sets] if slot}
            self._scopes[flow] = sorted(filled - {slot for name in flows for slot in self.flows[name].persisted})
        return self._scopes[flow]

    def _where(self, walk: Walk, wanted: Iterable[tuple[str, bool]]) -> list[Walk]:
        """The walk with values with which the conditions hold, or not, as wanted; several where slots interact."""
        walks = [walk]
        for text, truth in wanted:
            condition = self.condition(text)
            if condition is None:
                told = text if truth else f"not ({text})"
                walks = [replace(entry, open=(*entry.open, told)) for entry in walks]
            else:
                walks = [found for entry in walks for found in self._decided(entry, condition, truth)]
        return walks or ([walk] if self.lenient else [])

    def _decided(self, walk: Walk, condition: Condition, truth: bool) -> Iterator[Walk]:
        names = sorted(condition.slots)
        known = walk
        for name in names:
            walk = walk if name in walk.slots else self._supplied(walk, name)
        found = False
        for entry in self._narrowed(walk, condition, truth, names):
            found = True
            yield self._looked_at(entry, names)
        later = [name for name in names if self._may_change(walk, name)] if not found else []
        for name in later:
            walk = self._supplied(walk, name)
        if later:
            yield from self._decided(walk, condition, truth)
        yield from self._untouched(known, condition, truth, names)

    def _untouched(self, walk: Walk, condition: Condition, truth: bool, names: Sequence[str]) -> Iterator[Walk]:
        """The action may also leave alone what the user can say later, which it would else undo when it runs again."""
        fresh = [name for name in names if name not in walk.slots]
        if walk.action is None or not any(name in self.slots and self.slots[name].from_llm for name in fresh):
            return
        for name in fresh:
            leaves = name in self.slots and self.slots[name].from_llm
            walk = self._empty(walk, name) if leaves else self._supplied(walk, name)
        yield from (self._looked_at(entry, names) for entry in self._narrowed(walk, condition, truth, names))

    def _looked_at(self, walk: Walk, names: Sequence[str]) -> Walk:
        return replace(walk, decided={**walk.decided, **dict.fromkeys(names, len(walk.events))})

    def _empty(self, walk: Walk, slot: str) -> Walk:
        """What a slot has as long as nobody sets it."""
        return give(walk, Variable(slot, "flow", (self.slots[slot].initial,)))

    def _may_change(self, walk: Walk, slot: str) -> bool:
        """Whether the last action can change a slot: nothing may have looked at it since that action first ran."""
        mapped = self.slots.get(slot)
        if walk.action is None or (mapped and mapped.from_llm) or (walk.action, slot) in walk.stubs:
            return False
        runs = (index for index, event in enumerate(walk.events) if event.kind == "run" and event.name == walk.action)
        return walk.decided.get(slot, 0) <= next(runs) and walk.variables[walk.slots[slot]].origin != "user"

    def _narrowed(self, walk: Walk, condition: Condition, truth: bool, names: Sequence[str]) -> Iterator[Walk]:
        numbers = [walk.slots[name] for name in names]
        if not names:
            yield from [walk] if condition.holds({}) == truth else []
        elif len(names) == 1:
            slot = names[0]
            found = self._narrow(walk, numbers[0], lambda value: condition.holds({slot: value}) == truth)
            if found is None:
                needed = [value for value in self._possible(slot) if condition.holds({slot: value}) == truth]
                self.clashes.append(Clash(slot, tuple(needed)))
            yield from [found] if found else []
        else:
            yield from islice(self._together(walk, condition, truth, names, numbers), _TRIED)

    def _together(
        self, walk: Walk, condition: Condition, truth: bool, names: Sequence[str], numbers: Sequence[int]
    ) -> Iterator[Walk]:
        choices = product(*(walk.variables[number].values for number in numbers))
        for values in islice(choices, _COMBINATIONS):
            if condition.holds(dict(zip(names, values, strict=True))) == truth:
                variables = list(walk.variables)
                for number, value in zip(numbers, values, strict=True):
                    variables[number] = replace(variables[number], values=(value,))
                yield replace(walk, variables=tuple(variables))

    def _narrow(self, walk: Walk, number: int, fits: Callable[[Value], bool]) -> Walk | None:
        variable = walk.variables[number]
        values = tuple(value for value in variable.values if fits(value))
        if not values:
            return None
        if values == variable.values:
            return walk
        variables = list(walk.variables)
        variables[number] = replace(variable, values=values)
        return replace(walk, variables=tuple(variables))

    def _supplied(self, walk: Walk, slot: str, *, by_action: bool = True) -> Walk:
        """A slot that nobody was asked for: the last custom action leaves it, or it is there from the beginning."""
        number = len(walk.variables)
        values = tuple(self._possible(slot))
        if by_action and walk.action is not None:
            given = give(walk, Variable(slot, "action", values))
            return replace(given, stubs={**walk.stubs, (walk.action, slot): number})
        initial = self.slots[slot].initial if slot in self.slots else None
        ordered = (initial, *(value for value in values if value != initial))
        given = give(walk, Variable(slot, "start", self._wished(slot, ordered)))
        return replace(given, starts={**walk.starts, slot: number})

    def _possible(self, slot: str) -> tuple[Value, ...]:
        return self._wished(slot, (*self.values.get(slot, ()), None))

    def _wished(self, slot: str, values: tuple[Value, ...]) -> tuple[Value, ...]:
        wished = self.wishes.get(slot)
        narrowed = tuple(value for value in values if value in wished) if wished is not None else ()
        return narrowed or values
