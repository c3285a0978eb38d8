"""How sure a share is that was counted in conversations."""

from __future__ import annotations

import random

import pytest

from rasa_ft_ext.evaluate.intervals import Tally, groups_of_tests, kinds, share, share_of
from rasa_ft_ext.scores import compare, interval, score


def test_independent_examples_give_wilsons_interval() -> None:
    found = share([Tally(1, 1)] * 18 + [Tally(0, 1)] * 2)
    low, high = interval(18, 20) or (0, 0)
    assert (found.value, found.low, found.high) == (0.9, pytest.approx(low, abs=0.01), pytest.approx(high, abs=0.01))


def test_examples_that_go_together_are_less_sure() -> None:
    together, apart = share([Tally(10, 10)] * 9 + [Tally(0, 10)]), share([Tally(9, 10)] * 10)
    assert together.value == apart.value == 0.9
    assert together.low is not None
    assert apart.low is not None
    assert together.low < apart.low - 0.1


def test_nothing_gives_no_figure() -> None:
    assert share([]).value is None
    assert share([Tally(0, 0)]).low is None


@pytest.mark.parametrize(("hits", "value"), [(0, 0.0), (5, 1.0)])
def test_all_or_none_keeps_a_width(hits: int, value: float) -> None:
    found = share([Tally(hits, 5)] * 4)
    assert found.value == value
    assert (found.high or 0) - (found.low or 0) == pytest.approx(0.161, abs=0.001)


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    dice = random.Random(11)
    held = 0
    for _ in range(300):
        tallies = []
        for _ in range(25):
            own = dice.betavariate(8, 2)  # each conversation has an accuracy of its own, 0.8 on average
            tallies.append(Tally(sum(dice.random() < own for _ in range(8)), 8))
        found = share(tallies)
        held += (found.low or 0) <= 0.8 <= (found.high or 0)
    assert held / 300 >= 0.92


def test_kinds_have_the_rates_of_the_scores() -> None:
    pairs = [
        ("start flow a\nset slot s 1", "start flow a\nset slot s 2"),
        ("start flow b", "start flow a"),
        ("set slot s 1", "set slot s 1"),
    ]
    groups = [[compare(*pair, "v2") for pair in pairs[:2]], [compare(*pairs[2], "v2")]]

    expected = score(pairs, "v2")

    for table, rates in (("command", expected.by_command), ("flow", expected.by_flow), ("slot", expected.by_slot)):
        found = kinds(groups, table)  # type: ignore[arg-type]
        assert list(found) == list(rates)
        for name, kind in found.items():
            assert (kind.precision.value, kind.recall.value) == (rates[name].precision, rates[name].recall)
            assert kind.f1.value == pytest.approx(rates[name].f1)
            assert kind.support == rates[name].support
            assert kind.f1.low is not None
            assert kind.f1.low <= kind.f1.value <= (kind.f1.high or 0)
    assert share_of(groups, lambda each: [each.exact]).value == expected.exact_match


def test_tests_with_an_example_in_common_are_one_group() -> None:
    found = groups_of_tests([("a", ["c"]), ("b", []), ("c", ["d"]), ("e", ["b"])])
    assert found == {"a": "a", "c": "a", "d": "a", "b": "b", "e": "b"}
