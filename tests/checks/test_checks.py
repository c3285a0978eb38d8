"""Each check on small rows: what is a fault, and what only looks like one."""

from __future__ import annotations

import random
from typing import Any

import pytest

from rasa_ft_ext import commands as language
from rasa_ft_ext.checks import duplicates
from rasa_ft_ext.checks import stage as checking
from rasa_ft_ext.checks.balance import balance_of, check_balance, check_sides
from rasa_ft_ext.checks.contradictions import check_contradictions
from rasa_ft_ext.checks.diversity import check_diversity, diversity_of
from rasa_ft_ext.checks.duplicates import (
    check_duplicates,
    near_duplicates,
    superfluous,
    varied_wordings,
)
from rasa_ft_ext.checks.entries import Entry, entries_of
from rasa_ft_ext.checks.findings import Side
from rasa_ft_ext.checks.grounding import check_values
from rasa_ft_ext.checks.known import Known, known_of
from rasa_ft_ext.checks.lengths import Context, check_lengths, lengths_of
from rasa_ft_ext.checks.names import check_names
from rasa_ft_ext.checks.similarity import NEARLY, overlap, pieces
from rasa_ft_ext.conversation import Example, RephrasedFile
from rasa_ft_ext.errors import DataError
from rasa_ft_ext.flow_map import FlowMap, MappedSlot
from rasa_ft_ext.workspace import Workspace
from tests.builders import annotated_file, assistant_card, conversation, prompt, rephrased, rephrasing, said

KNOWN = Known(
    flows=frozenset({"book_car", "book_hotel"}),
    slots=frozenset({"city", "day", "people", "paid", "size"}),
    values={"size": frozenset({"small", "big"})},
    described={"city": "Basel or Chur, whatever the user calls it"},
    held={("cars.yml::a", 0): ("Grand Hotel",)},
)


def example(says: str, *messages: str, **fields: Any) -> Example:
    commands = language.read(says, "v1")
    defaults: dict[str, Any] = {"test": "cars.yml::a", "turn": 0, "step": 0, "variant": 0, "made_by": "recorded"}
    return Example(
        message=messages[-1],
        original_message=messages[-1],
        completion=language.write(commands, "v1"),
        commands=commands,
        syntax="v1",
        **{"prompt": prompt(*messages), **defaults, **fields},
    )


def rows(*examples: Example, side: Side = "train") -> list[Entry]:
    return entries_of({side: list(examples)})


@pytest.mark.parametrize(
    ("value", "messages"),
    [
        ("Zurich", ["nach Zürich!"]),
        ("New York City", ["to NYC please"]),
        ("as soon as possible", ["asap"]),
        ("Basel", ["to Bsael"]),
        ("Geneva", ["nach Genf"]),
        ("Tokyo", ["東京まで"]),
        ("東京", ["東京まで"]),
        ("Chur", ["the town with the C"]),
        ("Grand Hotel", ["the first one"]),
        ("John Smith", ["Smith, John"]),
        ("john@example.com", ["john at example dot com"]),
        ("LX 332", ["lx332"]),
        ("1000", ["1,000 francs"]),
        ("21", ["twenty-one of us"]),
        ("2", ["my wife and I"]),
        ("2", ["for two people"]),
        ("3", ["me and two kids"]),
        ("2", ["May 3 to May 5, my wife and I"]),
        ("2024-08-01", ["1 August"]),
        ("2024-08-01", ["on the first of August"]),
        ("2024-08-01", ["8月1日"]),
        ("01.08.2024", ["am ersten August"]),
        ("2024-06-07", ["tomorrow"]),
        ("2024-06-07", ["on Thursday, for three nights"]),
        ("Friday", ["on fridays"]),
        ("15:30", ["half past three"]),
        ("True", ["sure"]),
        ("book_hotel", ["the other one"]),
        ("Basel", ["to Basel", "yes"]),
    ],
)
def test_a_value_that_is_written_in_another_way_is_no_fault(value: str, messages: list[str]) -> None:
    assert not list(check_values(rows(example(f"SetSlot(city, {value})", *messages)), KNOWN))


