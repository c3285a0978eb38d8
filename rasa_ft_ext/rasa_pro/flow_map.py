"""The flow map of a loaded assistant: what Rasa knows of its flows, with file and line where that is known.

The trained model holds each flow's file as it was given to `rasa train`, and the lines of each step.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from rasa.shared.constants import FLOW_PREFIX
from rasa.shared.core.constants import DEFAULT_ACTION_NAMES
from rasa.shared.core.domain import Domain
from rasa.shared.core.flows.flow import Flow
from rasa.shared.core.flows.flow_step import FlowStep
from rasa.shared.core.flows.flow_step_links import IfFlowStepLink
from rasa.shared.core.flows.steps import (
    ActionFlowStep,
    CallFlowStep,
    CollectInformationFlowStep,
    LinkFlowStep,
    NoOperationFlowStep,
    SetSlotsFlowStep,
)
from rasa.shared.core.slot_mappings import SlotMappingType
from rasa.shared.core.slots import BooleanSlot, CategoricalSlot, Slot

from rasa_ft_ext.flow_map import FlowMap, MappedFlow, MappedSlot, MappedStep, StepKind, Way

_NAMED = re.compile(r"\bslots\.([\w-]+)")
_KINDS: dict[type[FlowStep], StepKind] = {
    CollectInformationFlowStep: "collect",
    ActionFlowStep: "action",
    SetSlotsFlowStep: "set_slots",
    CallFlowStep: "call",
    LinkFlowStep: "link",
    NoOperationFlowStep: "noop",
}


def flow_map(flows: Iterable[Flow], domain: Domain, project: Path) -> FlowMap:
    """Map the assistant's own flows, the slots that they collect or name, and its custom actions.

    Args:
        flows: The flows, those of Rasa's patterns left out.
        domain: The assistant's domain.
        project: The assistant's folder, which the files are relative to.
    """
    mapped = tuple(sorted((_flow(flow, domain, project) for flow in flows), key=lambda flow: flow.id))
    collected = {step.slot for flow in mapped for step in flow.steps if step.slot}
    named = set(_NAMED.findall(" ".join(text for flow in mapped for text in _conditions(flow))))
    named |= {name for flow in mapped for step in flow.steps for name in step.sets}
    slots = sorted(domain.slots, key=lambda slot: slot.name)
    return FlowMap(
        flows=mapped,
        slots=tuple(_slot(slot) for slot in slots if slot.name in collected),
        others=tuple(_slot(slot) for slot in slots if slot.name in named - collected),
        actions=tuple(sorted(_custom_actions(domain))),
    )


def _conditions(flow: MappedFlow) -> Iterator[str]:
    yield flow.guard or ""
    for step in flow.steps:
        yield from (way.condition or "" for way in step.ways)
        yield from step.refused


def _custom_actions(domain: Domain) -> set[str]:
    """Those that the assistant's own code runs; a name of Rasa's own that does not matter here is left out.

    Rasa adds responses to the actions, and one action for every flow.
    """
    own = {name for name in domain.user_actions if name not in domain.responses}
    foreign = set(DEFAULT_ACTION_NAMES) - {"action_session_start"}  # which an assistant may have overridden
    return {name for name in own - foreign if not name.startswith(("utter_", FLOW_PREFIX))}


def _flow(flow: Flow, domain: Domain, project: Path) -> MappedFlow:
    file = _relative(flow.file_path, project)
    return MappedFlow(
        id=flow.id,
        name=flow.name,
        description=flow.description or "",
        file=file,
        line=_line_of_flow(project / file, flow.id) if file else None,
        startable=not flow.is_startable_only_via_link(),
        guard=None if flow.is_startable_only_via_link() else flow.guard_condition,
        persisted=_persisted(flow),
        steps=tuple(_step(step, domain) for step in flow.steps),
    )


def _persisted(flow: Flow) -> tuple[str, ...]:
    """The slots that keep their values, in either way of writing that."""
    steps = [step for step in flow.steps if isinstance(step, CollectInformationFlowStep)]
    kept = {step.collect for step in steps if not step.reset_after_flow_ends}
    return tuple(sorted(kept | set(flow.persisted_slots)))


def _step(step: FlowStep, domain: Domain) -> MappedStep:
    asking = step if isinstance(step, CollectInformationFlowStep) else None
    return MappedStep(
        id=step.id,
        kind=_KINDS.get(type(step), "other"),
        description=step.description or "",
        slot=asking.collect if asking else None,
        action=step.action if isinstance(step, ActionFlowStep) else None,
        flow=_leads_to(step),
        sets={entry["key"]: entry["value"] for entry in step.slots} if isinstance(step, SetSlotsFlowStep) else {},
        asks=_asks(asking, domain) if asking else None,
        ask_anyway=asking.ask_before_filling if asking else False,
        refused=_refused(asking, domain) if asking else (),
        ways=tuple(_ways(step)),
        line=_first_line(step.metadata),
    )


def _asks(step: CollectInformationFlowStep, domain: Domain) -> str:
    return str(step.collect_action if step.collect_action in domain.user_actions else step.utter)


def _refused(step: CollectInformationFlowStep, domain: Domain) -> tuple[str, ...]:
    """The conditions of the step, and those of the slot wherever it is set."""
    slot = next((slot for slot in domain.slots if slot.name == step.collect), None)
    validation = getattr(slot, "validation", None)
    of_slot = validation.rejections if validation else []
    return tuple(str(entry.if_) for entry in [*step.rejections, *of_slot])


def _leads_to(step: FlowStep) -> str | None:
    target = getattr(step, "call", None) if isinstance(step, CallFlowStep) else getattr(step, "link", None)
    return str(target) if target else None


def _ways(step: FlowStep) -> Iterator[Way]:
    for link in step.next.links:
        yield Way(to=link.target, condition=str(link.condition) if isinstance(link, IfFlowStepLink) else None)


def _slot(slot: Slot) -> MappedSlot:
    values: list[str] = []
    if isinstance(slot, CategoricalSlot):
        values = [value for value in slot.values if value != "__other__"]  # which Rasa adds by itself
    elif isinstance(slot, BooleanSlot):
        values = ["true", "false"]
    from_llm = not slot.mappings or any(entry.type is SlotMappingType.FROM_LLM for entry in slot.mappings)
    initial = slot.initial_value
    return MappedSlot(name=slot.name, type=slot.type_name, values=tuple(values), from_llm=from_llm, initial=initial)


def _relative(file: str | None, project: Path) -> str | None:
    if not file:
        return None
    path, home = Path(file), project.resolve()
    whole = path if path.is_absolute() else home / path
    return whole.relative_to(home).as_posix() if whole.is_relative_to(home) else whole.as_posix()


def _first_line(metadata: dict[str, Any]) -> int | None:
    """The first of the lines that Rasa notes as `10-14`."""
    first = str(metadata.get("line_numbers", "")).partition("-")[0]
    return int(first) if first.isdigit() else None


def _line_of_flow(file: Path, flow: str) -> int | None:
    """Where the flow's id stands; the model does not say, so the file is asked, if it is there."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return None
    key = re.compile(rf"\s+(['\"]?){re.escape(flow)}\1\s*:")
    return next((number for number, line in enumerate(lines, 1) if key.match(line)), None)
