"""Which side a test case goes to: nothing leaks, everything is learned, and the fraction is met."""

from __future__ import annotations

import random
from itertools import combinations

import pytest

from rasa_ft_ext.checks.findings import Side
from rasa_ft_ext.commands import Command
from rasa_ft_ext.conversation import Conversation, Example
from rasa_ft_ext.errors import WorkspaceError
from rasa_ft_ext.split.assignment import Assignment, Group, assign, features, fill
from rasa_ft_ext.split.summary import SplitSummary, summarize
from tests.split.builders import conversation, example, random_data, set_slot, start

SEEDS = range(150)


def ids_of(groups: tuple[Group, ...]) -> set[str]:
    return {test for group in groups for test in group.tests}


def split_of(
    examples: list[Example], train_frac: float = 0.8, seed: int = 42, idle: tuple[str, ...] = ()
) -> Assignment:
    tests = sorted({entry.test for entry in examples} | {other for entry in examples for other in entry.also_in})
    return assign([conversation(test) for test in (*tests, *idle)], examples, train_frac, seed)


def notes(assignment: Assignment, train_frac: float) -> str:
    return "\n".join(summary_of(assignment, train_frac).notes)


def summary_of(assignment: Assignment, train_frac: float) -> SplitSummary:
    counts: dict[Side, dict[str, int]] = {"train": {}, "validation": {}}
    return summarize(assignment, train_frac, commands=counts, test_folders=(), renamed={})


def examples_of(groups: tuple[Group, ...], examples: list[Example]) -> list[Example]:
    return [entry for entry in examples if entry.test in ids_of(groups)]


@pytest.mark.parametrize("seed", SEEDS)
def test_every_test_and_example_is_on_one_side_and_no_prompt_on_both(seed: int) -> None:
    conversations, examples = random_data(seed)
    done = assign(conversations, examples, random.Random(seed).uniform(0.05, 1), seed)
    train, validation = ids_of(done.train), ids_of(done.validation)
    assert sum(group.size for group in (*done.train, *done.validation)) == len(examples)

    assert train.isdisjoint(validation)
    assert train | validation | set(done.idle) == {entry.id for entry in conversations}
    assert len(examples_of(done.train, examples)) + len(examples_of(done.validation, examples)) == len(examples)
    assert {entry.test for entry in examples_of(done.train, examples)} <= train
    assert {entry.test for entry in examples_of(done.validation, examples)} <= validation
    assert {entry.prompt for entry in examples_of(done.train, examples)}.isdisjoint(
        entry.prompt for entry in examples_of(done.validation, examples)
    )
    for entry in examples:
        assert {entry.test, *entry.also_in} <= train or {entry.test, *entry.also_in} <= validation


@pytest.mark.parametrize("seed", SEEDS)
def test_training_has_every_command_flow_and_slot(seed: int) -> None:
    conversations, examples = random_data(seed)
    done = assign(conversations, examples, random.Random(seed).uniform(0.05, 1), seed)

    assert features(examples_of(done.train, examples)) == features(examples)
    assert not summary_of(done, 0.5).missing_in_train


@pytest.mark.parametrize("seed", SEEDS)
def test_training_comes_as_near_to_its_fraction_as_whole_groups_allow(seed: int) -> None:
    conversations, examples = random_data(seed)
    frac = random.Random(seed).uniform(0.05, 0.99)
    done = assign(conversations, examples, frac, seed)
    reached = len(examples_of(done.train, examples))
    demanded = sum(group.size for group in done.demanded)

    if demanded > frac * len(examples):
        assert reached == demanded
        assert not done.validation or "more than" in notes(done, frac)
    else:
        others = [group.size for group in (*done.train, *done.validation) if group not in done.demanded]
        sums = {sum(some) for count in range(len(others) + 1) for some in combinations(others, count)}
        assert reached == demanded + max(n for n in sums if demanded + n <= frac * len(examples) + 1e-9)
        assert done.validation


@pytest.mark.parametrize("seed", SEEDS)
def test_a_group_that_coverage_demands_is_needed(seed: int) -> None:
    conversations, examples = random_data(seed)
    done = assign(conversations, examples, 0.01, seed)

    for group in done.demanded:
        others = [entry for entry in examples_of(done.demanded, examples) if entry.test not in group.tests]
        assert len(done.demanded) == 1 or features(others) != features(examples)


@pytest.mark.parametrize("seed", range(40))
def test_the_order_of_the_input_does_not_matter_and_the_seed_does(seed: int) -> None:
    conversations, examples = random_data(seed)
    first = assign(conversations, examples, 0.7, seed)
    random.Random(seed).shuffle(examples)
    random.Random(seed + 1).shuffle(conversations)
    second = assign(conversations, examples, 0.7, seed)

    assert [group.tests for group in second.train] == [group.tests for group in first.train]
    assert [group.size for group in second.validation] == [group.size for group in first.validation]


def test_seeds_give_different_splits() -> None:
    examples = [example(f"a.yml::{number}", f"p{number}") for number in range(20)]

    assert len({frozenset(ids_of(split_of(examples, 0.5, seed).train)) for seed in range(10)}) > 5


def test_with_fraction_one_everything_is_training() -> None:
    done = split_of([example("a.yml::1", "p"), example("a.yml::2", "q")], 1.0)

    assert ids_of(done.train) == {"a.yml::1", "a.yml::2"}
    assert not done.validation
    assert not notes(done, 1.0)