@pytest.mark.parametrize(
    ("value", "messages"),
    [
        ("Lisbon", ["to Basel"]),
        ("LX318", ["LX332 please"]),
        ("東京", ["to Bern"]),
        ("5", ["8 people"]),
        ("77", ["my wife and I"]),
        ("2024-09-01", ["1 August"]),
        ("2024-08-11", ["1 August"]),
        ("June 3", ["May 3 to May 5"]),
        ("2024-06-05", ["on 2024-06-03"]),
        ("Hotel Euler", ["a hotel"]),
    ],
)
def test_a_value_that_nobody_said_is_found(value: str, messages: list[str]) -> None:
    entries = rows(example(f"SetSlot(city, {value})", *messages, test="cars.yml::b"))

    (finding,) = check_values(entries, Known(KNOWN.flows, KNOWN.slots))

    assert (finding.kind, finding.severity) == ("ungrounded value", "warning")
    assert value in finding.text
    assert messages[-1] in finding.text


@pytest.mark.parametrize(
    ("says", "severity"),
    [
        ("StartFlow(book_train)", "problem"),
        ("Clarify(book_car, book_train)", "problem"),
        ("SetSlot(colour, red)", "problem"),
        ("SetSlot(size, huge)", "problem"),
        ("SetSlot(size, gigantic)", "note"),
        ("SetSlot(size, Big)", None),
        ("SetSlot(size, None)", None),
        ("StartFlow(book_car)", None),
        ("CancelFlow()", None),
    ],
)
def test_names_that_the_assistant_does_not_have_are_found(says: str, severity: str | None) -> None:
    found = list(check_names(rows(example(says, "the gigantic one")), KNOWN))

    assert [finding.severity for finding in found] == ([severity] if severity else [])


def test_what_an_assistant_has_is_taken_from_the_recording_and_the_map_of_its_flows() -> None:
    booked = conversation(said("hi", "StartFlow(book_car)"))
    annotation = booked.turns[0].annotation
    assert annotation is not None
    slots = [{"name": "size", "value": "big", "type": "categorical", "allowed_values": "['Small', 'big']"}]
    annotation = annotation.model_copy(update={"variables": {"flow_slots": slots}})
    booked = booked.model_copy(update={"turns": (booked.turns[0].model_copy(update={"annotation": annotation}),)})
    mapped = FlowMap(flows=(), slots=(MappedSlot(name="paid", type="bool"),))

    known = known_of(assistant_card(), [annotated_file(booked)], mapped, {})

    assert known.flows == {"book_car", "book_hotel"}
    assert known.slots == {"city", "paid"}
    assert known.values == {"size": {"small", "big"}, "paid": {"true", "false"}}
    assert known.held == {(booked.id, 0): ["big"]}


def test_prompts_that_differ_in_the_clock_only_contradict_each_other() -> None:
    one, other = (f"It is 13:45:0{second}.\n{prompt('the big one')}" for second in (1, 2))
    entries = rows(
        example("SetSlot(size, big)", "the big one", prompt=one),
        example("StartFlow(book_hotel)", "the big one", prompt=other, test="cars.yml::b"),
    )

    (finding,) = check_contradictions(entries)

    assert finding.severity == "problem"
    assert finding.place.test == "cars.yml::b"
    assert "cars.yml::a" in finding.text


def test_other_words_before_the_same_message_may_be_the_reason_for_other_commands() -> None:
    same = example("SetSlot(size, big)", "a car", "the big one")
    other = example("SetSlot(size, small)", "some car", "The  big one")

    assert [finding.severity for finding in check_contradictions(rows(same, other))] == ["warning"]


def test_the_place_of_a_slot_among_the_commands_contradicts_nothing() -> None:
    first = example("StartFlow(book_car)\nSetSlot(city, Basel)", "a car in Basel")
    second = example("SetSlot(city, Basel)\nStartFlow(book_car)", "a car in Basel")

    assert not list(check_contradictions(rows(first, second)))


@pytest.mark.parametrize(
    ("messages", "found"),
    [
        (["I would like to rent a car in Basel!", "yes"], True),
        (["i would like to rent a car in basel", "YES."], True),
        (["I would like to rent a cat in Basel", "yes"], True),
        (["I would like to rent a car in Basel", "yes", "yes"], False),
        (["Could I get a car in Basel?", "yes"], False),
        (["I would like to rent a car in Basel", "sure"], False),
    ],
)
def test_rows_whose_messages_are_all_nearly_the_same_are_found(messages: list[str], found: bool) -> None:
    first = example("SetSlot(paid, True)", "I would like to rent a car in Basel", "yes")
    second = example("SetSlot(paid, True)", *messages, variant=1)
    within = [finding.severity for finding in check_duplicates(rows(first, second))]
    across = [
        (finding.kind, finding.severity, finding.place.row)
        for finding in check_duplicates(entries_of({"train": [first], "validation": [second]}))
    ]

    assert within == (["warning"] if found else [])
    assert across == ([("near-duplicate", "problem", "ft_splits/val.jsonl line 1")] if found else [])


