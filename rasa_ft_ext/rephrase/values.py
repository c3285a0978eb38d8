"""Which values a slot may take instead of its own.

In this order, the first that has any: those that a person lists for the slot, those that the assistant allows (of a
categorical slot), those that users gave in the tests. Of a categorical slot only allowed values are taken, whoever
lists them.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from rasa_ft_ext.conversation import Conversation, Turn
from rasa_ft_ext.errors import ConfigError
from rasa_ft_ext.flow_map import FlowMap
from rasa_ft_ext.places import NO_VALUES, places_of
from rasa_ft_ext.yaml_reading import read_yaml


def read_values(path: Path) -> dict[str, tuple[str, ...]]:
    """Read a file `slot: [value, ...]`.

    Raises:
        ConfigError: it cannot be read, or does not look like that; names every problem.
    """
    content = read_yaml(path)
    if not isinstance(content, dict) or not content:
        raise ConfigError(str(path), ["it must map slots to lists of values, such as `city: [Basel, Zurich]`"])
    problems = []
    for slot, values in content.items():
        if (
            not isinstance(values, list)
            or not values
            or not all(isinstance(value, str | int | float) for value in values)
        ):
            problems.append(f"{slot}: it must be a list of texts or numbers")
        elif any(isinstance(value, bool) or not str(value).strip() or "\n" in str(value) for value in values):
            problems.append(f"{slot}: a value must be one line of text or a number; put true and false in quotes")
    if problems:
        raise ConfigError(str(path), problems)
    return {str(slot): tuple(dict.fromkeys(str(value).strip() for value in values)) for slot, values in content.items()}


class SlotChoices:
    """The values of every slot, from the annotated conversations, the map of the flows, and what a person listed.

    Raises:
        ConfigError: a listed slot does not occur in the recording, or a listed value is not allowed.
    """

    def __init__(
        self, conversations: Iterable[Conversation], flow_map: FlowMap | None, listed: Mapping[str, tuple[str, ...]]
    ) -> None:
        self._allowed: dict[str, dict[str, None]] = {}
        self._seen: dict[str, dict[str, None]] = {}
        known = {slot.name for slot in (flow_map.slots if flow_map else ())}
        for turn in (turn for conversation in conversations for _, turn in conversation.annotated):
            for slot, value in _allowed(turn):
                self._allowed.setdefault(slot, {})[value] = None
            for slot, value in set_slots(turn):
                known.add(slot)
                if turn.typed and len(places_of(value, turn.message)) == 1:
                    self._seen.setdefault(slot, {})[value] = None
        for mapped in flow_map.slots if flow_map else ():
            values = dict.fromkeys(value for value in mapped.values if value.casefold() not in NO_VALUES)
            self._allowed |= {mapped.name: values} if values else {}
        known |= self._allowed.keys()
        self._listed = listed
        problems = [f"no test sets or offers a slot {slot!r}" for slot in listed if slot not in known]
        problems += [
            f"slot {slot!r} does not allow {value!r}, only {', '.join(self._allowed[slot])}"
            for slot, values in listed.items()
            for value in values
            if self._allowed.get(slot) and value not in self._allowed[slot]
        ]
        if problems:
            raise ConfigError("The values for --substitute-slots", problems)

    def of(self, slot: str) -> tuple[str, ...]:
        """The values that the slot may take, in a fixed order."""
        return self._listed.get(slot) or tuple(self._allowed.get(slot, ())) or tuple(self._seen.get(slot, ()))


def set_slots(turn: Turn) -> Iterator[tuple[str, str]]:
    """The slots that the label of an annotated turn sets, with their values; emptied ones are left out."""
    for command in turn.annotation.labels if turn.annotation else ():
        if command.type == "SetSlot" and command.args[0] and command.args[1]:
            yield command.args[0], command.args[1]


def _allowed(turn: Turn) -> Iterator[tuple[str, str]]:
    """The slots with the allowed values that the recorded template variables name."""
    variables = turn.annotation.variables if turn.annotation else {}
    flows = variables.get("available_flows") or ()
    for slot in (*_dicts(variables.get("flow_slots")), *(s for f in _dicts(flows) for s in _dicts(f.get("slots")))):
        for value in _listed(slot.get("allowed_values")):
            yield str(slot.get("name")), value


def _dicts(value: Any) -> Iterator[dict[str, Any]]:
    """The dictionaries of a list, where a generator of one's own keeps to Rasa's variables."""
    yield from (entry for entry in value if isinstance(entry, dict)) if isinstance(value, list | tuple) else ()


def _listed(value: Any) -> Iterator[str]:
    """The texts of a list that Rasa gives its template as a text: `['budget', 'luxury']`."""
    if isinstance(value, str):
        try:
            value = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            return
    if isinstance(value, list | tuple):
        yield from (entry for entry in value if isinstance(entry, str) and entry.casefold() not in NO_VALUES)
