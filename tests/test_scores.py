"""What an answer is worth beside the expected one, and what many are worth together."""

from __future__ import annotations

import json

import pytest

from rasa_ft_ext.commands import Syntax
from rasa_ft_ext.scores import Rates, Scores, compare, interval, is_exact, score, summarize

START = "start flow book_car"


def v2(*commands: str) -> str:
    return "\n".join(commands)


@pytest.mark.parametrize(
    ("expected", "answered"),
    [
        (v2(START, "set slot city Basel"), v2(START, "set slot city Basel")),
        (v2("set slot city Basel", "set slot days 3"), v2("set slot days 3", "set slot city Basel")),
        (v2(START, "set slot city Basel"), v2("set slot city Basel", START)),
        (v2(START, "cancel flow"), "Sure!\n\n- start flow book_car\n- cancel flow\n"),
        ("disambiguate flows book_car, book_hotel", "disambiguate flows book_hotel book_car"),
        ("", ""),
    ],
)
def test_an_answer_is_exact_if_rasa_does_the_same_with_it(expected: str, answered: str) -> None:
    assert is_exact(expected, answered, "v2")


@pytest.mark.parametrize(
    ("expected", "answered"),
    [
        (START, ""),
        (START, "I do not know."),
        (START, "start flow book_hotel"),
        (START, v2(START, "set slot city Basel")),
        (v2(START, "set slot city Basel"), START),
        (v2(START, "cancel flow"), v2("cancel flow", START)),
        (START, v2(START, START)),
        ("set slot city Basel", "set slot city Zurich"),
        ("set slot city Basel", "set slot city basel"),
        (v2("set slot city Basel", "set slot city Bern"), v2("set slot city Bern", "set slot city Basel")),
    ],
)
def test_an_answer_is_not_exact_if_a_command_differs(expected: str, answered: str) -> None:
    assert not is_exact(expected, answered, "v2")


@pytest.mark.parametrize("syntax", ["v1", "v2", "v3"])
def test_the_expected_text_is_an_exact_answer_even_if_no_command_can_be_read(syntax: Syntax) -> None:
    comparison = compare("escalate to billing\n", "  escalate to billing", syntax)
    assert (comparison.exact, comparison.unparsable) == (True, False)


def test_a_custom_command_must_be_answered_as_it_is() -> None:
    expected = v2(START, "escalate to billing")
    assert is_exact(expected, v2(START, " escalate to billing"), "v2")
    assert not is_exact(expected, START, "v2")
    assert not is_exact(expected, v2(START, "escalate to sales"), "v2")
    assert not is_exact(expected, v2("escalate to billing", START), "v2")
    assert not is_exact("escalate to billing", "I do not know.", "v2")


def test_a_flow_that_no_user_can_start_counts_as_not_answered() -> None:
    comparison = compare(START, "start flow internal", "v2", flows={"book_car"})
    assert comparison.unparsable
    assert is_exact(START, v2(START, "start flow internal"), "v2", flows={"book_car"})
    assert not is_exact(START, v2(START, "start flow internal"), "v2")


def test_a_comparison_says_what_is_wrong() -> None:
    wrong = compare(v2(START, "set slot city Basel", "set slot days 3"), v2(START, "set slot city Bern"), "v2")
    assert wrong.reason == "does not set slot days; SetSlot city: 'Bern' instead of 'Basel'"
    assert compare(START, START, "v2").reason is None


