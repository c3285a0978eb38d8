"""Which decisions fit, what an edited label may be, and what the data is with the decisions applied."""

from __future__ import annotations

from typing import Any

import pytest

from rasa_ft_ext.checks.known import Known
from rasa_ft_ext.commands import Command, Syntax
from rasa_ft_ext.conversation import ContestedTurn, RephrasedConversation, RephrasedFile
from rasa_ft_ext.errors import ConfigError
from rasa_ft_ext.review.applying import Reviewed, apply
from rasa_ft_ext.review.decisions import Decision, Decisions
from rasa_ft_ext.review.fitting import Fitted, Wordings, fit
from rasa_ft_ext.review.labels import Labels, labels_of
from tests.builders import annotated_file, assistant_card, commands, conversation, rephrased, rephrasing, said
from tests.review.review_builders import BASEL, BERN, BOOKING, CAR, HOTEL, REPHRASED, ZURICH, decision

KNOWN = Known(frozenset({"book_car", "book_hotel"}), frozenset({"city", "size"}), {"size": frozenset({"big", "small"})})


def fitted(*decisions: Decision, found: RephrasedConversation = REPHRASED) -> Fitted:
    files = [annotated_file(BOOKING)]
    others = [RephrasedFile(file=BOOKING.file, conversations=(found,))]
    labels = labels_of(assistant_card(), files, others, None)
    entries = Decisions(decisions, tuple(range(2, 2 + len(decisions))))
    return fit(entries, Wordings(files, others), labels, "review.yaml")


def reviewed(*decisions: Decision, found: RephrasedConversation = REPHRASED) -> Reviewed:
    others = [RephrasedFile(file=BOOKING.file, conversations=(found,))]
    return apply([annotated_file(BOOKING)], others, fitted(*decisions, found=found))


def wordings(result: Reviewed, turn: int) -> dict[str, tuple[str, bool] | str | None]:
    """The rephrasings of a turn: label, and whether it leads elsewhere, or the reason why it fails."""
    (entry,) = [of for of in result.rephrased[0].conversations[0].turns if of.turn == turn]
    return {
        of.text: ("\n".join(map(str, of.label)), of.differs) if of.passed else of.reason for of in entry.rephrasings
    }


# What is decided


def test_nothing_decided_is_nothing_changed() -> None:
    result = reviewed()
    assert result.rephrased[0].conversations == (REPHRASED,)
    assert (result.labels, result.counts) == ({}, {})


def test_a_failing_rephrasing_is_kept_with_its_own_commands_and_leads_elsewhere() -> None:
    result = reviewed(decision(0, "accept", "a bed"))
    assert wordings(result, 0) == {"I need a car": (CAR, False), "a bed": (HOTEL, True)}
    assert result.counts == {"accepted": 1, "rejected": 0, "edited": 0, "not fitting": 0}


def test_what_passes_is_as_it_was_when_it_is_accepted() -> None:
    assert wordings(reviewed(decision(1, "accept", "to Zurich")), 1) == wordings(reviewed(), 1)


def test_a_rejected_rephrasing_fails_with_the_note() -> None:
    result = reviewed(decision(1, "reject", "Basel", note="too short"), decision(1, "reject", "to Zurich"))
    assert wordings(result, 1) == {"Basel": "rejected in the review: too short", "to Zurich": "rejected in the review"}


def test_an_edited_rephrasing_has_the_text_and_the_label_of_the_person() -> None:
    result = reviewed(
        decision(1, "edit", "Basel", commands=BERN, text="Bern"),
        decision(1, "edit", "to Zurich", text="to Zürich"),
        decision(0, "edit", "a bed", commands=CAR),
    )
    assert wordings(result, 1) == {"Bern": (BERN, True), "to Zürich": (ZURICH, True)}
    assert wordings(result, 0)["a bed"] == (CAR, False)


def test_a_rejected_message_gives_no_example_and_takes_its_rephrasings_with_it() -> None:
    result = reviewed(decision(1, "reject", note="wrong"), decision(1, "accept", "to Zurich"))
    (entry,) = result.rephrased[0].conversations
    assert entry.contested == (ContestedTurn(turn=1, reason="rejected in the review: wrong", answers=()),)
    assert wordings(result, 1) == {
        "Basel": "not the label of the review: that of its message is rejected",
        "to Zurich": (ZURICH, True),
    }


