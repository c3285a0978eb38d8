"""Runs of E2E tests for an evaluation, with an assistant that is made up: what is run, how often, and what counts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from rasa_ft_ext.assistant.base import Played
from rasa_ft_ext.errors import LLMError, LLMUnavailableError
from rasa_ft_ext.evaluate.conversations import run_conversations
from rasa_ft_ext.evaluation import OutcomeTurn, TestOutcome
from rasa_ft_ext.llm.base import LLM, Completion, Readable
from rasa_ft_ext.progress import Progress

PASSED = Played(turns=(OutcomeTurn(message="to Basel", answer="SetSlot(city, Basel)"),), seconds=(0.5,))
FAILED = Played(turns=(), seconds=(), reason="expected bot: Where?, got nothing", trace="what was said")


@dataclass(frozen=True)
class Case:
    id: str


@dataclass(frozen=True)
class Play:
    """One time that a test was played, and how many were under way with it."""

    test: str
    llm: LLM | None
    template: str | None
    again: Played | None
    beside: int


class Player:
    """Ends a test as it is told to; the first ones take the longest."""

    def __init__(self, ends: Callable[[Play], Played] = lambda play: PASSED) -> None:
        self.plays: list[Play] = []
        self._ends = ends
        self._under_way = 0

    async def play(
        self, test: Case, *, llm: LLM | None = None, template: str | None = None, again: Played | None = None
    ) -> Played:
        self._under_way += 1
        for _ in range(10 - len(self.plays)):
            await asyncio.sleep(0)
        play = Play(test.id, llm, template, again, self._under_way)
        self.plays.append(play)
        self._under_way -= 1
        return self._ends(play)


class Student(LLM):
    @property
    def settings(self) -> dict[str, Any]:
        return {}

    async def complete(self, prompt: str, *, sample: int = 0, readable: Readable | None = None) -> Completion:
        raise AssertionError("only the assistant asks it")


class Notes(Progress):
    def __init__(self) -> None:
        self.said: list[str] = []

    def start(self, what: str, total: int) -> None:
        self.said.append(f"{what}: {total}")

    def note(self, text: str) -> None:
        self.said.append(text)


TESTS = {"train": [Case("a"), Case("b")], "validation": [Case("a"), Case("c")]}


def run(player: Player, **options: Any) -> tuple[TestOutcome, ...]:
    return asyncio.run(run_conversations(player, TESTS, **options))  # type: ignore[arg-type]


def alone(play: Play) -> bool:
    return play.again is not None


def test_outcomes_stand_in_the_order_of_repeats_sides_and_tests() -> None:
    outcomes = run(Player(), repeats=2, concurrency=3)

    expected = [("train", "a"), ("train", "b"), ("validation", "a"), ("validation", "c")]
    assert [(entry.repeat, entry.side, entry.id) for entry in outcomes] == [
        (repeat, *test) for repeat in (0, 1) for test in expected
    ]
    assert {(entry.passed, entry.reason, entry.turns, entry.seconds) for entry in outcomes} == {
        (True, None, PASSED.turns, PASSED.seconds)
    }


def test_every_test_is_played_with_the_model_and_its_template() -> None:
    player, student = Player(lambda play: PASSED if alone(play) else FAILED), Student()

    run(player, llm=student, template="{{ user_message }}", concurrency=2)

    assert len(player.plays) == 8
    assert {(play.llm, play.template) for play in player.plays} == {(student, "{{ user_message }}")}


def test_without_a_model_the_teacher_is_run() -> None:
    player = Player()

    run(player)

    assert {(play.llm, play.template) for play in player.plays} == {(None, None)}


def test_what_failed_beside_others_is_played_again_alone_with_what_was_said_then() -> None:
    player, notes = Player(lambda play: PASSED if alone(play) or play.test != "a" else FAILED), Notes()

    outcomes = run(player, concurrency=4, progress=notes)

    assert all(entry.passed for entry in outcomes)
    assert [(play.test, play.again, play.beside) for play in player.plays if alone(play)] == [("a", FAILED, 1)] * 2
    assert max(play.beside for play in player.plays) > 1
    assert notes.said == [
        "Running E2E tests with the teacher: 4",
        "Running failed tests again, alone: 2",
        "2 tests failed beside others and passed alone; they may share a file or a database.",
    ]


def test_what_fails_alone_as_well_has_failed_for_the_reason_it_had_alone() -> None:
    last = Played(turns=PASSED.turns, seconds=(0.1,), reason="expected bot: Where?, got bot: When?")
    outcomes = run(Player(lambda play: last if alone(play) else FAILED), llm=Student(), concurrency=2)

    assert {(entry.passed, entry.reason) for entry in outcomes} == {(False, last.reason)}
    assert {(entry.turns, entry.seconds) for entry in outcomes} == {(PASSED.turns, (0.1,))}


def test_one_by_one_nothing_is_played_twice() -> None:
    player = Player(lambda play: FAILED)

    assert not any(entry.passed for entry in run(player, concurrency=1))
    assert len(player.plays) == 4


@pytest.mark.parametrize("concurrency", [1, 4])
def test_a_teacher_whom_nobody_reaches_is_not_judged(concurrency: int) -> None:
    gone = Played((), (), reason="gone", error=LLMUnavailableError("The assistant's LLM cannot be reached."))

    with pytest.raises(LLMUnavailableError, match="cannot be reached"):
        run(Player(lambda play: gone if play.test == "b" else PASSED), concurrency=concurrency)


def test_a_teacher_that_was_away_for_a_moment_is_asked_again() -> None:
    gone = Played((), (), reason="gone", error=LLMUnavailableError("The assistant's LLM cannot be reached."))

    outcomes = run(Player(lambda play: PASSED if alone(play) else gone), concurrency=2)

    assert all(entry.passed for entry in outcomes)


def test_a_test_with_a_call_that_failed_has_failed() -> None:
    slow = Played((), (), reason="The model took too long.", error=LLMError("The model took too long."))

    outcomes = run(Player(lambda play: slow if play.test == "c" else PASSED), llm=Student(), concurrency=2)

    assert [entry.passed for entry in outcomes] == [True, True, True, False]
    assert outcomes[-1].reason == "The model took too long."


def test_no_tests_give_no_outcomes() -> None:
    assert asyncio.run(run_conversations(Player(), {"train": [], "validation": []})) == ()
