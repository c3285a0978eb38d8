"""Other values for slots: where they come from, and where none is put in."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import pytest

from rasa_ft_ext.conversation import Conversation
from rasa_ft_ext.errors import ConfigError
from rasa_ft_ext.flow_map import FlowMap, MappedSlot
from rasa_ft_ext.places import places_of
from rasa_ft_ext.rephrase.substitution import substitutions
from rasa_ft_ext.rephrase.values import SlotChoices, read_values
from tests.rephrase.rephrase_builders import Dialog, conversation

CITIES = {"city": ("Basel", "Zurich", "Bern")}
BASEL: Dialog = [("to Basel", "set slot city Basel", "booked")]


def found(
    dialog: Dialog, turn: int = 0, listed: dict[str, tuple[str, ...]] | None = None, *others: Conversation
) -> dict[str, list[str]]:
    """The wordings with their labels."""
    tried = conversation("e2e_tests/a.yml", "a", dialog)
    choices = SlotChoices([tried, *others], None, CITIES if listed is None else listed)
    chosen = substitutions(tried, turn, choices, 9, Random(1))
    return {entry.text: [str(command) for command in entry.annotation.labels] for entry in chosen}


@pytest.mark.parametrize(
    ("value", "text", "count"),
    [
        ("Basel", "to basel, please", 1),
        ("Basel", "Basel or Basel?", 2),
        ("Basel", "to Baselland", 0),
        ("July 1", "July 10", 0),
        *[("1", text, 0) for text in ("1.5", "1,000", "2.1", "3/1", "10:1", "2024-1-2", "1'000")],
        ("1", "1, 2 or 3", 1),
        ("Basel", "Basel.5", 1),
        ("mid_range", "a mid-range or mid range one", 2),
        ("東京", "東京で車を", 1),
        ("a.b", "axb", 0),
        ("", "x", 0),
        ("None", "none of these", 0),
        ("true", "is it true", 0),
    ],
)
def test_a_value_stands_where_it_is_a_whole_word(value: str, text: str, count: int) -> None:
    assert len(places_of(value, text)) == count


def test_message_and_label_change_together() -> None:
    assert found([("a car to basel, please", "start flow car\nset slot city Basel", "ok")]) == {
        "a car to Zurich, please": ["StartFlow(car)", "SetSlot(city, Zurich)"],
        "a car to Bern, please": ["StartFlow(car)", "SetSlot(city, Bern)"],
    }


def test_as_many_as_wanted_and_the_same_for_the_same_seed() -> None:
    tried = conversation("e2e_tests/a.yml", "a", BASEL)
    choices = SlotChoices([tried], None, CITIES)
    assert [len(substitutions(tried, 0, choices, count, Random(1))) for count in (0, 1, 2, 3)] == [0, 1, 2, 2]
    assert substitutions(tried, 0, choices, 1, Random(7)) == substitutions(tried, 0, choices, 1, Random(7))
    assert len({substitutions(tried, 0, choices, 1, Random(seed))[0].text for seed in range(20)}) == 2


@pytest.mark.parametrize(
    ("message", "answer"),
    [
        ("there", "set slot city Basel"),  # the value does not stand in the message
        ("from Basel to Basel", "set slot city Basel"),  # twice
        ("to Basel", "set slot city Basel\nset slot hotel Basel"),  # two slots read the same word
        ("to Basel", "set slot city Basel\nset slot hotel Basel West"),
        ("to Basel, not Zurich or Bern", "set slot city Basel"),  # the new one stands there already
    ],
)
def test_no_value_is_exchanged_where_it_is_not_clear_what_it_stands_for(message: str, answer: str) -> None:
    assert found([(message, answer, "ok")]) == {}


def test_values_that_are_read_from_the_same_words_stay() -> None:
    dialog = [("from may 14th to the 17th", "set slot start may 14th\nset slot end may 17th", "ok")]
    assert found(dialog, 0, {"start": ("June 1",), "end": ("June 2",)}) == {}


def test_a_number_that_is_said_in_words_as_well_stays() -> None:
    dialog: Dialog = [("two people for 2 nights", "set slot people 2", "ok")]
    assert found(dialog, 0, {"people": ("2", "3")}) == {}
    assert found([("one room, 2 people", "set slot people 2", "ok")], 0, {"people": ("2", "3")}) != {}


def test_what_the_flow_is_read_from_stays() -> None:
    dialog: Dialog = [("rent a car", "start flow rent_car\nset slot vehicle car", "ok")]
    assert found(dialog, 0, {"vehicle": ("car", "boat")}) == {}


def test_a_value_that_is_taken_up_later_stays() -> None:
    later = [*BASEL, ("a hotel in Basel as well", "start flow hotel", "ok")]
    assert found(later) == {}
    assert found([*BASEL, ("and a hotel there", "start flow hotel\nset slot hotel_city Basel", "ok")]) == {}
    assert list(found([("in Basel", "start flow car", "?"), *BASEL], 1)) == ["to Zurich", "to Bern"]


def test_a_value_that_a_later_label_may_be_worked_out_of_stays() -> None:
    first = ("pick-up on May 14th", "set slot start May 14th", "until when?")
    listed = {"start": ("June 1",)}
    for end in ("May 17th", "17.5.", "next May"):
        assert found([first, ("three days later", f"set slot end {end}", "ok")], 0, listed) == {}
    assert list(found([first, ("May 17th", "set slot end May 17th", "ok")], 0, listed)) == ["pick-up on June 1"]
    assert list(found([first, ("the big one", "set slot car Volvo", "ok")], 0, listed)) == ["pick-up on June 1"]


def test_a_day_that_another_day_may_be_worked_out_of_stays() -> None:
    listed = {"start": ("Montag",)}
    at_once = [("ab Donnerstag für drei Tage", "set slot start Donnerstag\nset slot end Sonntag", "ok")]
    assert found(at_once, 0, listed) == {}
    later = [("ab Donnerstag", "set slot start Donnerstag", "?"), ("für drei Tage", "set slot end Sonntag", "ok")]
    assert found(later, 0, listed) == {}
    assert found([("two of us", "set slot people two\nset slot beds 1", "ok")], 0, {"people": ("four",)}) == {}
    free = [("ab Donnerstag, in Basel", "set slot start Donnerstag\nset slot city Basilea", "ok")]
    assert list(found(free, 0, listed)) == ["ab Montag, in Basel"]


def test_a_value_that_the_user_names_elsewhere_is_not_put_in() -> None:
    assert list(found([*BASEL, ("no, to Zurich", "set slot city Zurich", "ok")])) == ["to Bern"]


def test_the_value_that_the_slot_holds_is_not_put_in() -> None:
    tried = conversation("e2e_tests/a.yml", "a", [("hi", "start flow car", "where?"), *BASEL])
    held = {"event": "slot", "name": "city", "value": "Bern", "filled_by": "LLM"}
    tried = tried.model_copy(update={"events": (held, *tried.events[1:])})
    chosen = substitutions(tried, 1, SlotChoices([tried], None, CITIES), 9, Random(1))
    assert [entry.text for entry in chosen] == ["to Zurich"]


def test_what_the_assistant_has_named_is_exchanged_for_what_it_has_named() -> None:
    offered = [("hi", "start flow car", "Do you take the Fiat or the Audi?"), ("the Fiat", "set slot car Fiat", "ok")]
    listed = {"car": ("Audi", "Ferrari")}
    assert list(found(offered, 1, listed)) == ["the Audi"]
    unknown = [("hi", "start flow car", "Do you take the Mini or the Audi?"), ("the Fiat", "set slot car Fiat", "ok")]
    assert list(found(unknown, 1, listed)) == ["the Ferrari"]


def test_what_the_assistant_threw_away_is_not_expected() -> None:
    tried = conversation("e2e_tests/a.yml", "a", BASEL)
    annotation = tried.turns[0].annotation
    assert annotation is not None
    gone = annotation.commands[0].model_copy(update={"args": ("city", "Bern")})
    turn = tried.turns[0].model_copy(update={"annotation": annotation.model_copy(update={"dropped": (gone,)})})
    tried = tried.model_copy(update={"turns": (turn,)})
    chosen = substitutions(tried, 0, SlotChoices([tried], None, CITIES), 9, Random(1))
    assert [entry.text for entry in chosen] == ["to Zurich"]


def test_without_a_list_the_values_of_other_tests_are_taken() -> None:
    other = conversation(
        "e2e_tests/b.yml", "b", [("to Genf", "set slot city Genf", ""), ("the big one", "set slot city Rom", "")]
    )
    assert list(found(BASEL, 0, {}, other)) == ["to Genf"]
    assert list(found([("東京へ", "set slot city 東京", "")], 0, {}, other)) == []


def of_price(allowed: Any) -> Conversation:
    """A conversation whose prompt says which values a slot may have."""
    tried = conversation("e2e_tests/a.yml", "a", [("a mid-range one", "set slot price mid_range", "ok")])
    annotation = tried.turns[0].annotation
    assert annotation is not None
    flows = [{"name": "hotel", "slots": [{"name": "price", "allowed_values": allowed}]}, "odd"]
    variables = {**annotation.variables, "available_flows": flows}
    turn = tried.turns[0].model_copy(update={"annotation": annotation.model_copy(update={"variables": variables})})
    return tried.model_copy(update={"turns": (turn,)})


def test_allowed_values_come_before_those_of_other_tests() -> None:
    cheap = conversation("e2e_tests/b.yml", "b", [("a cheap one", "set slot price cheap", "")])
    allowed = FlowMap(
        flows=(), slots=(MappedSlot(name="price", type="categorical", values=("mid_range", "very_high")),)
    )
    for tried, flow_map in ((of_price("['mid_range', 'very_high']"), None), (of_price(None), allowed)):
        chosen = substitutions(tried, 0, SlotChoices([cheap, tried], flow_map, {}), 9, Random(1))
        assert [(entry.text, str(entry.annotation.labels[0])) for entry in chosen] == [
            ("a very-high one", "SetSlot(price, very_high)")
        ]


@pytest.mark.parametrize("allowed", [None, "a text", "[True, False]", "[", 7])
def test_allowed_values_in_another_form_are_passed_over(allowed: Any) -> None:
    cheap = conversation("e2e_tests/b.yml", "b", [("a cheap one", "set slot price cheap", "")])
    assert SlotChoices([cheap, of_price(allowed)], None, {}).of("price") == ("cheap", "mid_range")


def test_a_list_that_does_not_fit_the_assistant_is_refused_as_a_whole() -> None:
    with pytest.raises(ConfigError) as caught:
        SlotChoices([of_price("['mid_range']")], None, {"price": ("free", "mid_range"), "colour": ("red",)})
    assert len(caught.value.problems) == 2


def test_values_are_read_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "values.yml"
    path.write_text("city: [Zurich, 4051, Zurich]\n")
    assert read_values(path) == {"city": ("Zurich", "4051")}


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ("", 1),
        ("- a", 1),
        ("a: [", 1),
        ("city: Basel\nsize: []\nok: [true]\ndate: [2024-01-01]\nline: ['a\n\n  b']", 5),
    ],
)
def test_a_file_of_values_that_cannot_work_is_refused_with_all_problems(
    tmp_path: Path, text: str, problems: int
) -> None:
    path = tmp_path / "values.yml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_values(path)
    assert len(caught.value.problems) == problems
    with pytest.raises(ConfigError, match="cannot be read"):
        read_values(tmp_path / "none.yml")