def test_rates_count_whole_commands_by_type_flow_and_slot() -> None:
    scores = score(
        [
            (v2(START, "set slot city Basel"), v2(START, "set slot city Bern")),
            (START, v2("start flow book_hotel", "set slot city Basel")),
            (v2("set slot city Bern", "set slot days 3"), v2("set slot city Bern", "set slot days 3")),
            ("cancel flow", "cancel flow"),
        ],
        "v2",
    )
    assert scores.examples == 4
    assert scores.exact_match == 0.5
    assert scores.by_command == {
        "CancelFlow": Rates(precision=1, recall=1, f1=1, support=1),
        "SetSlot": Rates(precision=2 / 4, recall=2 / 3, f1=4 / 7, support=3),
        "StartFlow": Rates(precision=1 / 2, recall=1 / 2, f1=1 / 2, support=2),
    }
    assert scores.by_flow == {
        "book_car": Rates(precision=1, recall=1 / 2, f1=2 / 3, support=2),
        "book_hotel": Rates(precision=0, recall=None, f1=0, support=0),
    }
    assert scores.by_slot == {
        "city": Rates(precision=1 / 3, recall=1 / 2, f1=2 / 5, support=2),
        "days": Rates(precision=1, recall=1, f1=1, support=1),
    }
    assert scores.micro_f1 == pytest.approx(2 * 4 / (6 + 7))
    assert scores.macro_f1 == pytest.approx((1 + 4 / 7 + 1 / 2) / 3)


def test_a_type_that_is_only_answered_does_not_change_the_divisor_of_macro_f1() -> None:
    scores = score([(START, v2(START, "cancel flow"))], "v2")
    assert (scores.macro_f1, scores.by_command["CancelFlow"].f1) == (1, 0)
    assert scores.micro_f1 == pytest.approx(2 / 3)


def test_a_command_that_is_expected_twice_must_be_answered_twice() -> None:
    rates = score([(v2("skip question", "skip question"), "skip question")], "v2").by_command["SkipQuestion"]
    assert rates == Rates(precision=1, recall=0.5, f1=2 / 3, support=2)


def test_a_command_is_not_found_in_another_example() -> None:
    scores = score([(START, "cancel flow"), ("cancel flow", START)], "v2")
    assert (scores.micro_f1, scores.exact_match) == (0, 0)


def test_slot_values_are_compared_where_both_set_the_slot() -> None:
    scores = score(
        [
            (v2("set slot city Basel", "set slot days 3"), v2("set slot city Bern", "set slot days 3")),
            ("set slot city Basel", "set slot days 3"),
            (v2("set slot city null", START), "set slot city undefined"),
        ],
        "v2",
    )
    assert scores.slot_value_accuracy == pytest.approx(2 / 3)


def test_unparsable_is_the_share_of_answers_without_any_command() -> None:
    answers = ["I do not know.", "", "start flow", f"Well:\n{START}"]
    assert score([(START, answer) for answer in answers], "v2").unparsable == 0.75
    assert score([("", "")], "v2").unparsable == 0


def test_without_examples_there_are_no_shares() -> None:
    scores = score([], "v2")
    assert scores == Scores(
        examples=0,
        exact_match=None,
        slot_value_accuracy=None,
        unparsable=None,
        micro_f1=None,
        macro_f1=None,
        by_command={},
        by_flow={},
        by_slot={},
    )


def test_scores_survive_json() -> None:
    scores = score([(v2(START, "set slot city Basel"), "cancel flow"), (START, START)], "v2")
    assert Scores.model_validate(json.loads(json.dumps(scores.model_dump(mode="json"), allow_nan=False))) == scores


def test_scores_are_the_summary_of_comparisons() -> None:
    pairs = [(START, START), (START, "cancel flow")]
    comparisons = [compare(expected, answered, "v2") for expected, answered in pairs]
    assert summarize(comparisons) == score(pairs, "v2")
    assert summarize(comparisons[:1] * 3).exact_match == 1


def test_the_interval_narrows_with_the_examples_and_stays_within_0_and_1() -> None:
    assert interval(0, 0) is None
    assert interval(8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-3)
    assert interval(800, 1000) == pytest.approx((0.7741, 0.8236), abs=1e-3)
    assert interval(10, 10) == (pytest.approx(0.7225, abs=1e-3), 1.0)
    assert interval(0, 10) == (0.0, pytest.approx(0.2775, abs=1e-3))
