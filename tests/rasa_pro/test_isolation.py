"""Many conversations at once, in whichever order, end as each would alone; nothing of it stays behind in Rasa."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("rasa")

import rasa.core.processor
from rasa.dialogue_understanding.commands.utils import create_validate_frames_from_slot_set_events
from rasa.dialogue_understanding.processor import command_processor
from rasa.e2e_test.utils.io import read_test_cases

from rasa_ft_ext.concurrency import in_order
from rasa_ft_ext.conversation import Conversation, FailedTest
from rasa_ft_ext.rasa_pro.suite import SuiteTest
from tests.rasa_pro.projects import Live, Project, plain_runner

SAYS_GOODBYE = ("without_stub/general/feedback", "without_stub/general/goodbye", "without_stub/accounts")
HOOKED = ("_predict_commands", "render_template", "compile_template", "invoke_llm")

# The first test corrects a slot that is validated; the second corrects another one.
CORRECTIONS = """
test_cases:
  - test_case: day of the flight is corrected
    steps:
      - user: I have to move my flight
      - user: from the 2nd to the 3rd of June
      - utter: utter_ask_selected_flight_id
      - user: June 6, then
      - slot_was_set:
          - flight_search_start_date: "2024-06-06"
      - utter: utter_corrected_previous_input
  - test_case: pick-up day of the car is corrected
    steps:
      - user: I'd like to book a car
      - user: to Basel
      - user: from may 14th to the 17th
      - utter: utter_ask_car_rental_selection
      - user: Sorry, I meant from May 15th
      - utter: utter_corrected_previous_input
      - utter: utter_ask_car_rental_selection
