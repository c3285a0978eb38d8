"""The conditions of flows: what is read, and when they hold."""

from __future__ import annotations

import pytest

from rasa_ft_ext.coverage.conditions import Value, read


@pytest.mark.parametrize(
    ("text", "slots", "holds"),
    [
        ("slots.a", {"a": "x"}, True),
        ("slots.a", {}, False),
        ("not slots.a", {"a": False}, True),
        ('slots.a is "gold"', {"a": "gold"}, True),
        ("slots.a = 'gold'", {"a": "silver"}, False),
        ('slots.a == "x" and slots.b', {"a": "x", "b": None}, False),
        ('slots.a == "x" or slots.b', {"a": "y", "b": True}, True),
        ("slots.a is not true", {"a": "true"}, True),
        ("slots.a is not true", {"a": True}, False),
        ("slots.a != true", {"a": False}, True),
        ("slots.a > 0", {"a": 1.0}, True),
        ("slots.a <= 0", {"a": None}, False),
        ("slots.a < 3", {"a": "two"}, False),
        ("slots.a is 1", {"a": True}, True),
        ("slots.a is empty", {"a": ""}, True),
        ("slots.a is empty", {"a": None}, False),
        ("slots.a is gold", {"a": "gold"}, False),
        ("slots.a is not None", {"a": None}, True),
        ("slots.a is not empty", {"a": "x"}, True),
        ("slots.a is null", {}, True),
        ('slots.a contains "x"', {"a": "axb"}, True),
        ('not (slots.a matches "^[0-9]{4}$")', {"a": "2030"}, False),
        ("not slots.a and not slots.b", {"a": None, "b": True}, False),
        ("slots.a and slots.b or slots.c", {"a": None, "b": None, "c": True}, False),
        ("slots.a && (slots.b || !slots.c)", {"a": 1.0}, True),
        ("slots.start < slots.end", {"start": "2030-01-01", "end": "2030-01-02"}, True),
    ],
)
def test_what_slots_decide_is_read(text: str, slots: dict[str, Value], holds: bool) -> None:
    condition = read(text)

    assert condition is not None
    assert condition.holds(slots) == holds
    assert condition.slots >= slots.keys()


@pytest.mark.parametrize(
    "text", ["context.asked", "slots.a is", "slots.a is context.b", "(slots.a", "slots.a slots.b", "slots.a in {1}", ""]
)
def test_other_conditions_are_not_read(text: str) -> None:
    assert read(text) is None


def test_the_values_that_a_slot_is_compared_with_are_known() -> None:
    condition = read('slots.a is "x" or slots.b > 3 or slots.c = true or slots.d = 1')

    assert condition is not None
    assert condition.constants == ("x", 3.0, True, 1.0)
    assert not condition.matches
