"""A run of `annotate` that ends early: what is kept, and which tests the next run still runs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rasa_ft_ext.annotate.stage import annotate
from rasa_ft_ext.errors import LLMUnavailableError
from rasa_ft_ext.workspace import ANNOTATIONS, TIMINGS, Workspace
from tests.annotate.test_stage import CAR, FakeRunner, FakeTest, files_of, test_of
from tests.builders import contents, conversation, failed, said

test_of.__test__ = False  # type: ignore[attr-defined]


def passing(name: str, file: str) -> FakeTest:
    return test_of(conversation(said(name, CAR), name=name, file=file))


def flaky(name: str, file: str) -> FakeTest:
    """A test that fails the first time that it is run."""
    outcome = conversation(said(name, CAR), name=name, file=file)
    return test_of(failed("locked", name=name).model_copy(update={"id": outcome.id}), outcome)


def suite() -> list[FakeTest]:
    found = [passing("a", "a.yml"), flaky("b", "b.yml"), passing("b2", "b.yml"), passing("c", "c.yml")]
    return [*found, passing("d", "d.yml")]


class Stopping(FakeRunner):
    """The LLM is gone when the test of that name is run for the n-th time."""

    def __init__(self, name: str, run: int = 1) -> None:
        super().__init__()
        self._name, self._run = name, run

    async def run_test(self, test: FakeTest) -> object:  # type: ignore[override]
        if test.name == self._name and self.begun.count(test.name) == self._run - 1:
            raise LLMUnavailableError("nobody answers")
        return await super().run_test(test)


@pytest.mark.parametrize(
    ("stops", "still"),
    [(("a", 1), ["a", "b", "b2", "c", "d", "b"]), (("d", 1), ["d", "b"]), (("b", 2), ["b"])],
)
async def test_the_next_run_runs_the_rest_and_comes_to_the_same(
    tmp_path: Path, stops: tuple[str, int], still: list[str]
) -> None:
    whole, other = Workspace(tmp_path / "whole"), Workspace(tmp_path / "other")
    summary = await annotate(whole, FakeRunner(), files_of(suite()), suite(), concurrency=2)

    with pytest.raises(LLMUnavailableError):
        await annotate(other, Stopping(*stops), files_of(suite()), suite(), concurrency=2)
    assert ANNOTATIONS not in os.listdir(other.root)
    runner, tests = FakeRunner(), suite()
    if "b2" not in still:  # it has failed already
        tests = [test_of(*test.outcomes[1:]) if test.name == "b" else test for test in tests]
    assert await annotate(other, runner, files_of(tests), tests, concurrency=2) == summary

    assert runner.begun == still
    assert contents(other.root, without=[TIMINGS]) == contents(whole.root, without=[TIMINGS])
