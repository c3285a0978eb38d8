"""From annotations and rephrasings to examples."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from rasa_ft_ext.assistant import Simulation
from rasa_ft_ext.assistant.recorded import RecordedAssistant
from rasa_ft_ext.commands import Command
from rasa_ft_ext.conversation import Conversation, Example, RephrasedConversation, TestFile
from rasa_ft_ext.dataset.stage import DatasetSummary, dataset
from rasa_ft_ext.errors import ForeignResultsError, WorkspaceError
from rasa_ft_ext.progress import Progress
from rasa_ft_ext.workspace import DATASET, Workspace
from tests.builders import (
    FakeAssistant,
    annotated_file,
    annotated_workspace,
    assistant_card,
    commands,
    contents,
    conversation,
    failed,
    prompt,
    rephrased,
    rephrased_workspace,
    rephrasing,
    said,
)

CAR = "StartFlow(book_car)"
BASEL = "SetSlot(city, Basel)"
ZURICH = "SetSlot(city, Zurich)"
BIG = "SetSlot(size, big)"

BOOKING = conversation(said("book a car", CAR), said("to Basel", BASEL), said("a big one", BIG))
SAME_VALUES = rephrased(
    BOOKING,
    {
        0: [rephrasing("I need a car", CAR), rephrasing("car please", CAR)],
        1: [rephrasing("Basel", BASEL), rephrasing("the city of Basel", BASEL)],
        2: [rephrasing("big", BIG)],
    },
)
OTHER_CITY = rephrased(
    BOOKING,
    {
        0: [rephrasing("I need a car", CAR)],
        1: [rephrasing("to Zurich", ZURICH, differs=True)],
        2: [rephrasing("big", BIG)],
    },
)


def workspace_of(root: Path, *found: RephrasedConversation, conversations: Sequence[Conversation] = ()) -> Workspace:
    """One file with these conversations, by default `BOOKING`."""
    return rephrased_workspace(root, [annotated_file(*(conversations or [BOOKING]))], *found)


def prompts(workspace: Workspace, variant: int) -> dict[int, str]:
    """The prompts of a variant, by turn."""
    return {example.turn: example.prompt for example in workspace.examples() if example.variant == variant}


def made_by(workspace: Workspace, variant: int) -> list[str]:
    return [example.made_by for example in workspace.examples() if example.variant == variant]


# What examples there are


async def test_there_is_one_example_for_every_annotated_step_of_every_variant(tmp_path: Path) -> None:
    workspace = workspace_of(tmp_path, SAME_VALUES)

    summary = await dataset(workspace, FakeAssistant())

    found = [(example.variant, example.turn, example.message) for example in workspace.examples()]
    assert found == [
        (0, 0, "book a car"),
        (0, 1, "to Basel"),
        (0, 2, "a big one"),
        (1, 0, "I need a car"),
        (1, 1, "Basel"),
        (1, 2, "big"),
        (2, 0, "car please"),
        (2, 1, "the city of Basel"),
        (2, 2, "big"),
    ]
    assert (summary.conversations, summary.recombinations, summary.examples) == (1, 2, 9)
    assert summary.made_by == {"recorded": 3, "rendered": 6}
    assert summary.commands == {"SetSlot": 6, "StartFlow": 3}


async def test_a_conversation_that_is_not_rephrased_gives_its_original_examples(tmp_path: Path) -> None:
    workspace = workspace_of(tmp_path)

    await dataset(workspace, FakeAssistant())

    assert prompts(workspace, 0) == {
        0: prompt("book a car"),
        1: prompt("book a car", "to Basel"),
        2: prompt("book a car", "to Basel", "a big one"),
    }
    assert len(list(workspace.examples())) == 3


async def test_the_history_of_later_prompts_has_the_rephrased_messages(tmp_path: Path) -> None:
    workspace = workspace_of(tmp_path, SAME_VALUES)

    await dataset(workspace, FakeAssistant())

    assert prompts(workspace, 2) == {
        0: prompt("car please"),
        1: prompt("car please", "the city of Basel"),
        2: prompt("car please", "the city of Basel", "big"),
    }


async def test_steps_without_an_annotation_give_no_example_but_stand_in_the_history(tmp_path: Path) -> None:
    button = conversation(said("book a car", CAR), said("/SetSlots(city=Basel)"), said("a big one", BIG))
    found = rephrased(button, {2: [rephrasing("big", BIG)]})
    workspace = workspace_of(tmp_path, found, conversations=[button])

    await dataset(workspace, FakeAssistant())

    assert [(example.variant, example.turn) for example in workspace.examples()] == [(0, 0), (0, 2), (1, 2)]
    assert prompts(workspace, 1) == {2: prompt("book a car", "/SetSlots(city=Basel)", "big")}


async def test_an_example_says_where_it_comes_from(tmp_path: Path) -> None:
    workspace = workspace_of(tmp_path, OTHER_CITY)

    await dataset(workspace, FakeAssistant())

    assert list(workspace.examples())[4] == Example(
        test="cars.yml::books a car",
        turn=1,
        step=3,
        variant=1,
        message="to Zurich",
        original_message="to Basel",
        prompt=prompt("I need a car", "to Zurich"),
        completion="SetSlot(city, Zurich)",
        commands=commands(ZURICH),
        syntax="v1",
        made_by="rendered",
    )


async def test_completions_are_written_in_the_syntax_of_the_assistant(tmp_path: Path) -> None:
    booking = conversation(said("a car to Basel", f"{CAR}\n{BASEL}"), syntax="v2")
    workspace = workspace_of(tmp_path, conversations=[booking])

    await dataset(workspace, FakeAssistant(card=assistant_card(syntax="v2")))

    assert next(iter(workspace.examples())).completion == "start flow book_car\nset slot city Basel"
    assert next(iter(workspace.examples())).syntax == "v2"


async def test_commands_that_the_assistant_threw_away_are_not_learned(tmp_path: Path) -> None:
    workspace = workspace_of(tmp_path, conversations=[conversation(said("a", f"{CAR}\n{BASEL}", dropped=BASEL))])

    await dataset(workspace, FakeAssistant())

    assert [example.completion for example in workspace.examples()] == [CAR]


# A conversation whose course changes


def other_course(conversation: Conversation, messages: Sequence[str]) -> Simulation:
    """Prompts that only the assistant itself can give: the city that was booked stands in them."""
    return Simulation({index: f"city: Zurich; {messages[: index + 1]}" for index in range(len(messages))})


async def test_after_another_value_the_prompts_are_those_of_the_assistant_run_again(tmp_path: Path) -> None:
    workspace = workspace_of(tmp_path, OTHER_CITY)

    summary = await dataset(workspace, FakeAssistant(other_course))

    assert prompts(workspace, 1) == {
        0: prompt("I need a car"),
        1: prompt("I need a car", "to Zurich"),
        2: "city: Zurich; ('I need a car', 'to Zurich', 'big')",
    }
    assert made_by(workspace, 1) == ["rendered", "rendered", "simulated"]
    assert (summary.simulated, summary.diverged) == (1, 0)


async def test_the_assistant_is_run_with_the_new_messages_and_their_own_commands(tmp_path: Path) -> None:
    assistant = FakeAssistant(other_course)
    button = conversation(said("to Basel", BASEL), said("/SetSlots(a=b)"), said("a big one", BIG))
    found = rephrased(button, {0: [rephrasing("to Zurich", ZURICH, differs=True)]})
    source = TestFile(file="cars.yml", fixtures=({"premium": [{"city": "Bern"}]},))
    file = annotated_file(button).model_copy(update={"source": source})

    await dataset(rephrased_workspace(tmp_path, [file], found), assistant)

    assert len(assistant.simulated) == 1
    assert assistant.simulated[0].source == source
    assert assistant.simulated[0].conversation == button.id
    assert assistant.simulated[0].messages == ("to Zurich", "/SetSlots(a=b)", "a big one")
    assert assistant.simulated[0].labels == (commands(ZURICH), None, commands(BIG))


async def test_the_assistant_is_not_run_where_filling_in_is_exact(tmp_path: Path) -> None:
    assistant = FakeAssistant(other_course)
    last_differs = rephrased(BOOKING, {2: [rephrasing("small", "SetSlot(size, small)", differs=True)]})
    workspace = workspace_of(tmp_path, last_differs)

    summary = await dataset(workspace, assistant)

    assert assistant.simulated == []
    assert summary.simulated == 0
    assert prompts(workspace, 1) == {2: prompt("book a car", "to Basel", "small")}


async def test_a_repeated_wording_is_run_again_like_another_value(tmp_path: Path) -> None:
    echoing = conversation(said("I am Jo", BASEL, echoed=True), said("a big one", BIG))
    found = rephrased(echoing, {0: [rephrasing("Jo it is", BASEL)]})
    workspace = workspace_of(tmp_path, found, conversations=[echoing])

    await dataset(workspace, FakeAssistant(other_course))

    assert prompts(workspace, 1) == {0: prompt("Jo it is"), 1: "city: Zurich; ('Jo it is', 'a big one')"}


async def test_without_the_assistant_later_prompts_show_the_original_of_the_message_that_differs(
    tmp_path: Path,
) -> None:
    workspace = workspace_of(tmp_path, OTHER_CITY)

    summary = await dataset(workspace, FakeAssistant())

    assert prompts(workspace, 1) == {
        0: prompt("I need a car"),
        1: prompt("I need a car", "to Zurich"),
        2: prompt("I need a car", "to Basel", "big"),
    }
    assert made_by(workspace, 1) == ["rendered", "rendered", "rendered"]
    assert (summary.simulated, summary.diverged) == (0, 0)


async def test_recorded_annotations_are_enough(tmp_path: Path) -> None:
    card = assistant_card()
    live, recorded = workspace_of(tmp_path / "a", OTHER_CITY), workspace_of(tmp_path / "b", OTHER_CITY)

    await dataset(live, FakeAssistant(card=card))
    await dataset(recorded, RecordedAssistant(card))

    assert list(recorded.examples()) == list(live.examples())


FOUR_TURNS = conversation(said("to Basel", BASEL), said("a big one", BIG), said("a car", CAR), said("yes", CAR))
DIVERGING = rephrased(
    FOUR_TURNS,
    {
        0: [rephrasing("to Zurich", ZURICH, differs=True)],
        1: [rephrasing("big", BIG)],
        2: [rephrasing("car", CAR)],
        3: [rephrasing("sure", CAR)],
    },
)


@pytest.mark.parametrize("prompts_end_early", [False, True])
async def test_from_where_the_assistant_stands_elsewhere_the_history_shows_the_original(
    tmp_path: Path, prompts_end_early: bool
) -> None:
    workspace = workspace_of(tmp_path, DIVERGING, conversations=[FOUR_TURNS])
    simulated = {index: f"simulated {index}" for index in range(2 if prompts_end_early else 4)}

    summary = await dataset(workspace, FakeAssistant(Simulation(simulated, diverged=2)))

    assert prompts(workspace, 1) == {
        0: prompt("to Zurich"),
        1: "simulated 1",
        2: prompt("to Basel", "big", "car"),
        3: prompt("to Basel", "big", "car", "sure"),
    }
    assert made_by(workspace, 1) == ["rendered", "simulated", "rendered", "rendered"]
    assert (summary.simulated, summary.diverged) == (1, 1)


async def test_a_turn_keeps_its_own_wording_and_label_whatever_the_history_shows(tmp_path: Path) -> None:
    zurich = rephrasing("to Zurich", ZURICH, differs=True)
    small = rephrasing("small", "SetSlot(size, small)", differs=True)
    both_differ = rephrased(BOOKING, {1: [zurich], 2: [small]})
    workspace = workspace_of(tmp_path, both_differ)

    await dataset(workspace, FakeAssistant(Simulation({}, diverged=0)))

    last = list(workspace.examples())[-1]
    assert last.prompt == prompt("book a car", "to Basel", "small")
    assert last.completion == "SetSlot(size, small)"


# Annotations that do not render

CLOCK = conversation(said("book a car", CAR), said("to Basel", BASEL, renders=False), said("a big one", BIG))
CLOCK_REPHRASED = rephrased(
    CLOCK,
    {0: [rephrasing("I need a car", CAR)], 1: [rephrasing("Basel", BASEL)], 2: [rephrasing("big", BIG)]},
)


async def test_a_prompt_that_does_not_render_is_had_from_the_original_only(tmp_path: Path) -> None:
    workspace = workspace_of(tmp_path, CLOCK_REPHRASED, conversations=[CLOCK])

    await dataset(workspace, FakeAssistant())

    assert prompts(workspace, 0)[1] == f"It is 13:45.\n{prompt('book a car', 'to Basel')}"
    assert prompts(workspace, 1) == {0: prompt("I need a car"), 2: prompt("I need a car", "Basel", "big")}


async def test_a_prompt_that_does_not_render_is_had_by_running_the_assistant(tmp_path: Path) -> None:
    workspace = workspace_of(tmp_path, CLOCK_REPHRASED, conversations=[CLOCK])

    summary = await dataset(workspace, FakeAssistant(Simulation({0: "s0", 1: "s1", 2: "s2"})))

    assert prompts(workspace, 1) == {0: prompt("I need a car"), 1: "s1", 2: prompt("I need a car", "Basel", "big")}
    assert made_by(workspace, 1) == ["rendered", "simulated", "rendered"]
    assert summary.simulated == 1


async def test_a_prompt_that_neither_renders_nor_can_be_trusted_gives_no_example(tmp_path: Path) -> None:
    workspace = workspace_of(tmp_path, CLOCK_REPHRASED, conversations=[CLOCK])

    await dataset(workspace, FakeAssistant(Simulation({1: "elsewhere"}, diverged=1)))

    assert sorted(prompts(workspace, 1)) == [0, 2]


# What is kept once, and what is left out


async def test_the_same_prompt_and_completion_is_kept_once_and_names_the_other_tests(tmp_path: Path) -> None:
    others = [
        conversation(said("book a car", CAR), said("to Bern", "SetSlot(city, Bern)"), name=name, file=file)
        for name, file in [("second", "cars.yml"), ("third", "more.yml"), ("second", "more.yml")]
    ]
    files = [annotated_file(BOOKING, others[0]), annotated_file(*others[1:])]
    workspace = rephrased_workspace(tmp_path, files)

    summary = await dataset(workspace, FakeAssistant())

    found = [(example.test, example.message, example.also_in) for example in workspace.examples()]
    assert found == [
        (BOOKING.id, "book a car", ("cars.yml::second", "more.yml::third", "more.yml::second")),
        (BOOKING.id, "to Basel", ()),
        (BOOKING.id, "a big one", ()),
        ("cars.yml::second", "to Bern", ("more.yml::third", "more.yml::second")),
    ]
    assert (summary.examples, summary.duplicates) == (4, 5)


async def test_another_test_that_gave_an_example_in_many_variants_is_named_once(tmp_path: Path) -> None:
    other = conversation(said("book a car", CAR), said("to Bern", BASEL), name="other")
    found = rephrased(other, {1: [rephrasing("Bern", BASEL), rephrasing("go to Bern", BASEL)]})
    workspace = workspace_of(tmp_path, found, conversations=[BOOKING, other])

    await dataset(workspace, FakeAssistant())

    assert next(iter(workspace.examples())).also_in == (other.id,)


async def test_a_duplicate_within_a_test_names_no_other_test(tmp_path: Path) -> None:
    later_only = rephrased(BOOKING, {1: [rephrasing("Basel", BASEL), rephrasing("go to Basel", BASEL)]})
    workspace = workspace_of(tmp_path, later_only)

    summary = await dataset(workspace, FakeAssistant())

    assert [example.message for example in workspace.examples() if example.turn == 0] == ["book a car"]
    assert all(example.also_in == () for example in workspace.examples())
    assert summary.duplicates == 2


async def test_one_prompt_with_two_completions_is_two_examples(tmp_path: Path) -> None:
    again = conversation(said("book a car", "StartFlow(book_hotel)"), name="again")
    workspace = workspace_of(tmp_path, conversations=[conversation(said("book a car", CAR)), again])

    await dataset(workspace, FakeAssistant())

    assert [example.completion for example in workspace.examples()] == [CAR, "StartFlow(book_hotel)"]


async def test_a_completion_that_is_not_read_back_is_left_out_and_listed_once(tmp_path: Path) -> None:
    loses_the_sign = conversation(said("all of it", "SetSlot(share, 100%)"), said("a car", CAR), syntax="v2")
    found = rephrased(loses_the_sign, {1: [rephrasing("car", CAR)]})
    workspace = workspace_of(tmp_path, found, conversations=[loses_the_sign])

    summary = await dataset(workspace, FakeAssistant(card=assistant_card(syntax="v2")))

    assert [example.message for example in workspace.examples()] == ["a car", "car"]
    assert summary.unreadable == ("cars.yml::books a car: 'set slot share 100%'",)


async def test_the_assistants_own_reading_decides(tmp_path: Path) -> None:
    def only_flows(completion: str) -> tuple[Command, ...]:
        return tuple(command for command in commands(completion) if command.type == "StartFlow")

    workspace = workspace_of(tmp_path)

    summary = await dataset(workspace, FakeAssistant(reads=only_flows))

    assert [example.completion for example in workspace.examples()] == [CAR]
    assert len(summary.unreadable) == 2


async def test_no_example_at_all_is_an_error_and_writes_nothing(tmp_path: Path) -> None:
    workspace = workspace_of(tmp_path, conversations=[conversation(said("/SetSlots(a=b)"))])

    with pytest.raises(WorkspaceError, match=r"No example can be made of .*1_command_annotations.*`not_annotated`"):
        await dataset(workspace, FakeAssistant())
    assert not workspace.folder(DATASET).exists()


async def test_failed_tests_give_no_examples(tmp_path: Path) -> None:
    files = [annotated_file(BOOKING, failed=[failed("no", name="other")]), annotated_file(file="z.yml")]
    workspace = rephrased_workspace(tmp_path, files)

    summary = await dataset(workspace, FakeAssistant())

    assert summary.conversations == 1
    assert {example.test for example in workspace.examples()} == {BOOKING.id}


# The stage as a whole


class LastFirst(FakeAssistant):
    """Waits until so many conversations run together, then ends the one that came last first."""

    def __init__(self, together: int) -> None:
        super().__init__(other_course)
        self.ended: list[str] = []
        self._together = together
        self._waiting: list[asyncio.Event] = []

    async def simulate(
        self,
        source: TestFile,
        conversation: Conversation,
        messages: Sequence[str],
        labels: Sequence[tuple[Command, ...] | None],
        start: int = 0,
        template: str | None = None,
    ) -> Simulation:
        gate = asyncio.Event()
        self._waiting.append(gate)
        if len(self._waiting) == self._together:
            self._waiting.pop().set()
        await gate.wait()
        if self._waiting:
            self._waiting.pop().set()
        self.ended.append(conversation.name)
        return await super().simulate(source, conversation, messages, labels)


async def test_the_bytes_are_the_same_however_many_conversations_run_at_once(tmp_path: Path) -> None:
    names = ["a", "b", "c", "d"]
    bookings = [conversation(said("to Basel", BASEL), said(f"size {name}", BIG), name=name) for name in names]
    found = [
        rephrased(booking, {0: [rephrasing("to Zurich", ZURICH, differs=True)], 1: [rephrasing(booking.name, BIG)]})
        for booking in bookings
    ]
    one_by_one, all_at_once = LastFirst(together=1), LastFirst(together=4)
    first = workspace_of(tmp_path / "1", *found, conversations=bookings)
    second = workspace_of(tmp_path / "32", *found, conversations=bookings)

    await dataset(first, one_by_one, concurrency=1)
    await dataset(second, all_at_once, concurrency=32)

    assert (one_by_one.ended, all_at_once.ended) == (names, names[::-1])
    assert contents(second.folder(DATASET)) == contents(first.folder(DATASET))


async def test_a_finished_stage_is_not_run_again(tmp_path: Path) -> None:
    booking = conversation(said("all", "SetSlot(share, 100%)"), said("to Basel", BASEL), said("big", BIG), syntax="v2")
    found = rephrased(booking, {1: [rephrasing("to Zurich", ZURICH, differs=True)]})
    workspace = workspace_of(tmp_path, found, conversations=[booking])
    card = assistant_card(syntax="v2")
    summary = await dataset(workspace, FakeAssistant(other_course, card=card))
    before = contents(tmp_path)
    again = FakeAssistant(other_course, card=card)

    assert await dataset(workspace, again) == summary
    assert summary.unreadable
    assert again.simulated == []
    assert contents(tmp_path) == before


async def test_examples_made_without_the_assistant_are_not_taken_for_those_made_with_it(tmp_path: Path) -> None:
    workspace = workspace_of(tmp_path, OTHER_CITY)
    await dataset(workspace, FakeAssistant())

    with pytest.raises(ForeignResultsError, match="differs in: simulate"):
        await dataset(workspace, FakeAssistant(other_course))


async def test_rephrasings_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(WorkspaceError, match="Run `rasa-ft rephrase` first"):
        await dataset(annotated_workspace(tmp_path, annotated_file(BOOKING)), FakeAssistant())


async def test_an_error_of_the_assistant_leaves_nothing_half_written(tmp_path: Path) -> None:
    def breaks(conversation: Conversation, messages: Sequence[str]) -> Simulation:
        raise ZeroDivisionError

    workspace = workspace_of(tmp_path, OTHER_CITY)
    before = contents(tmp_path)

    with pytest.raises(ZeroDivisionError):
        await dataset(workspace, FakeAssistant(breaks))
    assert contents(tmp_path) == before


async def test_progress_counts_the_test_files(tmp_path: Path) -> None:
    class Told(Progress):
        def __init__(self) -> None:
            self.told: list[tuple[str, int]] = []

        def start(self, what: str, total: int) -> None:
            self.told.append((what, total))

        def step(self, parts: int = 1) -> None:
            self.told.append(("step", parts))

    progress = Told()

    await dataset(workspace_of(tmp_path, OTHER_CITY), FakeAssistant(), progress=progress)

    assert progress.told == [("Making examples of test files", 1), ("step", 0), ("step", 1)]


async def test_the_summary_is_what_was_counted(tmp_path: Path) -> None:
    summary = await dataset(workspace_of(tmp_path, OTHER_CITY), FakeAssistant(other_course))

    assert summary == DatasetSummary(
        conversations=1,
        recombinations=1,
        examples=6,
        duplicates=0,
        simulated=1,
        diverged=0,
        left_out=0,
        made_by={"recorded": 3, "rendered": 2, "simulated": 1},
        commands={"SetSlot": 4, "StartFlow": 2},
    )
