"""Which values a drafted test can give a slot: those that other tests gave, those that fit its name, those that the
flows' conditions compare it with."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from rasa_ft_ext.coverage.conditions import Condition, Value, read, unique
from rasa_ft_ext.coverage.count import Tested
from rasa_ft_ext.flow_map import FlowMap, MappedSlot

_MOST = 5  # of the values that other tests gave
_SIMPLE = re.compile(r"\w[\w .,:'-]{0,60}\w|\w")  # what every syntax of the command language gives back as it was

_KINDS = (
    (r"e-?mail", ("ann@example.com", "bob@example.com")),
    (r"phone|mobile", ("0441234567", "0447654321")),
    (r"\bend\b.*\bdate\b|\bdate\b.*\bend\b", ("2030-06-07", "2030-06-03", "2030-06-09")),
    (r"\b(date|day|days|deadline|birthday|iso)\b|due", ("2030-06-03", "2030-06-07", "2030-05-30")),
    (r"\b(time|hour|clock)\b", ("10:30", "16:45")),
    (r"\byear\b", ("2030", "2029")),
    (r"\bmonth\b", ("June", "May")),
    (r"\b(city|town|destination)\b", ("Basel", "Geneva")),
    (r"\bcountry\b", ("Switzerland", "Italy")),
    (r"\baddress\b", ("1 Main Street", "2 Mill Road")),
    (r"\bhandle\b", ("@ann", "@bob")),
    (r"\b(amount|price|cost)\b", ("100", "250")),
    (r"\b(number|digits?|account|id|code|pin)\b", ("1234567890", "9876543210")),
    (r"\b(person|recipient|contact|payee|customer|user|first name|last name|surname)\b", ("Ann Miller", "Bob Brown")),
)
_ANYTHING = ("2030-06-03", "1234567890", "1234", "Ann Miller", "ann@example.com", "10:30", "A1", "yes")


def values_of(flows: FlowMap, tests: Iterable[Tested]) -> dict[str, tuple[Value, ...]]:
    """The values to try for each slot, likely ones first."""
    seen = _seen(tests)
    about = _about(flows)
    named = _named(flows)
    return {
        slot.name: unique(_of(slot, seen.get(slot.name, []), about.get(slot.name, ""), named.get(slot.name, [])))
        for slot in (*flows.slots, *flows.others)
    }


def _of(slot: MappedSlot, seen: list[str], about: str, named: list[Condition]) -> Iterator[Value]:
    constants = [value for condition in named for value in condition.constants]
    if slot.type == "bool":
        yield from (True, False)
    elif slot.values:
        yield from slot.values
    elif slot.type in ("float", "integer"):
        yield from (float(value) for value in seen if re.fullmatch(r"\d+(\.\d+)?", value))
        yield 2.0
        for value in constants:
            if isinstance(value, float):
                yield from (value, value + 1, value - 1)
    else:
        yield from (value for value in seen if _SIMPLE.fullmatch(value))
        yield from _drafted(slot.name, about)
        plain = (value for condition in named if not condition.matches for value in condition.constants)
        yield from (value for value in plain if isinstance(value, str) and value)
        yield from _ANYTHING if any(condition.matches for condition in named) else ()
        yield from (value for value in constants if slot.type == "any" and isinstance(value, bool | float))


def _drafted(name: str, about: str) -> Iterator[str]:
    """By the slot's name, else by what is said of it."""
    words = " ".join(re.split(r"[_\W]+", name)).lower()
    for text in (words, about.lower()):
        for pattern, values in _KINDS:
            if re.search(pattern, text):
                yield from values
                return
    yield f"example {words}"
    yield f"another {words}"


def _about(flows: FlowMap) -> dict[str, str]:
    """What the flows say of each slot that they collect."""
    return {
        step.slot: step.description for flow in flows.flows for step in flow.steps if step.slot and step.description
    }


def _named(flows: FlowMap) -> dict[str, list[Condition]]:
    """The conditions that name each slot."""
    found: dict[str, list[Condition]] = {}
    for text in _texts(flows):
        condition = read(text)
        for slot in condition.slots if condition else ():
            found.setdefault(slot, []).append(condition)  # type: ignore[arg-type]
    return found


def _texts(flows: FlowMap) -> Iterator[str]:
    for flow in flows.flows:
        yield flow.guard or ""
        for step in flow.steps:
            yield from (way.condition for way in step.ways if way.condition)
            yield from step.refused


def _seen(tests: Iterable[Tested]) -> Mapping[str, list[str]]:
    """The values that commands gave, the commonest first."""
    counted: dict[str, Counter[str]] = {}
    for test in tests:
        for labels in test.labels.values():
            for label in labels:
                if label.type == "SetSlot" and label.args[1] is not None:
                    counted.setdefault(str(label.args[0]), Counter())[label.args[1]] += 1
    return {
        slot: [value for value, _ in sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))[:_MOST]]
        for slot, counts in counted.items()
    }
