"""Rasa's own project templates through `annotate`: no test is lost, no event misaligned, and every way to a prompt
gives the same prompt."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("rasa")

from rasa_ft_ext.annotate.stage import AnnotateSummary, annotate
from rasa_ft_ext.conversation import Conversation, TestFile, Turn
from rasa_ft_ext.prompts import render
from rasa_ft_ext.rasa_pro.suite import Suite
from rasa_ft_ext.workspace import Workspace
from tests.rasa_pro.projects import Live, Project, plain_runner

CANNOT_PASS = {
    "default": {
        # A text slot is compared with `true`, which no value of it ever is.
        "happy_paths/user_removes_contact.yml::user removes a contact",
        # Waits for utter_can_do_something_else, which the assistant's pattern_completed does not say any more.
        "happy_paths/user_removes_contact_from_list.yml::user removes a contact using contact list",
    },
    "finance": {
        # Wants a generated text and an LLM that judges whether it is grounded.
        "without_stub/general/patterns.yml::test pattern search",
    },
}


@dataclass(frozen=True)
class Annotated:
    """A template after `annotate`. `verdicts` says of each test whether it passes alone with Rasa's own runner."""

    name: str
    live: Live
    suite: Suite
    verdicts: dict[str, bool]
    summary: AnnotateSummary
    conversations: dict[str, tuple[TestFile, Conversation]]

    @property
    def turns(self) -> Iterator[tuple[TestFile, Conversation, int, Turn]]:
        for source, conversation in self.conversations.values():
            for index, turn in enumerate(conversation.turns):
                yield source, conversation, index, turn


@pytest.fixture(scope="module", params=["default", "finance"])
def annotated(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Annotated]:
    project: Project = request.getfixturevalue(request.param)
    verdicts = verdicts_of_rasa(project)
    workspace = Workspace(tmp_path_factory.mktemp("output"))
    with project.open() as live:
        suite = live.suite()
        summary = live.run(annotate(workspace, live.assistant, suite.files, suite.tests, concurrency=16))
        conversations = {
            conversation.id: (file.source, conversation)
            for file in workspace.annotations()
            for conversation in file.conversations
        }
        yield Annotated(request.param, live, suite, verdicts, summary, conversations)


def verdicts_of_rasa(project: Project) -> dict[str, bool]:
    """Run the tests one by one with Rasa's own reader and runner."""
    import asyncio

    from rasa.e2e_test.utils.io import read_test_cases

    suite = read_test_cases(str(project.tests))
    verdicts = {}
    with project.entered(), asyncio.Runner() as loop:
        runner = plain_runner(project)
        for case in suite.test_cases:
            with project.at_home():
                work = runner.run_tests([case], suite.fixtures_per_test, input_metadata=suite.metadata)
                (result,) = loop.run(work)
            file = Path(case.file).resolve().relative_to(project.tests.resolve())
            verdicts[f"{file.as_posix()}::{case.name}"] = result.pass_status
    return verdicts


def test_the_tests_that_pass_are_those_that_pass_alone_with_rasas_own_runner(annotated: Annotated) -> None:
    passing = {test for test, passes in annotated.verdicts.items() if passes}

    assert set(annotated.conversations) == passing
    assert annotated.verdicts.keys() - passing == CANNOT_PASS[annotated.name]


def test_no_test_is_lost(annotated: Annotated) -> None:
    failed = {entry.id: entry.reason for entry in annotated.summary.failed}
    found = [*annotated.conversations, *failed]

    assert sorted(found) == sorted(annotated.verdicts) == sorted(test.id for test in annotated.suite.tests)
    assert annotated.summary.tests == annotated.summary.passed + len(failed) == len(found)
    assert all(failed.values())


def test_no_user_step_is_without_a_turn(annotated: Annotated) -> None:
    for _, conversation in annotated.conversations.values():
        steps = conversation.test_case["steps"]
        said = {index: step["user"] for index, step in enumerate(steps) if str(step.get("user") or "").strip()}

        assert {turn.step: turn.message for turn in conversation.turns} == said


def test_every_typed_user_step_is_annotated_or_says_why_not(annotated: Annotated) -> None:
    for _, conversation, _, turn in annotated.turns:
        where = f"{conversation.id}: {turn.message}"
        assert (turn.annotation is None) == bool(turn.unannotated), where
        assert turn.annotation is not None or not turn.typed, where  # only payloads need no LLM in these projects
        assert turn.typed != turn.message.startswith("/"), where


def test_every_turn_points_to_its_own_event_and_its_own_prompt(annotated: Annotated) -> None:
    for _, conversation, index, turn in annotated.turns:
        event = conversation.events[turn.events_before]
        assert (event["event"], event["text"]) == ("user", turn.message)
        before = [entry for entry in conversation.events[: turn.events_before] if entry["event"] == "user"]
        assert len(before) == index
        if turn.annotation is not None:
            assert transcript(turn.annotation.prompt)[-1] == f"USER: {turn.message}"
            assert (
                said_by_user(turn.annotation.prompt)
                == [entry["text"] for entry in [*before, event]][-len(before) - 1 :]
            )


def test_variables_and_template_give_every_prompt_again(annotated: Annotated) -> None:
    assert all(turn.annotation.renders for _, _, _, turn in annotated.turns if turn.annotation is not None)


def test_asking_again_gives_the_recorded_prompt_and_commands(annotated: Annotated) -> None:
    for _, conversation, index, turn in annotated.turns:
        if turn.annotation is not None:
            answer = annotated.live.run(annotated.live.assistant.ask(conversation, index, turn.message))
            assert answer.prompt == turn.annotation.prompt
            assert answer.commands == turn.annotation.commands


def test_simulating_the_same_conversation_gives_the_recorded_prompts(annotated: Annotated) -> None:
    for source, conversation in annotated.conversations.values():
        recorded = {index: turn.annotation.prompt for index, turn in conversation.annotated if turn.annotation}
        simulation = simulate(annotated, source, conversation, [turn.message for turn in conversation.turns])

        assert simulation.diverged is None
        assert simulation.prompts == recorded


def test_rendering_and_simulating_give_the_same_prompts_for_other_wordings(annotated: Annotated) -> None:
    templates = annotated.live.assistant.card.templates
    for source, conversation in annotated.conversations.values():
        messages = [f"Well: {turn.message}" if turn.typed else turn.message for turn in conversation.turns]
        simulation = simulate(annotated, source, conversation, messages)
        rendered = {
            index: render(templates[turn.annotation.template], turn.annotation.variables, messages)
            for index, turn in conversation.annotated
            if turn.annotation is not None
        }

        assert simulation.diverged is None
        assert simulation.prompts == rendered


def simulate(annotated: Annotated, source: TestFile, conversation: Conversation, messages: list[str]) -> Any:
    labels = [turn.annotation.labels if turn.annotation else None for turn in conversation.turns]
    return annotated.live.run(annotated.live.assistant.simulate(source, conversation, messages, labels))


def transcript(prompt: str) -> list[str]:
    """The lines of a prompt that begin with a speaker."""
    return [line for line in prompt.splitlines() if line.startswith(("USER: ", "AI: "))]


def said_by_user(prompt: str) -> list[str]:
    return [line.removeprefix("USER: ") for line in transcript(prompt) if line.startswith("USER: ")]
