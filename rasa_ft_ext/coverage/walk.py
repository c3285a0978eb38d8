"""A conversation on paper: where in the flows it stands, what has happened, which values the slots may still have."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from rasa_ft_ext.coverage.conditions import Value

Origin = Literal["user", "action", "start", "flow"]


@dataclass(frozen=True)
class Variable:
    """The value that a slot gets at one time: one of `values`, the first if nothing else decides.

    It comes from the user, a custom action, the state that the conversation starts from, or a step of the flow.
    """

    slot: str
    origin: Origin
    values: tuple[Value, ...]


@dataclass(frozen=True)
class Frame:
    """A place in a flow: before the step, or behind it (`left`)."""

    flow: str
    step: str
    left: bool = False


@dataclass(frozen=True)
class Event:
    """What happened: `start` a flow, `visit` a step, `take` a way to `to`, `ask` for variable `number`, `say` a
    response, `run` a custom action."""

    kind: Literal["start", "visit", "take", "ask", "say", "run"]
    flow: str
    step: str = ""
    to: str = ""
    name: str = ""
    number: int = -1


@dataclass(frozen=True)
class Walk:
    """A conversation so far. All fields but `frames` and `events` say what is known of the slots.

    `slots` are variables by the slot that has them now; `stubs` those that a custom action leaves, by action and slot;
    `starts` those that are there from the beginning. `decided` says how many events there were when a condition last
    looked at a slot, `action` which custom action ran last. `open` is what must come true and cannot be decided here.
    """

    frames: tuple[Frame, ...]
    events: tuple[Event, ...] = ()
    variables: tuple[Variable, ...] = ()
    slots: Mapping[str, int] = field(default_factory=dict)
    stubs: Mapping[tuple[str, str], int] = field(default_factory=dict)
    starts: Mapping[str, int] = field(default_factory=dict)
    decided: Mapping[str, int] = field(default_factory=dict)
    action: str | None = None
    open: tuple[str, ...] = ()

    def value(self, number: int) -> Value:
        return self.variables[number].values[0]

    @property
    def state(self) -> Hashable:
        """What counts for what can come: two walks with the same one go on in the same way."""
        slots = frozenset((slot, self.variables[number].values) for slot, number in self.slots.items())
        stubs = frozenset((place, self.variables[number].values) for place, number in self.stubs.items())
        return self.frames, self.action, slots, stubs

    @property
    def done(self) -> bool:
        return not self.frames


def note(walk: Walk, event: Event) -> Walk:
    """One more thing has happened."""
    return replace(walk, events=(*walk.events, event))


def give(walk: Walk, variable: Variable) -> Walk:
    """The slot has this variable from now on."""
    number = len(walk.variables)
    return replace(walk, variables=(*walk.variables, variable), slots={**walk.slots, variable.slot: number})
