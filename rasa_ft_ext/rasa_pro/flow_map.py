"""The flow map of a loaded assistant: what Rasa knows of its flows, with file and line where that is known.

The trained model holds each flow's file as it was given to `rasa train`, and the lines of each step.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

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
from rasa.shared.core.slots import BooleanSlot, CategoricalSlot, Slot

from rasa_ft_ext.flow_map import FlowMap, MappedFlow, MappedSlot, MappedStep, StepKind, Way

_KINDS: dict[type[FlowStep], StepKind] = {
    CollectInformationFlowStep: "collect",
    ActionFlowStep: "action",
    SetSlotsFlowStep: "set_slots",
    CallFlowStep: "call",
    LinkFlowStep: "link",
    NoOperationFlowStep: "noop",
}


def flow_map(flows: Iterable[Flow], slots: Iterable[Slot], project: Path) -> FlowMap:
    """Map the assistant's own flows, and the slots that they collect.

    Args:
        flows: The flows, those of Rasa's patterns left out.
        slots: The slots of the domain.
        project: The assistant's folder, which the files are relative to.
    """
    mapped = tuple(sorted((_flow(flow, project) for flow in flows), key=lambda flow: flow.id))
    collected = {step.slot for flow in mapped for step in flow.steps if step.slot}
    wanted = sorted((slot for slot in slots if slot.name in collected), key=lambda slot: slot.name)
    return FlowMap(flows=mapped, slots=tuple(_slot(slot) for slot in wanted))


def _flow(flow: Flow, project: Path) -> MappedFlow:
    file = _relative(flow.file_path, project)
    return MappedFlow(
        id=flow.id,
        name=flow.name,
        description=flow.description or "",
        file=file,
        line=_line_of_flow(project / file, flow.id) if file else None,
        startable=not flow.is_startable_only_via_link(),
        steps=tuple(_step(step) for step in flow.steps),
    )


def _step(step: FlowStep) -> MappedStep:
    return MappedStep(
        id=step.id,
        kind=_KINDS.get(type(step), "other"),
        description=step.description or "",
        slot=step.collect if isinstance(step, CollectInformationFlowStep) else None,
        action=step.action if isinstance(step, ActionFlowStep) else None,
        flow=_leads_to(step),
        ways=tuple(_ways(step)),
        line=_first_line(step.metadata),
    )


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
    return MappedSlot(name=slot.name, type=slot.type_name, values=tuple(values))


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
