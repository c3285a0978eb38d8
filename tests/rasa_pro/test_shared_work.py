"""Rasa's own LLM call under faults, from the cache, and for several processes: the recording comes out each time."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("rasa")

from rasa_ft_ext.assistant.base import Simulation
from rasa_ft_ext.concurrency import in_order
from rasa_ft_ext.conversation import AnnotatedFile, Conversation, FailedTest
from rasa_ft_ext.llm.cache import Cache
from rasa_ft_ext.llm.faults import Policy
from rasa_ft_ext.llm.gateway import Gateway
from rasa_ft_ext.llm.scripted.faults import Faults
from rasa_ft_ext.llm.scripted.server import scripted_llm
from rasa_ft_ext.rasa_pro.assistant import RasaAssistant
from rasa_ft_ext.rasa_pro.workers import load_shared
from rasa_ft_ext.workers.assistant import WorkersAssistant
from rasa_ft_ext.workspace import read_annotations
from tests.rasa_pro.projects import REPOSITORY, Live, Project

RECORDED = REPOSITORY / "assistant_example" / "annotations"
PLACES = ("cars/availability.yml", "flights/changes.yml")


def recorded() -> list[AnnotatedFile]:
    return [file for file in read_annotations(RECORDED) if file.source.file in PLACES]


def conversations() -> list[Conversation]:
    return [conversation for file in recorded() for conversation in file.conversations]


async def run_tests(assistant: RasaAssistant | WorkersAssistant, path: Path) -> list[Conversation | FailedTest]:
    """Run the tests of some files; what comes back has no times."""
    from rasa_ft_ext.rasa_pro.suite import read_suite

    tests = [test for test in read_suite(path).tests if test.file in PLACES]
    outcomes = await in_order(tests, assistant.run_test, limit=16)
    assert any(second for _, seconds in outcomes for second in seconds if second is not None)
    return [found for found, _ in outcomes]


def test_faults_of_every_kind_change_nothing_and_kept_answers_are_the_same(example: Project, tmp_path: Path) -> None:
    """Of the second run every answer is kept: usage, model and text are those of the call."""
    cache = Cache(tmp_path)
    gateway = Gateway(cache=cache, policy=Policy(first_wait=0.01, longest_wait=0.1))
    faults = Faults(share=0.3, retry_after=0.01, straggle=0.2, seed=3)
    with scripted_llm(example.answers, faults=faults) as llm:
        project = dataclasses.replace(example, environment={**example.environment, "SCRIPTED_LLM_URL": llm.base_url})
        with project.open(stubbed=True, gateway=gateway, timeout=1.0) as live:
            assert live.run(run_tests(live.assistant, project.tests)) == conversations()
            stats, requests = llm.stats(), len(llm.requests)
            assert live.run(run_tests(live.assistant, project.tests)) == conversations()
            assert len(llm.requests) == requests
    cache.close()
    assert len(stats["faults"]) > 4


def test_a_judged_answer_is_taken_as_it_is(example: Project) -> None:
    """What is measured is the model, not what it says when it is asked again."""
    with scripted_llm(example.answers, faults=Faults(share=1.0, kinds=("wrong-format",))) as llm:
        project = dataclasses.replace(example, environment={**example.environment, "SCRIPTED_LLM_URL": llm.base_url})
        with project.open(stubbed=True) as live:
            played = live.run(live.assistant.play(first_test(live)))
    assert played.reason is not None
    assert len(llm.requests) == len(played.seconds)


def first_test(live: Live) -> object:
    return next(test for test in live.suite().tests if test.file in PLACES)


def test_two_processes_give_what_one_gives(example: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests, answers to other messages, conversations that are run again."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))

    async def work(assistant: RasaAssistant | WorkersAssistant) -> list[object]:
        found = await run_tests(assistant, example.tests)
        sources = [(file.source, conversation) for file in recorded() for conversation in file.conversations[:2]]
        asked = [(conversation, turn) for _, conversation in sources for turn, _ in conversation.annotated]
        answers = await in_order(asked, lambda job: assistant.ask(*job, "I'd like to book a car"), limit=8)
        again = await in_order(sources, lambda job: simulated(assistant, *job), limit=8)
        assert any(simulation.prompts for simulation in again)
        return [*found, *answers, *again]

    with example.entered(), example.at_home():
        assistant = load_shared(example.path, workers=2, stubbed=True)
        assert isinstance(assistant, WorkersAssistant)
        together, alone = asyncio.run(both(assistant, work))
    assert together == alone


async def simulated(
    assistant: RasaAssistant | WorkersAssistant, source: object, conversation: Conversation
) -> Simulation:
    messages = [turn.message for turn in conversation.turns]
    labels = [turn.annotation.labels if turn.annotation else None for turn in conversation.turns]
    return await assistant.simulate(source, conversation, messages, labels)  # type: ignore[arg-type]


async def both(assistant: WorkersAssistant, work: Callable[[Any], Awaitable[list[object]]]) -> Any:
    """What the workers give, and what the assistant of this process gives by itself."""
    try:
        return await work(assistant), await work(assistant._inner)
    finally:
        await assistant.close()
