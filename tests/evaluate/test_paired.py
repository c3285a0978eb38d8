"""The comparison with the teacher, on outcomes whose truth is known."""

from __future__ import annotations

import random
from collections.abc import Sequence
from math import log, sqrt

import pytest

from rasa_ft_ext.evaluate.paired import compare, differing_turns, noise, tango
from rasa_ft_ext.evaluation import Comparison, OutcomeTurn, TestOutcome
from tests.split.builders import set_slot, start


def outcomes(*passed: Sequence[bool]) -> list[TestOutcome]:
    """Outcomes of tests 0, 1, ..., of each its repeats."""
    return [
        TestOutcome(id=f"t{test}", side="validation", repeat=repeat, passed=one)
        for test, repeats in enumerate(passed)
        for repeat, one in enumerate(repeats)
    ]


def compared(model: list[TestOutcome], teacher: list[TestOutcome], **options: object) -> Comparison:
    given: dict[str, object] = {"groups": {}, "margin": 0.05, "side": "validation", **options}
    return compare(model, teacher, **given)  # type: ignore[arg-type]


def score(first: int, second: int, pairs: int, difference: float) -> float:
    """How many standard errors the observed difference is away from this one; the likeliest share is looked for."""

    def likelihood(only_second: float) -> float:
        shares = (only_second + difference, only_second, 1 - 2 * only_second - difference)
        counts = (first, second, pairs - first - second)
        return sum(count * log(max(share, 1e-300)) for count, share in zip(counts, shares, strict=True) if count)

    least, most = max(0.0, -difference), (1 - difference) / 2
    only_second = max((least + (most - least) * step / 20_000 for step in range(20_001)), key=likelihood)
    variance = (2 * only_second + difference * (1 - difference)) / pairs
    return ((first - second) / pairs - difference) / sqrt(variance)


@pytest.mark.parametrize(("first", "second", "pairs"), [(12, 2, 50), (0, 0, 10), (1, 9, 30), (3, 3, 6)])
def test_the_edges_are_where_the_score_is_critical(first: int, second: int, pairs: int) -> None:
    low, high = tango(first / pairs, second / pairs, pairs)
    assert score(first, second, pairs, low) == pytest.approx(1.96, abs=2e-3)
    assert score(first, second, pairs, high) == pytest.approx(-1.96, abs=2e-3)


def test_equal_outcomes_of_few_tests_do_not_tell() -> None:
    same = outcomes(*[[True]] * 20)
    found = compared(same, same)
    assert found.result == "not enough tests to tell"
    assert found.difference.value == 0


def test_equal_outcomes_of_many_tests_are_not_worse() -> None:
    same = outcomes(*[[True]] * 70, *[[False]] * 10)
    found = compared(same, same)
    assert found.result == "not worse"
    assert found.sentence.startswith("The model is not worse than the teacher: on 80 validation tests its pass rate")


def test_a_model_that_fails_what_its_teacher_passes_is_worse() -> None:
    model, teacher = outcomes(*[[False]] * 12, *[[True]] * 4), outcomes(*[[True]] * 16)
    found = compared(model, teacher)
    assert found.result == "worse"
    assert (found.only_model, found.only_teacher) == (0, 0.75)
    assert compared(teacher, model).result == "better"


def test_a_wider_margin_lets_fewer_tests_tell() -> None:
    same = outcomes(*[[True]] * 20)
    assert compared(same, same, margin=0.2).result == "not worse"


def test_repeats_do_not_count_as_tests() -> None:
    once = compared(outcomes(*[[True]] * 20), outcomes(*[[True]] * 20))
    often = compared(outcomes(*[[True] * 9] * 20), outcomes(*[[True] * 9] * 20))
    assert once.difference == often.difference
    assert often.tests == 20


