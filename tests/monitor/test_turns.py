"""What is read from a tracker's events."""

from __future__ import annotations

import pytest

from rasa_ft_ext.errors import ConfigError
from rasa_ft_ext.monitor.turns import Turn, turns_of
from tests.monitor.trackers import CANNOT_HANDLE, FAILED, Event, bot, flow, recorded, starts, user


def turn(*events: Event) -> Turn:
    (found,) = turns_of(events)
    return found


def test_commands_and_flows_are_those_of_the_answer() -> None:
    found = turn(user("a car in Bern", starts("book_car"), {"command": "set slot", "name": "city", "value": "Bern"}))
    assert (found.asked, found.failed, found.unparsed) == (True, False, False)
    assert found.commands == ("StartFlow", "SetSlot")
    assert found.flows == ("book_car",)


def test_slots_that_are_corrected_together_are_commands_of_their_own() -> None:
    slots = [{"name": "city", "value": "Bern"}, {"name": "size", "value": "big"}]
    found = turn(user("no, a big one in Bern", {"command": "correct slot", "corrected_slots": slots}))
    assert found.commands == ("SetSlot", "SetSlot")


@pytest.mark.parametrize("time", [None, "2026-05-14", 1778760000000, float("nan")])
def test_a_message_without_a_time_that_counts_is_refused(time: object) -> None:
    with pytest.raises(ConfigError, match="seconds since 1970"):
        turn({**user("hello"), "timestamp": time})


def test_a_torn_emoji_can_be_written() -> None:
    found = turn(bot("\ud83d bye"), user("hi \ud83d", **recorded("\ud83d?", starts("book_car"))))
    assert (found.text, found.before, found.answer) == ("hi ?", ({"bot": "? bye"},), "??")


def test_a_message_that_the_llm_was_not_asked_about_has_no_answer() -> None:
    clicked = turn(user("/SetSlots(city=Bern)", {"command": "set slot", "name": "city"}, asked=False))
    assert not clicked.asked
    assert not clicked.typed
    assert clicked.commands == ()


def test_a_failed_call_is_no_answer() -> None:
    found = turn(user("hello", FAILED))
    assert found.failed
    assert not found.answered


def test_without_a_recording_rasas_stand_in_tells_an_answer_that_cannot_be_read() -> None:
    assert turn(user("hello", CANNOT_HANDLE)).unparsed
    assert not turn(user("hello", {**CANNOT_HANDLE, "reason": "cannot_handle_not_supported"})).unparsed


def test_a_recording_knows_what_was_read_before_rasa_dropped_it() -> None:
    dropped = turn(user("hello", CANNOT_HANDLE, **recorded("start flow book_car", starts("book_car"))))
    unread = turn(user("hello", CANNOT_HANDLE, **recorded("I am a parrot", ms=150)))

    assert (dropped.unparsed, dropped.answer) == (False, "start flow book_car")
    assert (unread.unparsed, unread.reading, unread.llm_ms) == (True, "I am a parrot", 150)


def test_the_way_that_the_assistant_went_is_seen_in_the_patterns_that_started() -> None:
    found = turn(user("hm", {"command": "knowledge"}), flow("pattern_search"), flow("pattern_cannot_handle"))
    assert found.went("cannot handle", "pattern_cannot_handle")
    assert not found.went("clarify", "pattern_clarification")


def test_the_time_of_a_turn_is_that_to_its_last_reply() -> None:
    old = bot("Where to?")
    old["metadata"]["execution_times"] = {"command_processor": 50.0, "prediction_loop": 25.0}

    assert turn(user("a car"), bot("One moment.", ms=80), bot("Where to?", ms=120)).turn_ms == 120
    assert turn(user("a car"), old).turn_ms == 75
    assert turn(user("a car")).turn_ms is None


def test_what_was_said_before_are_the_steps_of_the_session() -> None:
    events = [
        user("hello"),
        {"event": "session_started"},
        bot("Hello!", "utter_welcome"),
        user("a car"),
        bot("Where to, Anna?"),
        user("  "),
        user("Bern"),
    ]
    *_, last = turns_of(events)
    assert last.before == ({"utter": "utter_welcome"}, {"user": "a car"}, {"bot": "Where to, Anna?"})
