"""E2E tests with a model in the place of the command generator's LLM, and the same with that LLM itself, the teacher.

    suites = place.sides(workspace)                                   # place: rasa_ft_ext.pipeline.Place
    stubbed = any(file.stub_custom_actions for suite in suites.values() for file in suite.files)
    assistant = place.load(stubbed=stubbed)
    tests = {side: suite.tests for side, suite in suites.items()}
    outcomes = await run_conversations(assistant, tests, llm=model, template=workspace.template(), repeats=3)
    of_teacher = await run_conversations(assistant, tests, repeats=3)

Outcomes stand in the order of repeats, sides and tests, so those of both calls belong together pair by pair.

This module knows neither Rasa nor how a test is run, nor what the outcomes are worth.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from rasa_ft_ext.assistant.base import Played
from rasa_ft_ext.errors import LLMUnavailableError
from rasa_ft_ext.evaluation import Side, TestOutcome
from rasa_ft_ext.llm.base import LLM
from rasa_ft_ext.progress import Progress
from rasa_ft_ext.reruns import run_beside_then_alone


class Test(Protocol):
    """One E2E test, as the assistant wants it; only its name is looked at here."""

    @property
    def id(self) -> str: ...


OneTest = TypeVar("OneTest", bound=Test)
AnyTest = TypeVar("AnyTest", bound=Test, contravariant=True)


class TestPlayer(Protocol[AnyTest]):
    """What runs a test: `rasa_ft_ext.rasa_pro.assistant.RasaAssistant`, whose `play` says what the arguments are."""

    async def play(
        self, test: AnyTest, *, llm: LLM | None = None, template: str | None = None, again: Played | None = None
    ) -> Played: ...


@dataclass(frozen=True)
class _Job(Generic[OneTest]):
    """One run of one test."""

    repeat: int
    side: Side
    test: OneTest


async def run_conversations(
    assistant: TestPlayer[OneTest],
    tests: Mapping[Side, Sequence[OneTest]],
    *,
    llm: LLM | None = None,
    template: str | None = None,
    repeats: int = 1,
    concurrency: int = 16,
    progress: Progress | None = None,
) -> tuple[TestOutcome, ...]:
    """Run every test `repeats` times.

    A test that fails beside others is run again alone, and that counts; what the LLM said to a prompt it is not asked
    anew then. A test with a call that failed counts as failed.

    Args:
        assistant: Runs the tests.
        tests: The tests of each side, with ids that are unique in it.
        llm: Answers in the place of the assistant's own LLM; None: nobody does, so the teacher is measured.
        template: The jinja2 source that the prompts are rendered from; None: the assistant's own template.
        repeats: How often every test is run.
        concurrency: How many run at a time.
        progress: Is told how far it is.

    Raises:
        LLMUnavailableError: the model, or the teacher, cannot be reached, from the start or any more.
    """
    jobs = [
        _Job(repeat, side, test) for repeat in range(repeats) for side, of_side in tests.items() for test in of_side
    ]

    async def run(job: _Job[OneTest]) -> Played:
        played = await assistant.play(job.test, llm=llm, template=template)
        return _reached(played) if concurrency == 1 else played

    async def again(job: _Job[OneTest], before: Played) -> Played:
        return _reached(await assistant.play(job.test, llm=llm, template=template, again=before))

    ended = await run_beside_then_alone(
        jobs,
        run,
        again=again,
        failed=lambda played: played.reason is not None,
        concurrency=concurrency,
        progress=progress or Progress(),
        what=f"Running E2E tests with the {'teacher' if llm is None else 'model'}",
    )
    return tuple(_outcome(job, played) for job, played in zip(jobs, ended, strict=True))


def _reached(played: Played) -> Played:
    """Refuse the outcome of a test in which nobody answered, alone: it says nothing of who would have answered."""
    if isinstance(played.error, LLMUnavailableError):
        raise played.error
    return played


def _outcome(job: _Job[OneTest], played: Played) -> TestOutcome:
    return TestOutcome(
        id=job.test.id,
        side=job.side,
        repeat=job.repeat,
        passed=played.reason is None,
        reason=played.reason,
        turns=played.turns,
        seconds=played.seconds,
    )
