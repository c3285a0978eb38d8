"""Which rephrasings pass, what they are labelled with, and what is said of the others."""

from __future__ import annotations

from typing import Any

import pytest

from rasa_ft_ext import commands as language
from rasa_ft_ext.assistant.base import Answer
from rasa_ft_ext.commands import Command
from rasa_ft_ext.conversation import Annotation, Rephrasing
from rasa_ft_ext.errors import LLMError
from rasa_ft_ext.rephrase.verdict import SlotValues, judge, kind, unasked


def commands(text: str) -> tuple[Command, ...]:
    return language.read(text, "v1")


def judged(
    original: str, own: str, slot_values: SlotValues = "own", *, dropped: str = "", **annotation: Any
) -> Rephrasing:
    fields: dict[str, Any] = {
        "generator": "g",
        "syntax": "v1",
        "prompt": "p",
        "template": "t",
        "variables": {},
        "renders": True,
        "answer": original,
        "commands": commands(original),
        "dropped": commands(dropped),
    }
    syntax = annotation.get("syntax", "v1")
    return judge(
        "other words",
        Answer("p", own, commands(own)),
        Annotation(**{**fields, **annotation}),
        slot_values=slot_values,
        read=lambda text: language.read(text, syntax),
    )


CAR = "StartFlow(car)\nSetSlot(city, Basel)"
ZURICH = "StartFlow(car)\nSetSlot(city, Zurich)"


@pytest.mark.parametrize("slot_values", ["own", "original", "strict"])
def test_same_commands_pass(slot_values: SlotValues) -> None:
    verdict = judged(CAR, CAR, slot_values)
    assert verdict == Rephrasing(
        text="other words", passed=True, commands=commands(CAR), label=commands(CAR), answer=CAR
    )


def test_other_value_passes_under_its_own_label_and_says_so() -> None:
    verdict = judged(CAR, ZURICH)
    assert (verdict.passed, verdict.label, verdict.differs) == (True, commands(ZURICH), True)


def test_other_value_passes_under_the_original_label_in_rasas_way() -> None:
    verdict = judged(CAR, ZURICH, "original")
    assert (verdict.passed, verdict.label, verdict.differs) == (True, commands(CAR), False)
    assert verdict.commands == commands(ZURICH)


def test_other_value_fails_where_values_count() -> None:
    verdict = judged(CAR, ZURICH, "strict")
    assert not verdict.passed
    assert kind(verdict) == "other slot values"
    assert "'Zurich' instead of 'Basel'" in str(verdict.reason)


@pytest.mark.parametrize(
    "own",
    [
        "StartFlow(hotel)\nSetSlot(city, Basel)",
        "StartFlow(car)",
        "CancelFlow()",
        "",
        "I cannot say.",
        CAR + "\nSkipQuestion()",
    ],
)
@pytest.mark.parametrize("slot_values", ["own", "original", "strict"])
def test_other_commands_fail_with_the_reason_and_all_that_was_said(own: str, slot_values: SlotValues) -> None:
    verdict = judged(CAR, own, slot_values)
    assert not verdict.passed
    assert kind(verdict) == "other commands"
    assert (verdict.commands, verdict.answer, verdict.label) == (commands(own), own, ())


def test_message_without_commands_passes_with_none() -> None:
    assert judged("", "").passed


def test_what_the_assistant_threw_away_counts_on_neither_side() -> None:
    original = "SetSlot(city, Basel)\nSetSlot(unknown, 1)\nStartFlow(car)"
    dropped = "SetSlot(unknown, 1)\nStartFlow(car)"
    for own in ("SetSlot(city, Basel)", original, "SetSlot(city, Basel)\nSetSlot(unknown, 2)"):
        verdict = judged(original, own, dropped=dropped)
        assert verdict.passed
        assert verdict.label == commands("SetSlot(city, Basel)")
    assert not judged(original, "SetSlot(city, Basel)\nStartFlow(hotel)", dropped=dropped).passed


def test_slot_that_was_kept_once_and_thrown_away_once_is_compared() -> None:
    verdict = judged("SetSlot(a, 1)\nSetSlot(a, 2)", "SetSlot(a, 3)", dropped="SetSlot(a, 2)")
    assert verdict.label == commands("SetSlot(a, 3)")


def test_label_that_is_read_back_otherwise_fails() -> None:
    verdict = judged("SetSlot(share, 10)", "SetSlot(share, 100%)", syntax="v2")
    assert not verdict.passed
    assert kind(verdict) == "cannot be read back"
    assert "SetSlot(share, 100)" in str(verdict.reason)


def test_command_that_cannot_be_written_fails() -> None:
    strange = Command(type="Strange")
    verdict = judge(
        "x",
        Answer("p", "x", (strange,)),
        Annotation(
            generator="g",
            syntax="v2",
            prompt="",
            template="",
            variables={},
            renders=True,
            answer="",
            commands=(strange,),
        ),
        slot_values="own",
        read=commands,
    )
    assert kind(verdict) == "cannot be read back"


def test_failed_call_is_a_reason() -> None:
    verdict = unasked("x", LLMError("too slow"))
    assert (verdict.passed, kind(verdict), verdict.reason) == (False, "call failed", "call failed: too slow")
