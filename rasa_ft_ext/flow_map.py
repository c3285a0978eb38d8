"""The assistant's flows as a map: what steps there are, where they stand, and which way leads on from each.

`annotate` takes it from the loaded assistant and writes it beside the annotations, so that coverage can be counted and
new tests can be drafted without Rasa. This module knows neither Rasa nor what has been visited.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from rasa_ft_ext.conversation import Record

StepKind = Literal["collect", "action", "set_slots", "call", "link", "noop", "end", "other"]

END = "END"  # where a way ends that leads to no further step


class Way(Record):
    """One way on from a step: to the step `to` of the same flow, or `END`.

    `condition` is the text of the `if`; None of the `else` branch and of a step that has one way only.
    """

    to: str
    condition: str | None = None


class MappedStep(Record):
    """One step of a flow.

    `slot` is the slot of a `collect` step, `action` the action of an `action` step, `flow` the flow (or agent) that a
    `call` or `link` step leads to, `sets` what a `set_slots` step writes. `line` is where the step stands in the flow's
    file, from 1; None where that is not known.

    Of a `collect` step: `asks` is the response or action that asks, `ask_anyway` says that it asks also where the slot
    has a value, `refused` are the conditions under which a value is turned down.
    """

    id: str
    kind: StepKind
    description: str = ""
    slot: str | None = None
    action: str | None = None
    flow: str | None = None
    sets: dict[str, Any] = Field(default_factory=dict)
    asks: str | None = None
    ask_anyway: bool = False
    refused: tuple[str, ...] = ()
    ways: tuple[Way, ...] = ()
    line: int | None = None


class MappedFlow(Record):
    """One flow of the assistant's own (no pattern of Rasa's).

    `name` is what the assistant calls it to a user. `file` is relative to the project, `line` that of the flow's id.
    `startable` says that a user's message can start it; a flow that only other flows lead to is not. `guard` is the
    condition that must hold for that, `persisted` are the slots that keep their values when the flow ends.
    """

    id: str
    name: str = ""
    description: str = ""
    file: str | None = None
    line: int | None = None
    startable: bool = True
    guard: str | None = None
    persisted: tuple[str, ...] = ()
    steps: tuple[MappedStep, ...] = ()


class MappedSlot(Record):
    """One slot: `type` as Rasa names it, and the values that a categorical or boolean one may have.

    `from_llm` says that the LLM may fill it, `initial` is what it has before the first message.
    """

    name: str
    type: str
    values: tuple[str, ...] = ()
    from_llm: bool = True
    initial: Any = None


class FlowMap(Record):
    """All flows that tests can cover, in the order of their ids, and the slots that they collect.

    `others` are the slots that they only name: in a condition or a `set_slots` step. `actions` are the custom actions,
    which the assistant's own code runs.
    """

    flows: tuple[MappedFlow, ...]
    slots: tuple[MappedSlot, ...] = ()
    others: tuple[MappedSlot, ...] = ()
    actions: tuple[str, ...] = ()
