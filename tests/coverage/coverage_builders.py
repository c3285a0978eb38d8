"""A small assistant's flow map, and conversations as the updates of the dialogue stack that they leave.

    events(enter("F1", "book"), step("F1", "ask"), step("F1", "done"))

`book` asks for a city, then says one of two things and calls `pay`; `pay` can only be called.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from rasa_ft_ext.flow_map import END, FlowMap, MappedFlow, MappedSlot, MappedStep, Way

FILE = "data/flows.yml"

BOOK = MappedFlow(
    id="book",
    name="booking",
    file=FILE,
    line=3,
    steps=(
        MappedStep(id="ask", kind="collect", slot="city", line=5, ways=(Way(to="choose"),)),
        MappedStep(
            id="choose",
            kind="noop",
            line=6,
            ways=(Way(to="big", condition="slots.city is 'big'"), Way(to="small")),
        ),
        MappedStep(id="big", kind="action", action="utter_big", line=9, ways=(Way(to="pay"),)),
        MappedStep(id="small", kind="action", action="utter_small", line=12, ways=(Way(to=END),)),
        MappedStep(id="pay", kind="call", flow="pay", line=14, ways=(Way(to=END),)),
    ),
)
PAY = MappedFlow(
    id="pay",
    name="paying",
    file=FILE,
    line=16,
    startable=False,
    steps=(
        MappedStep(id="how", kind="collect", slot="method", line=18, ways=(Way(to="note"),)),
        MappedStep(id="note", kind="set_slots", line=19, ways=(Way(to=END),)),
    ),
)
SLOTS = (
    MappedSlot(name="city", type="text"),
    MappedSlot(name="method", type="categorical", values=("card", "Cash")),
)
FLOWS = FlowMap(flows=(BOOK, PAY), slots=SLOTS)


class Stack:
    """Writes down what happens to the stack, as Rasa does."""

    def __init__(self) -> None:
        self.frames: list[str] = []

    def push(self, frame: str, flow: str, step: str = "START") -> dict[str, Any]:
        self.frames.append(frame)
        value = {"frame_id": frame, "flow_id": flow, "step_id": step, "type": "flow"}
        return patch({"op": "add", "path": f"/{len(self.frames) - 1}", "value": value})

    def go(self, frame: str, step: str) -> dict[str, Any]:
        return patch({"op": "replace", "path": f"/{self.frames.index(frame)}/step_id", "value": step})

    def pop(self, frame: str) -> dict[str, Any]:
        index = self.frames.index(frame)
        self.frames.remove(frame)
        return patch({"op": "remove", "path": f"/{index}"})


def patch(*operations: dict[str, Any]) -> dict[str, Any]:
    return {"event": "stack", "update": json.dumps(operations)}


def user(*commands: dict[str, Any]) -> dict[str, Any]:
    return {"event": "user", "text": "hello", "parse_data": {"commands": list(commands)}}


def slot(name: str, value: Any) -> dict[str, Any]:
    return {"event": "slot", "name": name, "value": value}


def walk(flow: str, *steps: str) -> Iterator[dict[str, Any]]:
    """A conversation that starts a flow and goes through these steps."""
    stack = Stack()
    yield user({"command": "start flow", "flow": flow})
    yield stack.push("F1", flow)
    for name in steps:
        yield stack.go("F1", name)


def all_steps() -> list[list[dict[str, Any]]]:
    """Conversations that come through everything there is."""
    stack = Stack()
    big = [
        user({"command": "start flow", "flow": "book"}),
        stack.push("F1", "book"),
        stack.go("F1", "ask"),
        user({"command": "set slot", "name": "city", "value": "Basel"}),
        slot("city", "Basel"),
        stack.go("F1", "choose"),
        stack.go("F1", "big"),
        stack.go("F1", "pay"),
        stack.push("F2", "pay"),
        stack.go("F2", "how"),
        user({"command": "set slot", "name": "method", "value": "card"}),
        slot("method", "card"),
        stack.go("F2", "note"),
        stack.go("F2", "END"),
        stack.pop("F2"),
        stack.go("F1", "END"),
        stack.pop("F1"),
    ]
    return [big, list(walk("book", "ask", "choose", "small", "END"))]
