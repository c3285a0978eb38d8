"""From E2E tests to annotations, with a runner that knows what each test gives."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from rasa_ft_ext.annotate.stage import FAILED_TESTS, AnnotateSummary, annotate
from rasa_ft_ext.conversation import AssistantCard, Conversation, FailedTest, TestFile
from rasa_ft_ext.errors import AssistantError, ForeignResultsError, LLMUnavailableError
from rasa_ft_ext.flow_map import FlowMap
from rasa_ft_ext.workspace import ANNOTATIONS, SUMMARY, TIMINGS, Workspace
from tests.builders import assistant_card, contents, conversation, failed, said

CAR = "StartFlow(book_car)"
Outcome = Conversation | FailedTest | Exception


@dataclass
class FakeTest:
    """A test with what comes out of it, run by run; the last outcome is that of all later runs."""

    outcomes: Sequence[Outcome]
    name: str = ""
    file: str = ""
    raw: dict[str, Any] = field(default_factory=dict)

    @property
    def id(self) -> str:
        return f"{self.file}::{self.name}"


def test_of(*outcomes: Outcome) -> FakeTest:
    """The test that the first outcome with an id belongs to."""
    file, name = next(entry.id for entry in outcomes if not isinstance(entry, Exception)).split("::")
    return FakeTest(outcomes, name, file, {"test_case": name})


test_of.__test__ = False  # type: ignore[attr-defined]


class FakeRunner:
    """Runs tests by looking up what they give, and writes down which and how many at a time.

    Args:
        together: The first tests wait until so many have begun.
        seconds: What every LLM call took.
        fingerprint: Of the model.
    """

    def __init__(self, *, together: int = 1, seconds: float = 0.5, fingerprint: str = "model") -> None:
        self.card: AssistantCard = assistant_card().model_copy(update={"fingerprint": fingerprint})
        self.flow_map = FlowMap(flows=())
        self.begun: list[str] = []
        self.beside: list[int] = []
        self._running = 0
        self._seconds = seconds
        self._together = together
        self._all_there = asyncio.Event()

    async def run_test(self, test: FakeTest) -> tuple[Conversation | FailedTest, list[float]]:
        run = self.begun.count(test.name)
        self.begun.append(test.name)
        self._running += 1
        self.beside.append(self._running)
        if len(self.begun) >= self._together:
            self._all_there.set()
        await self._all_there.wait()
        await asyncio.sleep(0)
        self._running -= 1
        outcome = test.outcomes[min(run, len(test.outcomes) - 1)]
        if isinstance(outcome, Exception):
            raise outcome
        return outcome, [self._seconds]


def files_of(tests: Sequence[FakeTest]) -> list[TestFile]:
    return [TestFile(file=name) for name in dict.fromkeys(test.file for test in tests)]


async def annotated(
    root: Path, *tests: FakeTest, runner: FakeRunner | None = None, concurrency: int = 16
) -> AnnotateSummary:
    return await annotate(Workspace(root), runner or FakeRunner(), files_of(tests), tests, concurrency=concurrency)


def read_yaml(root: Path, name: str) -> Any:
    return YAML(typ="safe", pure=True).load((root / ANNOTATIONS / name).read_text(encoding="utf-8"))


BOOKING = conversation(said("I'd like to book a car", CAR))
FLAKY = failed("the file is locked", name="flaky")
STEADY = conversation(said("a car", CAR), name="flaky")


# Running tests


async def test_tests_that_failed_beside_others_run_again_alone(tmp_path: Path) -> None:
    others = [test_of(conversation(said("a", CAR), name=name)) for name in ("a", "b")]
    flaky = [test_of(failed("locked", name=n), conversation(said("a car", CAR), name=n)) for n in ("flaky", "shaky")]
    runner = FakeRunner(together=4)

    summary = await annotated(tmp_path, others[0], *flaky, others[1], runner=runner)

    assert runner.begun == ["a", "flaky", "shaky", "b", "flaky", "shaky"]
    assert runner.beside == [1, 2, 3, 4, 1, 1]
    assert (summary.tests, summary.passed, summary.failed) == (4, 4, ())
    names = [entry.name for entry in next(iter(Workspace(tmp_path).annotations())).conversations]
    assert names == ["a", "flaky", "shaky", "b"]


async def test_a_test_that_fails_alone_as_well_counts_as_failed_for_the_reason_it_had_alone(tmp_path: Path) -> None:
    twice = test_of(FLAKY, failed("expected a, got b", name="flaky"))

    summary = await annotated(tmp_path, test_of(BOOKING), twice)

    assert summary.failed == (failed("expected a, got b", name="flaky"),)
    assert summary.passed == 1


async def test_tests_that_ran_alone_anyway_are_not_run_again(tmp_path: Path) -> None:
    runner = FakeRunner()

    summary = await annotated(tmp_path, test_of(BOOKING), test_of(FLAKY, STEADY), runner=runner, concurrency=1)

    assert runner.begun == ["books a car", "flaky"]
    assert runner.beside == [1, 1]
    assert summary.failed == (FLAKY,)


async def test_no_more_tests_run_at_once_than_allowed(tmp_path: Path) -> None:
    runner = FakeRunner(together=3)

    await annotated(
        tmp_path,
        *[test_of(conversation(said("a", CAR), name=str(number))) for number in range(10)],
        runner=runner,
        concurrency=3,
    )

    assert max(runner.beside) == 3


async def test_the_order_is_that_of_the_tests(tmp_path: Path) -> None:
    names = ["z", "a", "m"]

    await annotated(tmp_path, *[test_of(conversation(said(name, CAR), name=name)) for name in names])

    assert [entry.name for entry in next(iter(Workspace(tmp_path).annotations())).conversations] == names
    assert [entry["original_test_case"] for entry in read_yaml(tmp_path, "cars.yml")["conversations"]] == [
        "cars.yml::z",
        "cars.yml::a",
        "cars.yml::m",
    ]


async def test_failed_tests_are_listed_with_their_reasons(tmp_path: Path) -> None:
    reasons = ["expected utter_ask_city, got 'Where to?'", "first line\nsecond line", "yes", "Zürich: 东京 # 1"]
    failing = [failed(reason, name=str(number)) for number, reason in enumerate(reasons)]

    summary = await annotated(tmp_path, *map(test_of, failing), test_of(BOOKING))

    assert summary.failed == tuple(failing)
    assert read_yaml(tmp_path, FAILED_TESTS) == [entry.model_dump() for entry in failing]
    assert read_yaml(tmp_path, SUMMARY)["failed"] == [entry.model_dump() for entry in failing]
    assert next(iter(Workspace(tmp_path).annotations())).failed == tuple(failing)


async def test_no_failed_test_is_an_empty_list(tmp_path: Path) -> None:
    await annotated(tmp_path, test_of(BOOKING))

    assert read_yaml(tmp_path, FAILED_TESTS) == []


async def test_when_every_test_fails_the_reasons_are_told_and_nothing_is_written(tmp_path: Path) -> None:
    tests = [test_of(failed(f"reason {number}", name=f"test {number}")) for number in range(12)]

    with pytest.raises(AssistantError) as error:
        await annotated(tmp_path, *tests)

    message = str(error.value)
    assert message.startswith("None of the 12 E2E tests passes on this assistant")
    assert "\n  - cars.yml::test 0: reason 0\n" in message
    assert message.endswith("\n  - cars.yml::test 9: reason 9\n  - and 2 more")
    assert os.listdir(tmp_path) == []


async def test_an_llm_that_cannot_be_reached_ends_the_stage_and_writes_nothing(tmp_path: Path) -> None:
    error = LLMUnavailableError("nobody answers at http://localhost:1")
    unreachable = FakeTest([error], "unreachable", "cars.yml")

    with pytest.raises(LLMUnavailableError) as raised:
        await annotated(tmp_path, test_of(BOOKING), unreachable)

    assert raised.value is error
    assert os.listdir(tmp_path) == []


# What is written


async def test_the_yaml_shows_each_user_step_with_its_commands(tmp_path: Path) -> None:
    booking = conversation(
        said("I'd like to book a car", "StartFlow(search_rental_car)", bot="in which city?"),
        said("to Basel", "SetSlot(trip_destination, Basel)", bot="When would you like to pick up the car?"),
        said(
            "from may 14th to the 17th",
            "SetSlot(car_rental_start_date, may 14th)\nSetSlot(car_rental_end_date, may 17th)",
            bot="Here they are",
        ),
        name="car booking combined with hotel",
        file="user_books_car_and_hotel.yml",
    )

    await annotated(tmp_path, test_of(booking))

    assert (tmp_path / ANNOTATIONS / "user_books_car_and_hotel.yml").read_text() == (
        "conversations:\n"
        "  - original_test_case: user_books_car_and_hotel.yml::car booking combined with hotel\n"
        "    steps:\n"
        "      - slot_was_not_set:\n"
        "          - city\n"
        "      - user: I'd like to book a car\n"
        "        llm_commands:\n"
        "          - StartFlow(search_rental_car)\n"
        "      - bot: in which city?\n"
        "      - user: to Basel\n"
        "        llm_commands:\n"
        "          - SetSlot(trip_destination, Basel)\n"
        "      - bot: When would you like to pick up the car?\n"
        "      - user: from may 14th to the 17th\n"
        "        llm_commands:\n"
        "          - SetSlot(car_rental_start_date, may 14th)\n"
        "          - SetSlot(car_rental_end_date, may 17th)\n"
        "      - bot: Here they are\n"
    )


async def test_the_yaml_shows_why_a_user_step_has_no_commands(tmp_path: Path) -> None:
    reason = "no command could be read from the LLM's answer 'Sure!'"
    booking = conversation(said("book a car", CAR), said("/SetSlots(a=b)"), said("hm", unannotated=reason))

    await annotated(tmp_path, test_of(booking))

    steps = [step for step in read_yaml(tmp_path, "cars.yml")["conversations"][0]["steps"] if "user" in step]
    assert steps == [
        {"user": "book a car", "llm_commands": [CAR]},
        {"user": "/SetSlots(a=b)", "not_annotated": "answered without the LLM"},
        {"user": "hm", "not_annotated": reason},
    ]


async def test_the_yaml_shows_only_the_commands_that_took_effect_in_the_assistants_syntax(tmp_path: Path) -> None:
    booking = conversation(said("a car", f"{CAR}\nSetSlot(city, Basel)", dropped="SetSlot(city, Basel)"), syntax="v2")

    await annotated(tmp_path, test_of(booking))

    assert read_yaml(tmp_path, "cars.yml")["conversations"][0]["steps"][1]["llm_commands"] == ["start flow book_car"]


async def test_the_yaml_of_a_test_with_assertions_shows_what_the_assistant_said(tmp_path: Path) -> None:
    booking = conversation(
        said("book a car", CAR, bot="in which city?"), said("/SetSlots(a=b)", bot="Thanks"), bot_steps=False
    )
    silent = {"event": "bot", "text": None}
    booking = booking.model_copy(
        update={"events": (*booking.events[:4], silent, {"event": "bot", "text": "Tell me."}, *booking.events[4:])}
    )
    moved = booking.turns[1].model_copy(update={"events_before": booking.turns[1].events_before + 2})
    booking = booking.model_copy(update={"turns": (booking.turns[0], moved)})

    await annotated(tmp_path, test_of(booking))

    assert read_yaml(tmp_path, "cars.yml")["conversations"][0]["steps"] == [
        {"user": "book a car", "llm_commands": [CAR]},
        {"bot": "in which city?"},
        {"bot": "Tell me."},
        {"user": "/SetSlots(a=b)", "not_annotated": "answered without the LLM"},
        {"bot": "Thanks"},
    ]


async def test_all_conversations_of_a_file_stand_in_its_one_yaml(tmp_path: Path) -> None:
    bookings = [conversation(said(f"car {number}", CAR), name=f"test {number}") for number in range(6)]

    await annotated(tmp_path, *map(test_of, bookings), test_of(failed("no", name="other")))

    assert [entry["original_test_case"] for entry in read_yaml(tmp_path, "cars.yml")["conversations"]] == [
        booking.id for booking in bookings
    ]
    assert next(iter(Workspace(tmp_path).annotations())).conversations == tuple(bookings)


async def test_files_of_one_name_in_two_folders_do_not_overwrite_each_other(tmp_path: Path) -> None:
    bookings = [conversation(said(file, CAR), file=file) for file in ("a/t.yml", "b/t.yml", "t.yml")]

    await annotated(tmp_path, *map(test_of, bookings))

    for booking in bookings:
        assert read_yaml(tmp_path, booking.file)["conversations"][0]["original_test_case"] == booking.id
    assert {file.source.file: file.conversations for file in Workspace(tmp_path).annotations()} == {
        booking.file: (booking,) for booking in bookings
    }


@pytest.mark.parametrize("file", ["summary.yml", "failed_tests.yaml", "assistant.yml", "manifest.yaml", "timings.yml"])
async def test_a_test_file_may_have_the_name_of_one_of_the_stages_own_files(tmp_path: Path, file: str) -> None:
    booking = conversation(said("book a car", CAR), file=file)

    summary = await annotated(tmp_path, test_of(booking))

    assert read_yaml(tmp_path, file)["conversations"][0]["original_test_case"] == booking.id
    assert next(iter(Workspace(tmp_path).annotations())).conversations == (booking,)
    assert await annotated(tmp_path, test_of(booking)) == summary


async def test_what_the_later_stages_need_of_files_and_assistant_is_kept(tmp_path: Path) -> None:
    source = TestFile(
        file="cars.yml",
        fixtures=({"premium": [{"a": "b"}]},),
        metadata=({"m": {"x": 1}},),
        stub_custom_actions={"s": 1},
    )
    runner = FakeRunner()

    await annotate(Workspace(tmp_path), runner, [source, TestFile(file="z.yml")], [test_of(BOOKING)])

    assert [file.source for file in Workspace(tmp_path).annotations()] == [source, TestFile(file="z.yml")]
    assert Workspace(tmp_path).card() == runner.card


async def test_the_summary_counts_user_messages_by_what_can_be_made_of_them(tmp_path: Path) -> None:
    booking = conversation(
        said("book a car", CAR),
        said("/book", CAR, typed=False),
        said("/SetSlots(a=b)", unannotated="answered without the LLM (a payload)"),
        said("5", unannotated="answered without the LLM (a slot)"),
        said("hm", unannotated="no command could be read from the LLM's answer 'Sure!'"),
        said("well", unannotated="no command could be read from the LLM's answer \"I'd say\""),
    )

    summary = await annotated(tmp_path, test_of(booking), test_of(FLAKY))

    assert summary == AnnotateSummary(
        tests=2,
        passed=1,
        user_messages=6,
        annotated=2,
        to_rephrase=1,
        not_annotated={"answered without the LLM": 2, "no command could be read from the LLM's answer": 2},
        failed=(FLAKY,),
        llm_usage=summary.llm_usage,
    )
    assert [(usage.stage, usage.calls) for usage in summary.llm_usage] == [("annotate", 2)]


# The stage as a whole


async def test_the_seconds_of_the_llm_stand_in_the_timings_and_nowhere_else(tmp_path: Path) -> None:
    tests = [test_of(BOOKING), test_of(FLAKY)]
    for seconds in (0.5, 0.25):
        await annotated(tmp_path / str(seconds), *tests, runner=FakeRunner(seconds=seconds))

    slow, fast = tmp_path / "0.5" / ANNOTATIONS, tmp_path / "0.25" / ANNOTATIONS
    assert contents(slow, without=[TIMINGS]) == contents(fast, without=[TIMINGS])
    assert read_yaml(tmp_path / "0.5", TIMINGS) == {"cars.yml::books a car": [0.5], "cars.yml::flaky": [0.5]}
    assert read_yaml(tmp_path / "0.25", TIMINGS) == {"cars.yml::books a car": [0.25], "cars.yml::flaky": [0.25]}


async def test_the_bytes_are_the_same_however_many_tests_run_at_once(tmp_path: Path) -> None:
    tests = [test_of(conversation(said(name, CAR), name=name)) for name in "abcdef"]

    await annotated(tmp_path / "1", *tests, concurrency=1)
    await annotated(tmp_path / "32", *tests, runner=FakeRunner(together=6), concurrency=32)

    assert contents(tmp_path / "1") == contents(tmp_path / "32")


async def test_a_finished_stage_is_not_run_again(tmp_path: Path) -> None:
    tests = [test_of(BOOKING), test_of(failed("a 'b'\n  c: d", name="other"))]
    summary = await annotated(tmp_path, *tests)
    before = contents(tmp_path)
    runner = FakeRunner()

    assert await annotated(tmp_path, *tests, runner=runner, concurrency=1) == summary
    assert runner.begun == []
    assert contents(tmp_path) == before


async def test_a_reason_with_colours_in_it_does_not_keep_the_stage_from_being_found_finished(tmp_path: Path) -> None:
    tests = [test_of(BOOKING), test_of(failed("\x1b[31mno\x1b[0m\nreally", name="other"))]

    assert await annotated(tmp_path, *tests) == await annotated(tmp_path, *tests)


@pytest.mark.parametrize("differing", ["tests", "model", "llm"])
async def test_annotations_of_other_tests_or_of_another_assistant_are_refused(tmp_path: Path, differing: str) -> None:
    await annotated(tmp_path, test_of(BOOKING))
    test, runner = test_of(BOOKING), FakeRunner(fingerprint="other" if differing == "model" else "model")
    if differing == "tests":
        test.raw["steps"] = [{"user": "another"}]
    if differing == "llm":
        runner.card = runner.card.model_copy(update={"llm": {"model": "other"}})

    with pytest.raises(ForeignResultsError, match=rf"differs in: {differing}\)"):
        await annotated(tmp_path, test, runner=runner)
    assert runner.begun == []