def test_rephrasings_of_an_edited_message_are_compared_with_its_new_label() -> None:
    result = reviewed(decision(1, "edit", commands=ZURICH))
    assert result.labels == {BOOKING.id: {1: commands(ZURICH)}}
    assert wordings(result, 1) == {
        "Basel": "not the label of the review: SetSlot city: 'Basel' instead of 'Zurich'",
        "to Zurich": (ZURICH, True),
    }
    failing = reviewed(decision(0, "edit", commands=HOTEL))
    assert wordings(failing, 0) == {
        "I need a car": f"not the label of the review: expected {HOTEL}, got {CAR}",
        "a bed": (HOTEL, True),
    }


def test_a_message_that_the_llm_was_not_sure_of_is_kept_when_it_is_accepted_or_edited() -> None:
    unsure = REPHRASED.model_copy(update={"contested": (ContestedTurn(turn=1, reason="unsure", answers=("a", "b")),)})
    contested = [
        len(reviewed(*given, found=unsure).rephrased[0].conversations[0].contested)
        for given in ((), (decision(0, "accept"),), (decision(1, "accept"),), (decision(1, "edit", commands=ZURICH),))
    ]
    assert contested == [1, 1, 0, 0]


def test_the_recording_and_other_tests_stay_as_they_are() -> None:
    other = conversation(said("book a car", CAR), name="other")
    of_other = rephrased(other, {0: [rephrasing("a car", CAR)]})
    files = [annotated_file(BOOKING, other)]
    both = [RephrasedFile(file=BOOKING.file, conversations=(REPHRASED, of_other))]
    result = apply(files, both, fitted(decision(0, "edit", commands=HOTEL)))
    assert result.rephrased[0].conversations[1] == of_other
    assert set(result.labels) == {BOOKING.id}


# Which decisions fit


def told(*decisions: Decision) -> list[str]:
    return [reason for _, reason in fitted(*decisions).misfits]


def test_a_decision_about_nothing_that_is_there_is_named() -> None:
    gone = decision(1, "accept").model_copy(update={"test": "gone.yml::gone"})
    assert told(gone) == ["there is no such test."]
    assert told(decision(1, "accept").model_copy(update={"message": "to Rome"})) == [
        "the test has no such message to learn."
    ]
    assert told(decision(2, "accept")) == ["the test has no such message to learn."]
    assert told(decision(1, "reject", "Rome")) == ["the message has no such rephrasing."]
    assert fitted(gone).told == ("gone.yml::gone, message 2 'to Basel': there is no such test.",)


def test_a_decision_about_other_commands_has_to_be_taken_again() -> None:
    for verdict in ("accept", "reject"):
        assert told(decision(1, verdict, commands=BERN)) == [f"its commands are now {BASEL}; decide again."]
        assert told(decision(1, verdict, commands="SetSlot(city,Basel)")) == []
    assert told(decision(1, "edit", commands=BERN)) == []


def test_a_message_that_moved_in_its_test_is_found_while_it_is_there_once() -> None:
    moved = decision(1, "reject").model_copy(update={"turn": 3})
    assert set(fitted(moved).placed) == {(BOOKING.id, 1, None)}
    assert told(moved, decision(1, "accept")) == ["message 2 is the same, and decided as well."]


def test_a_message_that_is_there_twice_must_stand_in_its_place() -> None:
    twice = conversation(said("yes", CAR), said("yes", HOTEL))
    files = [annotated_file(twice)]
    labels = labels_of(assistant_card(), files, [], None)
    entries = [
        Decision(test=twice.id, turn=turn, message="yes", decision="accept")  #
        for turn in (1, 2, 3)
    ]
    found = fit(Decisions(tuple(entries), (1, 2, 3)), Wordings(files, []), labels, "")
    assert set(found.placed) == {(twice.id, 0, None), (twice.id, 1, None)}
    assert [reason for _, reason in found.misfits] == ["the test has it several times, and elsewhere."]


def test_what_has_no_commands_cannot_be_accepted() -> None:
    found = rephrased(BOOKING, {0: [rephrasing("hm", "", passed=False)]})
    misfits = fitted(decision(0, "accept", "hm"), decision(1, "accept"), found=found).misfits
    assert [reason for _, reason in misfits] == ["it has no commands to accept; edit it, and give some."]