def test_many_equal_rows_are_told_without_comparing_each_with_each() -> None:
    said = [f"I would like to rent a car in Basel{end}" for end in ("", "!", " now")]
    many = [example("CancelFlow()", said[n % 3], prompt=f"{prompt(said[n % 3])} {n}", variant=n) for n in range(900)]
    entries = entries_of({"train": many[:600], "validation": many[600:]})

    assert len(near_duplicates(entries)) < 10 * len(many)
    kinds = [(finding.place.row, finding.severity) for finding in check_duplicates(entries)]
    assert len(kinds) == len(set(kinds)) == 599 + 300 + 299
    dropped = list(superfluous(entries, {}))
    assert dropped == [*range(1, 900)]
    tests = [entry.model_copy(update={"test": f"cars.yml::{entry.variant}"}) for entry in many]
    parents = {pair for pair in duplicates.tests_to_tie(entries_of({"train": tests}))}
    tied = {"cars.yml::0"}
    while more := {test for pair in parents if tied & set(pair) for test in pair} - tied:
        tied |= more
    assert len(tied) == 900


def test_rows_that_are_nearly_the_same_with_other_commands_are_none() -> None:
    first = example("SetSlot(day, May 3)", "I would like the car on May 3")
    second = example("SetSlot(day, May 5)", "I would like the car on May 5")

    assert not list(check_duplicates(rows(first, second)))


def test_a_prompt_of_training_in_validation_is_a_leak_whatever_its_commands() -> None:
    seen, measured = example("SetSlot(size, big)", "the big one"), example("CancelFlow()", "the big one")

    (finding,) = check_duplicates(entries_of({"train": [seen], "validation": [measured]}))

    assert (finding.kind, finding.severity) == ("leak", "problem")
    assert [found.kind for found in check_duplicates(entries_of({"train": [seen], "validation": [seen]}))] == ["leak"]


def test_rephrasings_that_only_repeat_are_counted_for_each_message() -> None:
    booked = conversation(said("a car in Basel", "CancelFlow()"), said("yes", "CancelFlow()"))
    texts = {
        0: ["A car, in Basel!", "I need to rent something in Basel", "I need to rent something in basel."],
        1: ["sure", "go ahead", "fine by me"],
    }
    found = {turn: [rephrasing(text, "CancelFlow()") for text in own] for turn, own in texts.items()}
    found[1].append(rephrasing("yes", "CancelFlow()", passed=False))

    turns = list(diversity_of([RephrasedFile(file=booked.file, conversations=(rephrased(booked, found),))]))

    assert [(turn.turn, turn.rephrasings, turn.repeated) for turn in turns] == [(0, 3, 2), (1, 3, 0)]
    assert turns[0].diversity < 0.7 < turns[1].diversity
    (finding,) = check_diversity(turns)
    assert (finding.kind, finding.severity, finding.place.turn) == ("repetition", "warning", 0)


def test_rows_that_do_not_fit_the_context_are_named() -> None:
    entries = rows(example("CancelFlow()", "no"), example("CancelFlow()", "no " * 50))
    context = Context("tiny", str.split, 60)
    lengths = list(lengths_of(entries, context))

    (finding,) = check_lengths(entries, lengths, context)

    assert lengths[0] < 60 < lengths[1]
    assert finding.place.row == "ft_splits/train.jsonl line 2"
    assert f"{lengths[1]}" in finding.text


def test_balance_counts_rows_and_says_what_cannot_be_learned_or_measured() -> None:
    train = [example("StartFlow(book_car)\nSetSlot(city, Basel)\nSetSlot(city, Bern)", "a")] * 3
    validation = [example("StartFlow(book_hotel)", "b")]
    balance = balance_of(entries_of({"train": train, "validation": validation}))

    assert balance["flows"] == {"book_car": (3, 0), "book_hotel": (0, 1)}
    assert balance["slots"] == {"city": (3, 0)}
    found = [(finding.severity, finding.text) for finding in check_balance(balance, divided=True)]
    assert [severity for severity, _ in found] == ["warning", "note"]
    assert "The flow book_hotel is in 1 rows of validation and in none of training" in found[0][1]
    assert found[1][1].endswith("commands SetSlot; flows book_car; slots city.")
    (rare,) = check_balance(balance_of(entries_of({"train": train[:2]})), divided=False)
    assert rare.text.endswith("commands SetSlot (2), StartFlow (2); flows book_car (2); slots city (2).")


