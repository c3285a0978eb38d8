"""Slips: which there are, how few, and what they leave alone."""

from __future__ import annotations

import re
from difflib import SequenceMatcher
from random import Random

import pytest

from rasa_ft_ext.errors import ConfigError
from rasa_ft_ext.rephrase.noise import KINDS, Noise, noisy, read_noise

MESSAGE = "Could you rent me a mid-range car in Basel from July 14th, please? I'm at a@b.ch"
VALUES = ("Basel", "July 14th", "mid_range")


def copies(text: str, kind: str, values: tuple[str, ...] = (), count: int = 200) -> set[str]:
    found = (noisy(text, values, Noise((kind,)), Random(seed)) for seed in range(count))
    return {copy[1] for copy in found if copy is not None}


def test_kinds_and_share_are_read() -> None:
    assert read_noise("asr, typo,casing:0.3") == Noise(("asr", "typo", "casing"), 0.3)
    assert read_noise("typo") == Noise(("typo",), 0.2)
    assert KINDS == ("asr", "typo", "casing")


@pytest.mark.parametrize("text", ["", ":0.5", "typo:0", "typo:1.1", "typo:many", "typo:", "typo:nan"])
def test_what_cannot_work_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        read_noise(text)


def test_all_problems_are_told_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        read_noise("typo,spelling,accent:2")
    assert len(caught.value.problems) == 3


@pytest.mark.parametrize("kind", KINDS)
def test_values_digits_and_addresses_stay_as_they_are(kind: str) -> None:
    found = copies(MESSAGE, kind, VALUES)
    assert len(found) >= 2
    for copy in found:
        assert copy != MESSAGE
        for part in ("Basel", "July 14th", "mid-range", "a@b.ch"):
            assert part in copy


def test_a_part_of_a_value_stays_as_well() -> None:
    for copy in copies("I'll take the luxury one", "casing", ("Avis - Luxury",)):
        assert "luxury" in copy


def test_a_value_is_not_said_twice() -> None:
    found = copies("well a car in Basel then", "asr", ("Basel",))
    assert any("car car" in copy for copy in found)
    assert not any("Basel Basel" in copy for copy in found)


def test_typing_errors_are_few_and_leave_the_first_letters() -> None:
    for copy in copies(MESSAGE, "typo", VALUES):
        assert [word[0] for word in copy.split()] == [word[0] for word in MESSAGE.split()]
        changed = [pair for pair in zip(copy.split(), MESSAGE.split(), strict=True) if pair[0] != pair[1]]
        assert 1 <= len(changed) <= 3
        assert all(SequenceMatcher(None, *pair).ratio() > 0.6 for pair in changed)


def test_typing_errors_leave_names_and_short_words_alone() -> None:
    assert copies("So is Lisbon, or Genf", "typo") == set()
    assert len(copies("Hotels in LISBON", "typo")) > 2  # the first word is no name


@pytest.mark.parametrize("text", ["東京で車を借りたいです", "أريد سيارة في بازل", "ฉันต้องการเช่ารถ"])
def test_no_sign_is_lost_where_each_counts(text: str) -> None:
    assert copies(text, "typo") == copies(text, "casing") == set()
    assert all(re.sub(r"\W", "", copy) == re.sub(r"\W", "", text) for copy in copies(text, "asr"))


def test_other_alphabets_have_typing_errors() -> None:
    assert len(copies("мне нужна машина", "typo")) > 5


def test_letters_whose_capital_is_another_one_stay() -> None:
    assert copies("die straße", "casing") == {"DIE STRAßE", "Die straße"}
    assert copies("İyi", "casing") == {"İYI"}  # its small letter is two signs


def test_a_recogniser_leaves_neither_capitals_nor_punctuation() -> None:
    for copy in copies("Wait, what's the best-known hotel? (In Basel!)", "asr", ("Basel",)):
        words = copy.split()
        once = [word for place, word in enumerate(words) if place == 0 or word != words[place - 1]]
        assert " ".join(once) == "wait what's the best-known hotel in Basel"
    assert "i need a hotel their" in copies("I need a hotel there.", "asr")


def test_the_same_seed_makes_the_same_slips() -> None:
    noise = read_noise("asr,typo,casing")
    found = [[noisy(MESSAGE, VALUES, noise, Random(f"{seed}")) for seed in range(20)] for _ in range(2)]
    assert found[0] == found[1]
    assert len(set(found[0])) > 5


def test_another_kind_is_taken_where_one_finds_nothing() -> None:
    noise = read_noise("typo,casing")
    assert {noisy("so", (), noise, Random(seed)) for seed in range(20)} == {("casing", "So"), ("casing", "SO")}
    assert noisy("17", ("17",), read_noise("asr,typo,casing"), Random(1)) is None
