"""The functions of `rasa_ft_ext.api` on a trained assistant: the live way from tests to training data."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

pytest.importorskip("rasa")

from rasa_ft_ext import AnnotateSummary, PrepareDataSummary, api
from rasa_ft_ext.errors import AssistantError, ConfigError
from rasa_ft_ext.llm import opening
from rasa_ft_ext.llm.batch.batches import Batches
from rasa_ft_ext.llm.batch.pace import Pace
from rasa_ft_ext.llm.estimate import Estimate
from rasa_ft_ext.llm.opening import COSTS
from rasa_ft_ext.llm.options import CallOptions
from tests.rasa_pro.projects import Project


@pytest.fixture
def project(example: Project) -> Iterator[Project]:
    with example.entered(), example.at_home():
        yield example


def suite_of(project: Project) -> str:
    return str(project.tests / "cars" / "booking.yml")


@dataclass
class Whole:
    """A run of the recipe, and what was seen when it told what it will cost."""

    out: Path
    told: Estimate | None = None
    calls_until_then: int = 0
    written_until_then: bool = False
    summary: PrepareDataSummary | None = None
    calls: int = 0


@pytest.fixture(scope="module")
def whole(example: Project, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    before, run = example.llm.stats()["calls"], Whole(tmp_path_factory.mktemp("whole") / "output")

    def look(estimate: Estimate) -> None:
        run.told, run.written_until_then = estimate, run.out.exists()
        run.calls_until_then = example.llm.stats()["calls"] - before

    with example.entered(), example.at_home():
        run.summary = api.prepare_data(suite_of(example), out=run.out, num_rephrases=1, concurrency=4, confirm=look)
    run.calls = example.llm.stats()["calls"] - before
    return run


def test_e2e_tests_become_training_data(whole: Whole) -> None:
    summary = whole.summary

    assert summary is not None
    assert summary.num_annotated_conversations == summary.num_input_e2e_tests > 0
    assert summary.num_passing_rephrased_user_messages > 0
    assert summary.num_train_data_points > 0
    assert whole.calls > 0


def test_what_the_calls_will_cost_is_told_before_the_first_of_them(whole: Whole) -> None:
    assert whole.summary is not None
    assert whole.told is not None
    assert whole.calls_until_then == 0
    assert not whole.written_until_then
    used = {entry.stage: entry for entry in whole.summary.llm_usage}
    told = {line.stage: line for line in whole.told.lines}
    assert told.keys() == used.keys() == {"annotate", "rephrase", "validate"}
    for stage, line in told.items():
        assert line.model == used[stage].model
        assert used[stage].calls <= line.calls <= 1.2 * used[stage].calls
        assert line.prompt_tokens > used[stage].prompt_tokens


def test_tests_are_run_call_by_call_in_batch_mode_also_where_the_rephraser_is_the_same_model(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "Batches", partial(Batches, pace=Pace(settle=0.2, look=0.02)))
    (tmp_path / "rephrase.yml").write_text("llm: {model_group: teacher}\n")
    before = project.llm.stats()
    summary = api.prepare_data(
        suite_of(project),
        out=tmp_path / "output",
        num_rephrases=1,
        rephrase_config=tmp_path / "rephrase.yml",
        calls=CallOptions(mode="batch"),
    )
    assert project.llm.stats()["batches"] - before["batches"] == 2
    (line,) = (tmp_path / "output" / COSTS).read_text().splitlines()
    paid = {entry["stage"]: entry for entry in json.loads(line)["paid"]}
    assert paid.keys() == {"annotate", "rephrase", "validate"}
    assert len({entry["model"] for entry in paid.values()}) == 1
    assert summary.num_passing_rephrased_user_messages > 0


def test_the_stages_can_be_run_one_by_one_with_the_assistant(project: Project, whole: Whole, tmp_path: Path) -> None:
    out = tmp_path / "output"

    annotated = api.annotate(suite_of(project), out=out)
    rephrased = api.rephrase(out, model="models", num_rephrases=1)
    made = api.dataset(out, model="models")

    assert whole.summary is not None
    assert (annotated, rephrased, made) == (whole.summary.annotate, whole.summary.rephrase, whole.summary.dataset)


def test_an_assistant_can_be_loaded_from_within_an_event_loop(project: Project, tmp_path: Path) -> None:
    async def notebook() -> AnnotateSummary:
        return api.annotate(suite_of(project), out=tmp_path / "output")

    assert asyncio.run(notebook()).passed > 0


def test_a_model_that_is_not_there_is_named_before_anything_is_written(project: Project, tmp_path: Path) -> None:
    with pytest.raises(AssistantError, match="no_model"):
        api.prepare_data(suite_of(project), model="no_model", out=tmp_path / "output")
    assert not (tmp_path / "output").exists()


def test_wrong_tests_and_wrong_numbers_are_told_together(project: Project, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as wrong:
        api.prepare_data("no_tests", train_frac=2, out=tmp_path / "output")
    assert "no_tests" in str(wrong.value)
    assert "train_frac" in str(wrong.value)
