"""A label that a person has changed, on a trained assistant: what follows it is what the assistant does then."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("rasa")

from rasa_ft_ext import api
from rasa_ft_ext.conversation import Example
from rasa_ft_ext.workspace import Workspace
from rasa_ft_ext.yaml import write_yaml
from tests.rasa_pro.projects import Project

DAY = "set slot car_rental_start_date "


def test_the_prompts_after_an_edited_label_are_those_that_the_assistant_gives_then(
    example: Project, tmp_path: Path
) -> None:
    out = tmp_path / "output"
    with example.entered(), example.at_home():
        api.prepare_data(str(example.tests / "cars" / "booking.yml"), out=out, num_rephrases=0)
        first = list(Workspace(out).examples())
        at = next(of for of in first if DAY in of.completion and followed(of, first))
        said = next(line for line in at.completion.splitlines() if line.startswith(DAY))
        label = at.completion.replace(said, f"{DAY}2 June")
        edit = {"test": at.test, "turn": at.turn + 1, "message": at.message, "decision": "edit", "commands": label}
        write_yaml(out / "review.yaml", {"decisions": [edit]})
        summary = api.dataset(out, model="models")
        second = {of.turn: of for of in Workspace(out).examples() if of.test == at.test}
        api.dataset(out, model="models", student_prompt="compact", force=True)
    assert summary.review == {"accepted": 0, "rejected": 0, "edited": 1, "not fitting": 0}
    assert (second[at.turn].prompt, second[at.turn].completion) == (at.prompt, label)
    later = followed(at, first)[0]
    assert second[later.turn].made_by == "simulated"
    assert "2 June" in second[later.turn].prompt
    assert "2 June" not in later.prompt
    assert (summary.simulated, summary.diverged) == (1, 0)
    short = {of.turn: of for of in Workspace(out).examples() if of.test == at.test}
    assert (short[at.turn].completion, short[later.turn].made_by) == (label, "simulated")
    assert "car_rental_start_date = 2 June" in short[later.turn].prompt
    assert len(short[later.turn].prompt) < len(second[later.turn].prompt), "also with the prompt of a student"


def followed(at: Example, examples: list[Example]) -> list[Example]:
    """The examples of the messages after one, in the same test."""
    return [of for of in examples if of.test == at.test and of.turn > at.turn]
