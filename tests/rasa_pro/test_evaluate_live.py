"""`evaluate` on a real assistant: its E2E tests with another model, and with its own LLM beside it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

pytest.importorskip("rasa")

from rasa_ft_ext import api
from rasa_ft_ext.evaluation import Evaluation, read_outcomes
from rasa_ft_ext.llm.scripted_server import scripted_llm
from tests.rasa_pro.projects import REPOSITORY, Project


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data of a few of the example's tests, on cars and on hotels."""
    folder = tmp_path_factory.mktemp("evaluated")
    recorded = REPOSITORY / "assistant_example" / "annotations"
    for name in ("assistant.json", *(f"{kind}/booking.yml.json" for kind in ("cars", "hotels"))):
        (folder / "annotations" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(recorded / name, folder / "annotations" / name)
    api.prepare_data(annotations=folder / "annotations", out=folder / "output", num_rephrases=0, train_frac=0.6)
    return folder / "output"


def evaluate(project: Project, output: Path, base_url: str) -> Evaluation:
    with project.entered(), project.at_home():
        return api.evaluate(
            output,
            project=project.path,
            api_base=base_url,
            model="scripted",
            only=("commands", "conversations"),
            against_teacher=True,
        )


def test_a_model_that_answers_as_the_teacher_passes_and_one_with_swapped_labels_does_not(
    example: Project, output: Path, tmp_path: Path
) -> None:
    same = evaluate(example, output, example.base_url)

    assert not same.verdict.red
    for side in ("validation", "train"):
        assert same.conversations[side].rate.value == 1
        assert same.comparison[side].difference.value == 0
        assert same.commands[side].exact_match.value == 1
    assert same.differing_turns == ()
    assert len(read_outcomes(output)) == sum(rate.tests for rate in same.conversations.values())
    assert 0 < same.comparison["train"].groups < same.comparison["train"].tests

    swapped = tmp_path / "answers.yml"
    text = example.answers.read_text(encoding="utf-8")
    for one, other in (("search_rental_car", "@"), ("search_hotel", "search_rental_car"), ("@", "search_hotel")):
        text = text.replace(one, other)
    swapped.write_text(text, encoding="utf-8")
    with scripted_llm(swapped) as llm:
        other = evaluate(example, output, llm.base_url)

    assert other.verdict.red
    assert other.comparison["train"].result == "worse"
    assert any("pass rate of the train tests is" in problem for problem in other.verdict.problems)
    assert any(
        turn.model is not None
        and turn.teacher is not None
        and "search_hotel" in str(turn.model.answer)
        and "search_rental_car" in str(turn.teacher.answer)
        for turn in other.differing_turns
    )
