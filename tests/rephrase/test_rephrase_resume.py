"""A run of `rephrase` that ends early: what is kept, and what the next run still does."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from rasa_ft_ext.conversation import Conversation
from rasa_ft_ext.errors import LLMAnswerError, LLMError, LLMUnavailableError
from rasa_ft_ext.rephrase.config import default_template
from rasa_ft_ext.rephrase.noise import Noise
from rasa_ft_ext.rephrase.stage import RephraseSummary, rephrase
from rasa_ft_ext.rephrase.variety import Variety
from rasa_ft_ext.workspace import ANNOTATIONS, REPHRASINGS, TIMINGS, Workspace
from tests.builders import contents
from tests.rephrase.rephrase_builders import (
    CAR_DIALOG,
    FakeAssistant,
    FakeRephraser,
    annotated,
    conversation,
    numbered_copies,
)

ALL_OF_IT = Variety(
    substitute_slots=2, values={"city": ("Bern", "Zurich")}, noise=Noise(("casing",), 0.7), self_consistency=3
)
ANSWERS = {"to Bern": "set slot city Bern", "to Zurich": "set slot city Zurich"}


def suite() -> list[Conversation]:
    """Six tests in five files, one of them without anything to rephrase."""
    names = ["a", "b", "c", "d"]
    found = [conversation(f"{name}.yml", f"test {name}", CAR_DIALOG) for name in names]
    return [
        *found,
        conversation("d.yml", "test e", CAR_DIALOG),
        conversation("e.yml", "test f", CAR_DIALOG, typed=False),
    ]


async def run(workspace: Workspace, assistant: Any = None, llm: Any = None, **options: Any) -> RephraseSummary:
    given = {"num_rephrases": 2, "template": default_template(), **options}
    return await rephrase(workspace, assistant or FakeAssistant(ANSWERS.get), llm or FakeRephraser(), **given)


def failing_at(name: str, error: LLMError) -> FakeRephraser:
    def reply(prompt: str) -> str:
        if f"test {name}" in prompt:
            raise error
        return numbered_copies(prompt)

    return FakeRephraser(reply)


def names_in(prompts: list[str]) -> list[str]:
    return [name for prompt in prompts for name in "abcdef" if f"test {name}" in prompt]


@pytest.mark.parametrize("concurrency", [1, 3])
async def test_the_next_run_asks_for_the_rest_and_comes_to_the_same(tmp_path: Path, concurrency: int) -> None:
    whole = annotated(tmp_path / "whole", *suite())
    summary = await run(whole, variety=ALL_OF_IT)
    other = annotated(tmp_path / "other", *suite())

    gone = LLMUnavailableError("nobody answers")
    with pytest.raises(LLMUnavailableError, match="nobody answers"):
        await run(other, llm=failing_at("c", gone), variety=ALL_OF_IT, concurrency=concurrency)
    assert not other.folder(REPHRASINGS).exists()
    llm, assistant = FakeRephraser(), FakeAssistant(ANSWERS.get)
    again = await run(other, assistant, llm, variety=ALL_OF_IT, concurrency=concurrency)

    assert again == summary
    assert set(names_in(llm.prompts)) <= set("abcde")
    if concurrency == 1:
        assert names_in(llm.prompts) == ["c", "d", "e"]
        assert {asked[0] for asked in assistant.asked} == {
            "c.yml::test c",
            "d.yml::test d",
            "d.yml::test e",
            "e.yml::test f",
        }
    assert contents(other.root, without=[TIMINGS]) == contents(whole.root, without=[TIMINGS])


async def test_of_the_llms_that_judge_one_that_is_gone_ends_the_run_as_well(tmp_path: Path) -> None:
    def gone(message: str) -> str:
        raise LLMUnavailableError("nobody answers")

    workspace, assistant = annotated(tmp_path, *suite()), FakeAssistant(gone)
    with pytest.raises(LLMUnavailableError, match="nobody answers"):
        await run(workspace, assistant, concurrency=2)
    assert len(assistant.asked) <= 8
    assert os.listdir(tmp_path) == [ANNOTATIONS]


async def test_a_test_file_in_which_a_call_failed_for_good_is_made_again(tmp_path: Path) -> None:
    whole = annotated(tmp_path / "whole", *suite())
    await run(whole)
    other = annotated(tmp_path / "other", *suite())

    def reply(prompt: str) -> str:
        if "test c" in prompt:
            raise LLMUnavailableError("nobody answers")
        if "test a" in prompt:
            raise LLMError("HTTP 400")
        return numbered_copies(prompt)

    with pytest.raises(LLMUnavailableError):
        await run(other, llm=FakeRephraser(reply), concurrency=1)
    llm = FakeRephraser()
    assert (await run(other, llm=llm)).failed_calls == 0
    assert names_in(llm.prompts) == ["a", "c", "d", "e"]
    assert contents(other.root, without=[TIMINGS]) == contents(whole.root, without=[TIMINGS])


async def test_only_what_is_under_way_is_in_memory(tmp_path: Path) -> None:
    conversations = [conversation(f"{number:03}.yml", f"test {number}", CAR_DIALOG) for number in range(60)]
    workspace = annotated(tmp_path, *conversations)
    begun: set[str] = set()

    class Slow(FakeAssistant):
        """The first conversation does not end before others have had every chance to run ahead."""

        async def ask(self, conversation: Conversation, turn: int, message: str, *, sample: int = 0) -> Any:
            begun.add(conversation.id)
            if conversation.id.startswith("000"):
                for _ in range(500):
                    await asyncio.sleep(0)
                ahead.append(len(begun))
            return await super().ask(conversation, turn, message, sample=sample)

    ahead: list[int] = []
    await run(workspace, Slow(), in_flight=4)
    assert max(ahead) <= 4 + 4 * 4  # those under way, and those that are done and wait
    assert len(begun) == 60


async def test_the_rephrasers_answer_is_asked_for_again_as_long_as_nothing_can_be_read(tmp_path: Path) -> None:
    class Asked(FakeRephraser):
        async def complete(self, prompt: str, *, sample: int = 0, readable: Any = None) -> Any:
            told.append([readable(numbered_copies(prompt)), readable("I cannot help."), readable("")])
            return await super().complete(prompt)

    told: list[list[bool]] = []
    await run(annotated(tmp_path, conversation("a.yml", "test a", CAR_DIALOG)), llm=Asked())
    assert told == [[True, False, False]]


async def test_answers_to_the_same_message_are_told_apart_by_their_numbers(tmp_path: Path) -> None:
    """The first answer to a message itself is the recorded one, so asking again begins with the second."""
    asked: dict[str, list[int]] = {}

    class Numbered(FakeAssistant):
        async def ask(self, conversation: Conversation, turn: int, message: str, *, sample: int = 0) -> Any:
            asked.setdefault(message, []).append(sample)
            return await super().ask(conversation, turn, message, sample=sample)

    workspace = annotated(tmp_path, conversation("a.yml", "test a", CAR_DIALOG))
    await run(workspace, Numbered(), num_rephrases=1, variety=Variety(self_consistency=3))
    assert asked["to Basel A"] == [0, 1, 2]
    assert asked["to Basel"] == [1, 2, 3]


async def test_calls_that_all_fail_end_the_run_early(tmp_path: Path) -> None:
    workspace = annotated(tmp_path, *(conversation(f"{n}.yml", f"test {n}", CAR_DIALOG) for n in range(90)))
    llm = FakeRephraser(lambda prompt: (_ for _ in ()).throw(LLMError("HTTP 400")))
    with pytest.raises(LLMError, match=r"All 20 calls to the rephraser failed\. The first one: HTTP 400") as raised:
        await run(workspace, llm=llm, concurrency=4)
    assert not isinstance(raised.value, LLMAnswerError)
    assert len(llm.prompts) < 50