def test_tests_that_fail_together_count_for_less() -> None:
    model = outcomes(*[[False]] * 4, *[[True]] * 36)
    teacher = outcomes(*[[True]] * 40)
    groups = {f"t{test}": str(test // 4) for test in range(40)}

    alone, together = compared(model, teacher), compared(model, teacher, groups=groups)

    assert alone.difference.low is not None
    assert together.difference.low is not None
    assert together.difference.low < alone.difference.low
    assert together.groups == 10


def simulated(dice: random.Random, groups: int, size: int, repeats: int, rates: tuple[float, float]) -> Comparison:
    """Tests whose outcomes vary from run to run, and mostly go together within a group."""
    made: tuple[list[list[bool]], list[list[bool]]] = ([], [])
    for _ in range(groups):
        shared = [dice.random(), dice.random()]
        for _ in range(size):
            for which, rate in enumerate(rates):
                own = shared[which] if dice.random() < 0.6 else dice.random()
                runs = [(own if dice.random() < 0.8 else dice.random()) < rate for _ in range(repeats)]
                made[which].append(runs)
    names = {f"t{test}": str(test // size) for test in range(groups * size)}
    return compared(outcomes(*made[0]), outcomes(*made[1]), groups=names)


@pytest.mark.parametrize(
    ("groups", "size", "repeats", "rates"),
    [(30, 1, 1, (0.8, 0.8)), (30, 1, 3, (0.9, 0.8)), (10, 3, 2, (0.85, 0.95)), (20, 2, 1, (0.7, 0.9))],
)
def test_the_interval_holds_the_truth_as_often_as_it_says(
    groups: int, size: int, repeats: int, rates: tuple[float, float]
) -> None:
    dice = random.Random(7)
    found = [simulated(dice, groups, size, repeats, rates).difference for _ in range(150)]
    truth = rates[0] - rates[1]
    held = [figure for figure in found if (figure.low or 0) <= truth <= (figure.high or 0)]
    assert len(held) / len(found) >= 0.92


def test_a_model_as_good_as_its_teacher_is_hardly_ever_called_worse() -> None:
    dice = random.Random(5)
    results = [simulated(dice, 20, 2, 1, (0.85, 0.85)).result for _ in range(300)]
    assert results.count("worse") <= 12
    assert results.count("better") <= 12


def test_noise_is_how_often_two_runs_differ() -> None:
    assert noise(outcomes([True], [False])) is None
    assert noise(outcomes([True, True], [False, False])) == 0
    assert noise(outcomes([True, False], [True, True])) == 0.5
    assert noise(outcomes([True, False, False])) == pytest.approx(2 / 3)


def test_only_tests_that_both_ran_are_compared() -> None:
    assert compared(outcomes([True], [True], [False]), outcomes([True], [True])).tests == 2
    with pytest.raises(ValueError, match="no test"):
        compared([], outcomes([True]))


def turn(message: str, *commands: object) -> OutcomeTurn:
    return OutcomeTurn(message=message, answer=str(commands), commands=commands)  # type: ignore[arg-type]


def test_the_first_turn_of_each_test_where_they_differ_is_named() -> None:
    def ran(*turns: OutcomeTurn, test: str = "t0", repeat: int = 0) -> TestOutcome:
        return TestOutcome(id=test, side="train", repeat=repeat, passed=True, turns=turns)

    same = turn("a car", start("f"), set_slot("a"), set_slot("b"))
    reordered = turn("a car", set_slot("a"), start("f"), set_slot("b"))
    model = [
        ran(same, turn("to Basel", set_slot("city", "Basel"))),
        ran(same, turn("to Bern", set_slot("city", "Rom")), repeat=1),
        ran(same, test="t1"),
        ran(same, test="t2"),
    ]
    teacher = [
        ran(reordered, turn("to Basel", set_slot("city", "Basel"))),
        ran(reordered, turn("to Bern", set_slot("city", "Bern")), repeat=1),
        ran(reordered, turn("yes", set_slot("sure")), test="t1"),
        ran(reordered, test="t2"),
    ]

    found = differing_turns(model, teacher)

    assert [(entry.test, entry.turn, entry.message) for entry in found] == [("t0", 1, "to Bern"), ("t1", 1, "yes")]
    assert found[1].model is None
