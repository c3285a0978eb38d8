"""What an assistant has: its flows, its slots, the values that a slot may have; and what its slots held at a turn."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rasa_ft_ext.conversation import AnnotatedFile, Annotation, AssistantCard
from rasa_ft_ext.flow_map import FlowMap

_BOOLEAN = ("true", "false")


@dataclass(frozen=True)
class Known:
    """What completions may name.

    `values` are the allowed values of a categorical or boolean slot, in small letters; `described` what the prompts say
    of a slot; `held` the values of the slots before a turn of a test, by its id and index, as they were recorded.
    """

    flows: frozenset[str]
    slots: frozenset[str]
    values: Mapping[str, frozenset[str]] = field(default_factory=dict)
    described: Mapping[str, str] = field(default_factory=dict)
    held: Mapping[tuple[str, int], Sequence[str]] = field(default_factory=dict)


def known_of(
    card: AssistantCard,
    annotated: Iterable[AnnotatedFile],
    flow_map: FlowMap | None = None,
    held: MutableMapping[tuple[str, int], Sequence[str]] | None = None,
) -> Known:
    """Put together what the recording says of the assistant; the map of the flows knows more, where there is one.

    What the slots held is put into `held`, which may be on disk; without it, that is left out.
    """
    values: dict[str, frozenset[str]] = {}
    described: dict[str, str] = {}
    for test, turn, annotation in _annotations(annotated):
        slots = list(_slots(annotation))
        for slot in slots:
            name = str(slot.get("name"))
            values |= {name: found} if (found := _allowed(slot)) else {}
            described[name] = str(slot.get("description") or described.get(name, ""))
        holding = [str(slot["value"]) for slot in slots if slot.get("value") is not None]
        if holding and held is not None:
            held[test, turn] = holding
    for mapped in flow_map.slots if flow_map else ():
        allowed = mapped.values or (_BOOLEAN if mapped.type == "bool" else ())
        values |= {mapped.name: frozenset(value.casefold() for value in allowed)} if allowed else {}
    slots_there = {*card.slots, *(slot.name for slot in flow_map.slots)} if flow_map else {*card.slots}
    return Known(frozenset(card.flows), frozenset(slots_there), values, described, {} if held is None else held)


def _annotations(annotated: Iterable[AnnotatedFile]) -> Iterator[tuple[str, int, Annotation]]:
    for file in annotated:
        for conversation in file.conversations:
            for index, turn in conversation.annotated:
                assert turn.annotation is not None
                yield conversation.id, index, turn.annotation


def _slots(annotation: Annotation) -> Iterator[Mapping[str, Any]]:
    """The slots that the template was given: those of all flows, then those of the active one with their values."""
    flows = annotation.variables.get("available_flows") or ()
    yield from (slot for flow in flows for slot in flow.get("slots") or ())
    yield from annotation.variables.get("flow_slots") or ()


def _allowed(slot: Mapping[str, Any]) -> frozenset[str]:
    """The allowed values, which Rasa gives to the template as the text of a Python list."""
    given = slot.get("allowed_values")
    if isinstance(given, str):
        try:
            given = ast.literal_eval(given)
        except (SyntaxError, ValueError):
            given = None
    if isinstance(given, list | tuple | set):
        return frozenset(str(value).casefold() for value in given)
    return frozenset(_BOOLEAN) if slot.get("type") == "bool" else frozenset()
