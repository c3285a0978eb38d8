"""Passing rephrasings recombined into new conversations."""

from __future__ import annotations

from rasa_ft_ext.conversation import Conversation, RephrasedConversation
from rasa_ft_ext.dataset.recombine import Variant, variants
from tests.builders import commands, conversation, rephrased, rephrasing, said

CAR = "StartFlow(search_rental_car)"
CITY = "SetSlot(trip_destination, Basel)"
DATES = "SetSlot(car_rental_start_date, may 14th)\nSetSlot(car_rental_end_date, may 17th)"
CHOICE = "SetSlot(car_rental_selection, Avis - Luxury)"


def messages(conversation: Conversation, found: RephrasedConversation | None) -> list[tuple[str, ...]]:
    return [variant.messages for variant in variants(conversation, found)]


def two_turns(first: int, second: int) -> list[Variant]:
    """Two messages `a` and `b` with so many passing rephrasings `a1`, `a2`, ... and `b1`, `b2`, ..."""
    original = conversation(said("a", CAR), said("b", CITY))
    found = {
        0: [rephrasing(f"a{number + 1}", CAR) for number in range(first)],
        1: [rephrasing(f"b{number + 1}", CITY) for number in range(second)],
    }
    return list(variants(original, rephrased(original, found)))


def test_four_messages_with_three_two_three_three_rephrasings_give_four_conversations() -> None:
    original = conversation(
        said("I'd like to book a car", CAR),
        said("to Basel", CITY),
        said("from may 14th to the 17th", DATES),
        said("I'll take the luxury one! looks nice", CHOICE),
    )
    found = rephrased(
        original,
        {
            0: [
                rephrasing("I need to reserve a car.", CAR),
                rephrasing("Could I arrange for a car rental?", CAR),
                rephrasing("I'm interested in hiring a car.", CAR),
            ],
            1: [
                rephrasing("The destination is Basel.", CITY),
                rephrasing("I'll need the car in Basel.", "", passed=False),
                rephrasing("I'd like to go to Basel.", CITY),
            ],
            2: [
                rephrasing("The rental period will be May 14th to 17th.", DATES),
                rephrasing("I need the car from May 14th to May 17th.", DATES),
                rephrasing("I'll require the vehicle from the 14th to the 17th of May.", DATES),
            ],
            3: [
                rephrasing("I'd like to go with the luxury option; it looks appealing.", CHOICE),
                rephrasing("I'll choose the luxury model; it seems nice.", CHOICE),
                rephrasing("I'm opting for the luxury car; it looks great.", CHOICE),
            ],
        },
    )

    assert messages(original, found) == [
        (
            "I'd like to book a car",
            "to Basel",
            "from may 14th to the 17th",
            "I'll take the luxury one! looks nice",
        ),
        (
            "I need to reserve a car.",
            "The destination is Basel.",
            "The rental period will be May 14th to 17th.",
            "I'd like to go with the luxury option; it looks appealing.",
        ),
        (
            "Could I arrange for a car rental?",
            "I'd like to go to Basel.",
            "I need the car from May 14th to May 17th.",
            "I'll choose the luxury model; it seems nice.",
        ),
        (
            "I'm interested in hiring a car.",
            "The destination is Basel.",
            "I'll require the vehicle from the 14th to the 17th of May.",
            "I'm opting for the luxury car; it looks great.",
        ),
    ]


def test_the_original_comes_first_with_its_own_labels() -> None:
    original = conversation(said("a", CAR), said("/SetSlots(x=1)"))

    assert list(variants(original, None)) == [
        Variant(number=0, messages=("a", "/SetSlots(x=1)"), labels=(commands(CAR), None))
    ]


def test_new_conversations_are_numbered_from_one() -> None:
    assert [variant.number for variant in two_turns(2, 1)] == [0, 1, 2]


def test_a_message_with_fewer_rephrasings_uses_all_of_them_evenly() -> None:
    used = [variant.messages[1] for variant in two_turns(7, 3)[1:]]

    assert used == ["b1", "b2", "b3", "b1", "b2", "b3", "b1"]


def test_every_rephrasing_of_the_message_with_the_most_is_used_once() -> None:
    assert [variant.messages[1] for variant in two_turns(1, 4)[1:]] == ["b1", "b2", "b3", "b4"]


def test_a_message_without_a_passing_rephrasing_stays_as_it_was() -> None:
    original = conversation(said("a", CAR), said("b", CITY))
    found = rephrased(original, {0: [rephrasing("a1", CAR)], 1: [rephrasing("b1", "", passed=False)]})

    last = list(variants(original, found))[-1]

    assert last.messages == ("a1", "b")
    assert last.labels == (commands(CAR), commands(CITY))


def test_no_passing_rephrasing_at_all_gives_the_original_only() -> None:
    original = conversation(said("a", CAR))

    assert messages(original, rephrased(original, {0: [rephrasing("a1", "", passed=False)]})) == [("a",)]
    assert messages(original, rephrased(original, {})) == [("a",)]


def test_a_turn_without_an_annotation_stays_as_it_was_and_has_no_label() -> None:
    original = conversation(said("a", CAR), said("/SetSlots(x=1)"), said("b", CITY))
    found = rephrased(
        original, {0: [rephrasing("a1", CAR)], 1: [rephrasing("never", CAR), rephrasing("never ever", CAR)]}
    )

    new = list(variants(original, found))[1:]

    assert [variant.messages for variant in new] == [("a1", "/SetSlots(x=1)", "b")]
    assert new[0].labels == (commands(CAR), None, commands(CITY))


def test_a_rephrasing_brings_its_own_label() -> None:
    original = conversation(said("to Basel", CITY))
    zurich = rephrasing("to Zurich", "SetSlot(trip_destination, Zurich)", differs=True)

    last = list(variants(original, rephrased(original, {0: [zurich]})))[-1]

    assert last.labels == (commands("SetSlot(trip_destination, Zurich)"),)


def test_commands_that_the_assistant_threw_away_are_no_part_of_the_label() -> None:
    original = conversation(said("a", f"{CAR}\n{CITY}", dropped=CITY))

    assert next(variants(original, None)).labels == (commands(CAR),)


def test_another_slot_value_moves_the_conversation_at_that_turn_in_that_variant_only() -> None:
    original = conversation(said("a", CAR), said("to Basel", CITY))
    found = rephrased(
        original,
        {
            0: [rephrasing("a1", CAR), rephrasing("a2", CAR)],
            1: [rephrasing("Basel please", CITY), rephrasing("to Zurich", CITY, differs=True)],
        },
    )

    assert [variant.moved for variant in variants(original, found)] == [frozenset(), frozenset(), frozenset({1})]


def test_a_rephrased_message_that_the_assistant_repeats_moves_the_conversation() -> None:
    original = conversation(said("I am Jo", CITY, echoed=True), said("a", CAR, echoed=True))

    moved = [variant.moved for variant in variants(original, rephrased(original, {0: [rephrasing("Jo", CITY)]}))]

    assert moved == [frozenset(), frozenset({0})]
