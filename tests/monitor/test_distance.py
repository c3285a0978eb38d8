"""How alike messages are."""

from __future__ import annotations

import pytest

from rasa_ft_ext.monitor.distance import Neighbours, drift, groups_of
from tests.monitor.trackers import TRAINED

TEXTS = [text for text, _ in TRAINED]


def test_the_nearest_is_the_one_that_shares_most_of_what_is_rare() -> None:
    found = Neighbours(TEXTS).nearest("rent me a car in lugano, please")
    assert found.text == "Please rent me a car in Lugano"
    assert found.similarity > 0.8


def test_the_same_words_are_the_same_whatever_the_case_the_order_and_the_digits() -> None:
    texts = Neighbours([*TEXTS, "from May 3 to May 7"])
    assert texts.nearest("From May 5 to May 9!").similarity == pytest.approx(1)
    assert texts.nearest("BOOK A CAR in Bern: I'd like to").similarity == pytest.approx(1)


def test_nothing_in_common_is_nothing_alike() -> None:
    found = Neighbours(TEXTS).nearest("我想租一辆车")
    assert (found.text, found.similarity) == (None, 0)
    assert Neighbours(TEXTS).nearest("?!").similarity == 0
    assert Neighbours([]).nearest("a car").similarity == 0


def test_chinese_messages_are_compared_by_pairs_of_signs() -> None:
    found = Neighbours([*TEXTS, "我想租一辆车", "取消我的预订"]).nearest("我要租一辆车")
    assert found.text == "我想租一辆车"
    assert found.similarity > 0.4
    assert groups_of("租车") == {" 租", "租车", "车 "}


def test_the_threshold_is_what_one_in_twenty_of_the_texts_falls_short_of() -> None:
    odd = ["Could a dog travel with us, too?", "Who won the match?", "是的"]
    texts = [*TEXTS, *(f"{text} tomorrow" for text in TEXTS), *odd]
    alone = {text: Neighbours([other for other in texts if other != text]).nearest(text).similarity for text in texts}

    assert sorted(alone, key=lambda text: alone[text])[:3] == [odd[2], odd[0], odd[1]]
    assert Neighbours(texts).threshold() == pytest.approx(alone[odd[1]], abs=0.01)  # two of 51 fall short of it


def test_with_few_texts_there_is_no_threshold() -> None:
    assert Neighbours(TEXTS[:19]).threshold() is None


def test_drift_is_the_share_that_has_moved() -> None:
    assert drift({"a": 1, "b": 1}, {"a": 50, "b": 50}) == 0
    assert drift({"a": 1}, {"b": 1}) == 1
    assert drift({"a": 3, "b": 1}, {"a": 1, "b": 1}) == pytest.approx(0.25)
    assert drift({"a": 3}, {}) is None
