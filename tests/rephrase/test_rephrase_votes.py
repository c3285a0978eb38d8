"""The majority of several answers, and how far the teacher agrees with itself."""

from __future__ import annotations

import pytest

from rasa_ft_ext import commands as language
from rasa_ft_ext.assistant.base import Answer
from rasa_ft_ext.conversation import Annotation
from rasa_ft_ext.errors import LLMError
from rasa_ft_ext.rephrase.votes import Vote, against_recorded, agreement, vote

BASEL, BERN, CAR = "SetSlot(city, Basel)", "SetSlot(city, Bern)", "StartFlow(car)"
DOWN = LLMError("HTTP 500")


def recorded(text: str = BASEL, dropped: str = "") -> Annotation:
    return Annotation(
        generator="g",
        syntax="v1",
        prompt="",
        template="",
        variables={},
        renders=True,
        answer=text,
        commands=language.read(text, "v1"),
        dropped=language.read(dropped, "v1"),
    )


def voted(*said: str | LLMError, annotation: Annotation | None = None) -> Vote:
    results = [
        one if isinstance(one, LLMError) else Answer(f"prompt {place}", one, language.read(one, "v1"))
        for place, one in enumerate(said)
    ]
    return vote(results, annotation or recorded())


@pytest.mark.parametrize(
    ("said", "winner", "minority"),
    [
        ([BASEL], "prompt 0", 0),
        ([BERN, BASEL, BASEL], "prompt 1", 1),
        ([BASEL, BERN], None, 1),
        ([BASEL, BASEL, BERN, CAR], None, 2),  # half of the calls are no majority
        ([BASEL, BERN, CAR], None, 2),
        ([f"{BASEL}\n{CAR}", f"{CAR}\n{BASEL}"], "prompt 0", 0),  # the place of a SetSlot does not matter
        (["", ""], "prompt 0", 0),
        ([DOWN, BASEL, BASEL], "prompt 1", 0),
        ([DOWN, DOWN, BASEL], None, 0),
        ([DOWN], None, 0),
    ],
)
def test_more_than_half_of_the_calls_decide(said: list[str | LLMError], winner: str | None, minority: int) -> None:
    found = voted(*said)
    assert (found.winner.prompt if found.winner else None, found.minority) == (winner, minority)


def test_what_the_assistant_threw_away_makes_no_difference() -> None:
    annotation = recorded(f"{BASEL}\n{CAR}", dropped=CAR)
    assert voted(BASEL, f"{BASEL}\n{CAR}", annotation=annotation).minority == 0
    assert against_recorded(voted(f"{BASEL}\n{CAR}", annotation=annotation), annotation) is None


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ([BERN, BASEL, BASEL], None),
        ([BASEL, BERN], "no majority: 1x SetSlot(city, Basel), 1x SetSlot(city, Bern)"),
        (
            [BERN, BASEL, BERN],
            "against the recorded commands: 2x SetSlot(city, Bern), 1x SetSlot(city, Basel); recorded: "
            "SetSlot(city, Basel)",
        ),
        (["", ""], "against the recorded commands: 2x no command; recorded: SetSlot(city, Basel)"),
        ([DOWN, BERN, BERN], "against the recorded commands: 2x SetSlot(city, Bern); recorded: SetSlot(city, Basel)"),
        ([DOWN, BASEL, BERN], None),  # the third call might have decided
        ([DOWN, DOWN], None),
    ],
)
def test_what_speaks_against_an_original_message(said: list[str | LLMError], reason: str | None) -> None:
    assert against_recorded(voted(*said), recorded()) == reason


def test_disagreement_is_the_part_of_answers_that_are_not_the_most_frequent() -> None:
    wordings = [voted(BASEL, BASEL, BASEL, BERN), voted(BASEL, BERN, BASEL, BERN), voted(DOWN, DOWN, DOWN, DOWN)]
    originals = [voted(BASEL, BASEL, BASEL, BASEL), voted(BASEL, DOWN, DOWN, BERN)]
    found = agreement(4, wordings, originals, ["somewhere"])
    assert (found.messages, found.answers, found.split_messages, found.minority_answers) == (4, 14, 3, 4)
    assert (found.disagreement, found.no_majority, found.unasked) == (0.2857, 1, 1)
    assert found.notes[0].startswith("The assistant's LLM disagrees with itself in 28.6% of 14 answers to 4 messages")
    assert len(found.notes) == 3
    assert agreement(2, [], [], []).disagreement == 0