def test_tests_that_gave_the_same_example_stay_together() -> None:
    shared = [example("a.yml::1", "p", also_in=("b.yml::2", "c.yml::3")), example("b.yml::2", "q")]
    done = split_of([*shared, *(example(f"d.yml::{number}", str(number)) for number in range(8))], 0.8)

    together = next(group for group in (*done.train, *done.validation) if "a.yml::1" in group.tests)
    assert together.tests == ("a.yml::1", "b.yml::2", "c.yml::3")


def test_tests_with_one_prompt_and_different_completions_stay_together() -> None:
    done = split_of([example("a.yml::1", "p", start("f")), example("b.yml::2", "p", start("g"))], 0.5)

    assert [group.tests for group in done.train] == [("a.yml::1", "b.yml::2")]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (
            "- Current time: 10:00:01 (UTC)   (24-hour)\nUSER: hi",
            "- Current time: 10:00:02 (UTC)   (24-hour)\nUSER: hi",
        ),
        (
            "- Current date: 27 April, 2024\n- Current day: Saturday",
            "- Current date: 28 April, 2024\n- Current day: Sunday",
        ),
        ("It is 10:00:01.", "It is 23:59:59."),
    ],
)
def test_prompts_that_differ_only_in_the_clock_are_the_same(first: str, second: str) -> None:
    done = split_of([example("a.yml::1", first), example("b.yml::2", second)], 0.5)

    assert [group.tests for group in done.train] == [("a.yml::1", "b.yml::2")]


def test_prompts_that_differ_in_what_a_user_said_are_not_the_same() -> None:
    done = split_of(
        [example("a.yml::1", "USER: on Monday at 10:30"), example("b.yml::2", "USER: on Friday at 11:30")], 0.5
    )

    assert len(done.train) == len(done.validation) == 1


def test_a_test_whose_examples_are_all_anothers_goes_with_it() -> None:
    examples = [example(f"a.yml::{number}", f"p{number}") for number in range(4)]
    tests = [*(conversation(entry.test, entry.prompt) for entry in examples), conversation("b.yml::copy", "p2")]
    done = assign(tests, examples, 0.5, 42)

    assert any({"a.yml::2", "b.yml::copy"} <= set(group.tests) for group in (*done.train, *done.validation))
    assert not done.idle


def test_tests_without_examples_are_named_and_belong_to_no_group() -> None:
    done = split_of([example("a.yml::1", "p"), example("a.yml::2", "q")], 0.5, idle=("b.yml::silent",))

    assert done.idle == ("b.yml::silent",)
    assert "1 tests give no example and stand with the training tests: b.yml::silent." in notes(done, 0.5)


def test_coverage_goes_before_a_validation_set() -> None:
    done = split_of([example("a.yml::1", "p", start("f")), example("a.yml::2", "q", set_slot("s"))], 0.5)

    assert not done.validation
    assert "Validation is empty" in notes(done, 0.5)


def test_one_group_is_training() -> None:
    assert not split_of([example("a.yml::1", "p")], 0.1).validation


def test_examples_without_commands_still_give_training_something() -> None:
    empty = Command(type="SetSlot", args=())
    bare = [example(f"a.yml::{n}", f"p{n}", empty).model_copy(update={"commands": ()}) for n in range(3)]

    assert len(split_of(bare, 0.1).train) == 1


def test_a_large_group_that_does_not_fit_is_explained() -> None:
    large = [example("a.yml::large", f"p{number}", turn=number) for number in range(90)]
    small = [example("a.yml::small", f"q{number}", turn=number) for number in range(10)]
    done = split_of([*large, *small], 0.8)

    assert ids_of(done.train) == {"a.yml::small"}
    assert "Training holds 10 of 100 examples, less than 80%" in notes(done, 0.8)


def test_an_example_that_is_there_twice_is_refused() -> None:
    with pytest.raises(WorkspaceError, match=r"holds an example twice: turn 0 of 'a\.yml::1'.*rasa-ft dataset"):
        split_of([example("a.yml::1", "p"), example("b.yml::2", "p")])


def test_examples_of_unknown_tests_are_refused() -> None:
    tests: list[Conversation] = [conversation("a.yml::1")]
    with pytest.raises(WorkspaceError, match="no annotations of this test"):
        assign(tests, [example("a.yml::2", "p")], 0.8, 42)


@pytest.mark.parametrize("seed", range(60))
def test_fill_finds_the_largest_sum_that_fits(seed: int) -> None:
    dice = random.Random(seed)
    sizes = [dice.randint(1, 30) for _ in range(dice.randint(0, 10))]
    room = dice.randint(-3, 120)
    chosen = fill(sizes, room)
    sums = {sum(some) for count in range(len(sizes) + 1) for some in combinations(sizes, count)}

    assert len(set(chosen)) == len(chosen)
    assert sum(sizes[index] for index in chosen) == max((n for n in sums if n <= room), default=0)


def test_fill_is_quick_with_thousands_of_groups() -> None:
    dice = random.Random(0)
    sizes = [dice.randint(1, 40) for _ in range(4000)]

    assert sum(sizes[index] for index in fill(sizes, sum(sizes) * 4 // 5)) == sum(sizes) * 4 // 5