def test_a_rephrasing_with_what_the_assistant_does_not_have_cannot_be_accepted() -> None:
    boat = rephrased(BOOKING, {0: [rephrasing("a boat", "StartFlow(book_boat)", passed=False)]})
    found = fitted(decision(0, "accept", "a boat"), found=boat)
    assert found.placed == {}
    assert found.told == (
        f"{BOOKING.id}, message 1 'book a car', rephrasing 'a boat': StartFlow(book_boat) names the flow book_boat, "
        "which the assistant does not have. Edit it, and give other commands.",
    )


def test_labels_that_do_not_parse_are_told_all_at_once_with_test_and_line() -> None:
    with pytest.raises(ConfigError) as wrong:
        fitted(decision(0, "edit", commands="StartFlow(fly)"), decision(1, "edit", commands="go\nSetSlot(town, Bern)"))
    first, second = f"line 2: {BOOKING.id}, message 1 'book a car'", f"line 3: {BOOKING.id}, message 2 'to Basel'"
    assert wrong.value.problems == (
        f"{first}: StartFlow(fly) names the flow fly, which the assistant does not have.",
        f"{second}: `go` is no command of the assistant's language; write such as `StartFlow(flow)` or "
        "`SetSlot(slot, value)`.",
        f"{second}: SetSlot(town, Bern) names the slot town, which the assistant does not have.",
    )


# What a label may be


@pytest.mark.parametrize(
    ("text", "syntax", "label"),
    [
        ("StartFlow(book_car)\n\n  SetSlot(city,Bern)", "v1", f"{CAR}\n{BERN}"),
        ("start flow book_car\nset slot size big", "v2", f"{CAR}\nSetSlot(size, big)"),
        ("disambiguate flows book_hotel book_car", "v3", "Clarify(book_car, book_hotel)"),
        ("search and reply", "v3", "SearchAndReply()"),
        ("set slot city None", "v2", "SetSlot(city, None)"),
    ],
)
def test_labels_in_the_language_are_read(text: str, syntax: Syntax, label: str) -> None:
    found = Labels(KNOWN).read(text, syntax, "")
    assert found.problems == ()
    assert found.commands == commands(label)


@pytest.mark.parametrize(
    ("text", "syntax", "why"),
    [
        ("", "v2", "There is no command. To have no example of it, reject it."),
        ("book_car", "v2", "`book_car` is no command"),
        ("StartFlow(book_car)", "v2", "is no command"),
        ("- start flow book_car", "v2", "`- start flow book_car` would be read as `start flow book_car`."),
        ("set slot city 100%", "v2", "would be read as `set slot city 100`"),
        ("set slot city null", "v2", "would be read as `set slot city None`"),
        ("hand over", "v2", "is no command"),
        ("start flow fly", "v2", "names the flow fly"),
        ("disambiguate flows book_car fly", "v2", "names the flow fly"),
        ("set slot town Bern", "v2", "names the slot town"),
        ("set slot size huge", "v2", "size cannot be 'huge'; it can be big, small."),
    ],
)
def test_labels_that_are_none_are_refused_with_a_sentence(text: str, syntax: Syntax, why: str) -> None:
    assert why in " ".join(Labels(KNOWN).read(text, syntax, "").problems)


def test_a_value_that_the_user_asks_for_may_be_one_that_there_is_not() -> None:
    assert Labels(KNOWN).read("set slot size huge", "v2", "a huge one").problems == ()


def test_commands_of_the_assistants_own_are_read_as_far_as_it_has_used_them() -> None:
    own = Command(type="Custom", text="ring the bell")
    annotation: Any = BOOKING.turns[0].annotation
    turn = BOOKING.turns[0].model_copy(update={"annotation": annotation.model_copy(update={"commands": (own,)})})
    files = [annotated_file(BOOKING.model_copy(update={"turns": (turn,)}))]
    labels = labels_of(assistant_card(), files, [], None)
    assert labels.read("ring the bell\nStartFlow(book_car)", "v1", "").commands == (own, *commands(CAR))
    assert labels.read("ring the bells", "v1", "").problems