def test_a_side_without_rows_is_told() -> None:
    one = example("CancelFlow()", "a")

    def found(**sides: list[Example]) -> list[str]:
        return [finding.severity for finding in check_sides({entry.side for entry in entries_of(sides)})]  # type: ignore[arg-type]

    assert found(train=[one], validation=[one]) == []
    assert found(train=[one], validation=[]) == ["note"]
    assert found(train=[], validation=[one]) == ["problem"]
    assert found() == ["problem"]


def test_a_message_as_long_as_a_book_is_quoted_by_its_ends() -> None:
    entries = rows(example("SetSlot(city, Lisbon)", "once upon a time " * 10_000 + "the end", test="cars.yml::b"))

    (finding,) = check_values(entries, Known(KNOWN.flows, KNOWN.slots))

    assert len(finding.text) < 300
    assert "'once upon" in finding.text
    assert "the end'" in finding.text


def test_a_value_that_the_user_asks_for_in_vain_is_noted_once_for_each_message() -> None:
    asked = [
        example("SetSlot(size, gigantic)", f"{polite} the gigantic one", variant=n) for n, polite in enumerate("ab")
    ]

    assert [finding.severity for finding in check_names(rows(*asked), KNOWN)] == ["note"]
    missing = [example("StartFlow(book_train)", f"{polite} train", variant=n) for n, polite in enumerate("ab")]
    assert len(list(check_names(rows(*missing), KNOWN))) == 2


def test_wordings_that_were_varied_on_purpose_repeat_nothing() -> None:
    booked = conversation(said("a car in Basel", "CancelFlow()"))
    noisy = rephrasing("A CAR IN BASEL", "CancelFlow()").model_copy(update={"origin": "noise"})
    other = rephrasing("a car in Basle", "CancelFlow()").model_copy(update={"differs": True})
    file = RephrasedFile(file=booked.file, conversations=(rephrased(booked, {0: [noisy, other]}),))
    first = example("CancelFlow()", "a car in Basel", test=booked.id)
    copy = example("CancelFlow()", "A CAR IN BASEL", test=booked.id, variant=1)

    assert not list(diversity_of([file]))
    assert not list(check_duplicates(rows(first, copy), varied_wordings([file])))
    assert [finding.kind for finding in check_duplicates(rows(first, copy), {})] == ["near-duplicate"]
    across = check_duplicates(entries_of({"train": [first], "validation": [copy]}), varied_wordings([file]))
    assert [finding.severity for finding in across] == ["problem"]


def test_near_duplicates_are_found_in_a_crowd_of_messages_that_are_somewhat_alike() -> None:
    dice = random.Random(1)
    names = ["".join(dice.choices("abdefgiklmnoprstuvw", k=9)) for _ in range(400)]
    said = [f"could you please tell me when {name} can be reached" for name in names]
    said += [text + "!!" for text in said[:40]] + [f"well {text}" for text in said[40:80]]
    entries = entries_of({"train": [example("CancelFlow()", text, variant=n) for n, text in enumerate(said)]})

    found = {finding.place.variant for finding in check_duplicates(entries)}

    cut = [pieces(text) for text in said]
    alike = {n for n in range(480) if any(overlap(cut[n], other) >= NEARLY for other in cut[:n])}
    assert set(range(400, 480)) <= found <= alike
    assert len(found) > 0.95 * len(alike)


def test_a_report_of_big_data_holds_the_first_findings_and_counts_the_others(
    clean: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = ["to the moon", "up to Mars", "let me see Venus", "a week on Jupiter", "once around the sun"]
    wrong = [example("StartFlow(book_moon)", text, variant=n) for n, text in enumerate(texts)]
    entries = entries_of({"train": wrong})
    everything = checking.check(clean, entries)
    monkeypatch.setattr(checking, "MOST", 3)

    report = checking.check(clean, entries)

    assert report.faults == everything.faults[:3]
    assert report.counts == everything.counts == {"unknown name": 5}
    assert report.count("problem") == everything.count("problem") == 5
    assert report.total == everything.total
    assert len(report.diversity) == 3
    assert report.average_diversity == pytest.approx(everything.average_diversity, abs=1e-4)
    assert "left_out" not in everything.model_dump_json()
    with pytest.raises(DataError, match="has 5 faults"):
        checking.refuse_faults(report)
