"""A lenient script: what it does not hold is answered like what it is like, and nothing is guessed."""

from __future__ import annotations

from typing import Any

import pytest

from rasa_ft_ext.llm.scripted.script import AnswersFile, Script

ANSWERS: list[dict[str, Any]] = [
    {
        "user": "I'd like a car in Basel, please.",
        "commands": ["StartFlow(car)", "SetSlot(city, Basel)"],
        "paraphrases": ["Could I get a car in Basel?"],
    },
    {"user": "to New York", "asked": "Where to", "commands": ["SetSlot(city, New York)"]},
    {"user": "to Bern", "asked": "Where from", "commands": ["SetSlot(start, Bern)"]},
    {"user": "a mid-range one", "commands": ["SetSlot(price, mid_range)"]},
    {"user": "something cheap", "commands": ["SetSlot(price, budget)"]},
    {"user": "budget", "commands": ["SetSlot(price, budget)"]},
    {"user": "from Basel to Basel", "commands": ["SetSlot(city, Basel)"]},
    {"user": "7", "commands": ["SetSlot(people, 7)"]},
    {"user": "we are 12", "commands": ["SetSlot(people, 12)"]},
    {"user": "tell me a joke", "text": "I know none."},
    {"user": "you may pay later", "commands": ["StartFlow(later)"]},
    {"user": "you may pay laser", "commands": ["StartFlow(laser)"]},
]


def script(*, lenient: bool) -> Script:
    return Script(AnswersFile.model_validate({"answers": ANSWERS, "lenient": lenient}))


def answered(message: str, said: str = "") -> list[str] | str | None:
    answer = script(lenient=True).find(message, said)
    if answer is None:
        return None
    return answer.text or [str(command) for command in answer.commands or ()]


@pytest.mark.parametrize(
    ("message", "commands"),
    [
        ("ID LIKE A CAR IN BASEL PLEASE", ["StartFlow(car)", "SetSlot(city, Basel)"]),
        ("i'd like like a car in basel please", ["StartFlow(car)", "SetSlot(city, Basel)"]),
        ("Could I get a car in Bern?", None),  # a value of another slot
        ("Could I get a car in New York?", ["StartFlow(car)", "SetSlot(city, New York)"]),
        ("could i get a car in new york", ["StartFlow(car)", "SetSlot(city, New York)"]),
        ("Coudl I get a car in New York?", ["StartFlow(car)", "SetSlot(city, New York)"]),
        ("Coudl I gat a car in Basel?", None),  # short words have no slips
        ("Coudl I get a car in Baesl?", None),  # one slip for eight words
        ("a budget one", ["SetSlot(price, budget)"]),
        ("mid range", ["SetSlot(price, mid_range)"]),
        ("from New York to Basel", None),  # which of the two is meant
        ("12", ["SetSlot(people, 12)"]),
        ("we are 7", ["SetSlot(people, 7)"]),
        ("we are 13", None),
        ("Tell me a JOKE!", "I know none."),
        ("you may pay laher", None),  # two messages are as near
        ("You may pay LATER", ["StartFlow(later)"]),
        ("nothing of the kind", None),
    ],
)
def test_a_message_is_answered_like_the_one_that_it_is_like(message: str, commands: list[str] | str | None) -> None:
    assert answered(message) == commands
    assert script(lenient=False).find(message) is None or message == "12"


def test_what_was_asked_tells_apart_what_is_alike() -> None:
    assert answered("to basel", "Where to?") == ["SetSlot(city, Basel)"]
    assert answered("to new york", "Where to?") == ["SetSlot(city, New York)"]
    assert answered("to bern", "Where from?") == ["SetSlot(start, Bern)"]
    assert answered("to basel") is None


def test_a_message_of_the_script_itself_comes_first() -> None:
    exact = {"user": "TO NEW YORK", "commands": ["StartFlow(shout)"]}
    found = Script(AnswersFile.model_validate({"answers": [*ANSWERS, exact], "lenient": True})).find("TO NEW YORK")

    assert found is not None
    assert str((found.commands or ())[0]) == "StartFlow(shout)"
