"""The functions of `rasa_ft_ext.api` on a trained assistant: the live way from tests to training data."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("rasa")

from rasa_ft_ext import AnnotateSummary, PrepareDataSummary, api
from rasa_ft_ext.errors import AssistantError, BudgetError, ConfigError
from rasa_ft_ext.llm.estimate import Estimate
from tests.rasa_pro.projects import Project


@pytest.fixture
def project(example: Project) -> Iterator[Project]:
    with example.entered(), example.at_home():
        yield example


def suite_of(project: Project) -> str:
    return str(project.tests / "cars" / "booking.yml")


def test_e2e_tests_become_training_data(project: Project, tmp_path: Path) -> None:
    calls = project.llm.stats()["calls"]
    summary = api.prepare_data(suite_of(project), out=tmp_path / "output", num_rephrases=1, concurrency=4)

    assert summary.num_annotated_conversations == summary.num_input_e2e_tests > 0
    assert summary.num_passing_rephrased_user_messages > 0
    assert summary.num_train_data_points > 0
    assert project.llm.stats()["calls"] > calls


def test_what_the_calls_will_cost_is_told_before_the_first_of_them(project: Project, tmp_path: Path) -> None:
    seen: list[Estimate] = []

    def look(estimate: Estimate) -> None:
        seen.append(estimate)
        raise BudgetError("too much")

    def prepare(**more: Any) -> PrepareDataSummary:
        return api.prepare_data(suite_of(project), out=tmp_path / "output", num_rephrases=1, **more)

    calls = project.llm.stats()["calls"]
    with pytest.raises(BudgetError):
        prepare(confirm=look)
    assert project.llm.stats()["calls"] == calls
    assert not (tmp_path / "output").exists()

    used = {entry.stage: entry for entry in prepare().llm_usage}
    told = {line.stage: line for line in seen[0].lines}
    assert told.keys() == used.keys() == {"annotate", "rephrase", "validate"}
    for stage, line in told.items():
        assert line.model == used[stage].model
        assert used[stage].calls <= line.calls <= 1.2 * used[stage].calls
        assert line.prompt_tokens > used[stage].prompt_tokens


def test_the_stages_can_be_run_one_by_one_with_the_assistant(project: Project, tmp_path: Path) -> None:
    out = tmp_path / "output"
    whole = api.prepare_data(suite_of(project), out=tmp_path / "whole", num_rephrases=1)

    annotated = api.annotate(suite_of(project), out=out)
    rephrased = api.rephrase(out, model="models", num_rephrases=1)
    made = api.dataset(out, model="models")

    assert (annotated, rephrased, made) == (whole.annotate, whole.rephrase, whole.dataset)


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