"""


@pytest.fixture
def open_example(example: Project) -> Iterator[Live]:
    with example.open(stubbed=True) as live:
        yield live


@pytest.fixture
def corrections(tmp_path: Path) -> Path:
    file = tmp_path / "corrections.yml"
    file.write_text(CORRECTIONS, encoding="utf-8")
    return file


@pytest.fixture
def validation_frames() -> Iterator[list[Any]]:
    """What Rasa keeps from one conversation to the next: a mutable default argument."""
    parameters = inspect.signature(create_validate_frames_from_slot_set_events).parameters
    frames = parameters["validate_frames"].default
    frames.clear()
    yield frames
    frames.clear()


def run(live: Live, tests: Sequence[SuiteTest], concurrency: int) -> list[Conversation | FailedTest]:
    """Run tests; what comes back has their events, prompts and commands, and no times."""
    outcomes = live.run(in_order(tests, live.assistant.run_test, limit=concurrency))
    return [found for found, _ in outcomes]


def of(live: Live, *places: str) -> list[SuiteTest]:
    """The tests of some files."""
    tests = [test for test in live.suite().tests if test.file in places]
    assert {test.file for test in tests} == set(places)
    return tests


def by_id(found: Sequence[Conversation | FailedTest]) -> dict[str, Conversation | FailedTest]:
    return {entry.id: entry for entry in found}


def test_outcomes_do_not_depend_on_order_or_parallelism(open_example: Live) -> None:
    """Among these tests are validated slots, stubs, fixtures, metadata, and two tests of one name."""
    places = ("flights/changes.yml", "cars/availability.yml", "cars/membership.yml", "partners/availability.yml")
    tests = of(open_example, *places)

    one_by_one = by_id(run(open_example, tests, 1))
    reversed_order = by_id(run(open_example, tests[::-1], 1))
    at_once = by_id(run(open_example, tests, 32))

    assert all(isinstance(entry, Conversation) for entry in one_by_one.values())
    assert reversed_order == one_by_one
    assert at_once == one_by_one


def test_random_responses_do_not_depend_on_order_or_parallelism(finance: Project) -> None:
    """The template has responses in several variations, of which Rasa picks one by chance."""
    with finance.open() as live:
        tests = [test for test in live.suite().tests if test.file.startswith(SAYS_GOODBYE)]
        one_by_one = by_id(run(live, tests, 1))
        reversed_at_once = by_id(run(live, tests[::-1], 32))

    said = {
        event["text"]
        for entry in one_by_one.values()
        if isinstance(entry, Conversation)
        for event in entry.events
        if event["event"] == "bot" and event["metadata"].get("utter_action") == "utter_goodbye"
    }
    assert reversed_at_once == one_by_one
    assert len(said) > 1  # still not always the same one


def test_tests_at_the_same_time_have_each_their_own_stubs(open_example: Live, example: Project) -> None:
    stubbed = of(open_example, "cars/availability.yml", "partners/availability.yml")
    example.llm.llm.reset()

    found = run(open_example, stubbed * 4, 32)

    said = {(entry.id, car) for entry in found for car in cars_shown(entry)}
    assert said == {
        ("cars/availability.yml::cars of the stubbed company", "Stub - Small, Stub - Large"),
        ("partners/availability.yml::cars of the stubbed company", "Partner - Cabrio"),
    }
    assert len(found) == 4 * len(stubbed)
    assert example.llm.stats()["max_in_flight"] > 1


def cars_shown(entry: Conversation | FailedTest) -> list[str]:
    assert isinstance(entry, Conversation), entry
    slot = "car_rental_search_results_readable"
    return [event["value"] for event in entry.events if event.get("name") == slot and event["value"]]


def test_rasa_lets_a_validated_slot_of_one_conversation_spoil_the_next(
    example: Project, corrections: Path, validation_frames: list[Any]
) -> None:
    """What the isolation is for. When this fails, Rasa has mended it, and ours may go for that version."""
    suite = read_test_cases(str(corrections))
    flight, car = suite.test_cases
    with example.entered(), asyncio.Runner() as loop:
        runner = plain_runner(example)

        def passes(case: Any) -> bool:
            with example.at_home():
                (result,) = loop.run(runner.run_tests([case], suite.fixtures_per_test))
            passed: bool = result.pass_status
            return passed

        assert passes(car)
        assert passes(flight)
        assert [frame.validate for frame in validation_frames] == ["flight_search_start_date"]
        assert not passes(car)


def test_a_validated_slot_stays_in_its_own_conversation(
    open_example: Live, corrections: Path, validation_frames: list[Any]
) -> None:
    tests = open_example.assistant.read_suite(str(corrections)).tests

    found = run(open_example, [*tests, *tests[::-1], *tests], 1) + run(open_example, [*tests] * 4, 8)

    assert [entry for entry in found if isinstance(entry, FailedTest)] == []
    assert validation_frames == []


def test_rasa_is_as_before_once_the_assistant_is_closed(default: Project) -> None:
    from rasa.dialogue_understanding.generator import CompactLLMCommandGenerator

    def of_rasa() -> list[Any]:
        methods = [getattr(CompactLLMCommandGenerator, name) for name in HOOKED]
        functions = [
            rasa.core.processor.create_validate_frames_from_slot_set_events,
            command_processor.clean_up_commands,
        ]
        return methods + functions

    before = of_rasa()
    with default.open() as live:
        runner = live.assistant._runner
        parts = [live.assistant._generator, runner.agent, runner.agent.nlg, runner]
        during = of_rasa()
        run(live, live.suite().tests[:2], 2)
        after_run = of_rasa()
        assert set(HOOKED) <= vars(live.assistant._generator).keys()

    assert during[: len(HOOKED)] == after_run[: len(HOOKED)] == before[: len(HOOKED)]
    assert of_rasa() == before
    left_over = {name for part in parts for name, value in vars(part).items() if inspect.isroutine(value)}
    assert left_over == set()


def test_an_endpoints_file_that_has_changed_is_read_again(tmp_path: Path) -> None:
    from rasa.utils.endpoints import read_endpoint_config

    from rasa_ft_ext.rasa_pro.loading import forget_project

    file = tmp_path / "endpoints.yml"
    for url in ("http://one", "http://two"):
        file.write_text(f"action_endpoint: {{url: {url}}}\n", encoding="utf-8")
        found = read_endpoint_config(file, "action_endpoint")
        assert found is not None
        assert found.url == url
        forget_project(tmp_path)
