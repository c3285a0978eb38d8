"""`evaluate` on a real assistant: its E2E tests with another model, and with its own LLM beside it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

pytest.importorskip("rasa")

from rasa_ft_ext import api
from rasa_ft_ext.evaluation import read_outcomes
from rasa_ft_ext.llm.scripted.server import scripted_llm
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


def test_a_model_with_swapped_labels_is_refused_and_its_teacher_would_not_be(
    example: Project, output: Path, tmp_path: Path
) -> None:
    swapped = tmp_path / "answers.yml"
    text = example.answers.read_text(encoding="utf-8")
    for one, other in (("search_rental_car", "@"), ("search_hotel", "search_rental_car"), ("@", "search_hotel")):
        text = text.replace(one, other)
    swapped.write_text(text, encoding="utf-8")

    with scripted_llm(swapped) as llm, example.entered(), example.at_home():
        found = api.evaluate(
            output,
            project=example.path,
            api_base=llm.base_url,
            model="scripted",
            only=("commands", "conversations"),
            against_teacher=True,
        )

    assert found.verdict.red
    assert any("pass rate of the train tests is" in problem for problem in found.verdict.problems)
    assert found.comparison["train"].result == "worse"
    assert {rate.rate.value for rate in found.teacher.values()} == {1}
    tests = sum(rate.tests for rate in found.conversations.values())
    assert tests == len(read_outcomes(output)) > 10
    assert any(
        turn.model is not None
        and turn.teacher is not None
        and "search_hotel" in str(turn.model.answer)
        and "search_rental_car" in str(turn.teacher.answer)
        for turn in found.differing_turns
    )
