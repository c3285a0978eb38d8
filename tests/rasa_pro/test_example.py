"""The shipped example, live: its recorded annotations are still what Rasa gives, and runs repeat to the byte."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("rasa")

from rasa_ft_ext import prepare_data
from rasa_ft_ext.annotate.stage import annotate
from rasa_ft_ext.assistant.recorded import RecordedAssistant
from rasa_ft_ext.conversation import AssistantCard, Usage
from rasa_ft_ext.llm.base import LLM, Completion, Readable
from rasa_ft_ext.llm.cache import FILE as ANSWERS
from rasa_ft_ext.llm.opening import COSTS
from rasa_ft_ext.workspace import ANNOTATIONS, MANIFEST, TIMINGS, Workspace, read_annotations, read_card
from tests.rasa_pro.projects import REPOSITORY, Project

RECORDED = REPOSITORY / "assistant_example" / "annotations"


def test_the_recording_is_what_rasa_gives(example: Project, tmp_path: Path) -> None:
    """If this fails, the assistant, its tests, its answers or Rasa changed: run scripts/record_example.py."""
    with example.open(stubbed=True) as live:
        suite = live.suite()
        summary = live.run(annotate(Workspace(tmp_path), live.assistant, suite.files, suite.tests))

    assert not summary.failed
    assert list(read_annotations(tmp_path / ANNOTATIONS)) == list(read_annotations(RECORDED))
    assert without_place(read_card(tmp_path / ANNOTATIONS)) == without_place(read_card(RECORDED))


def without_place(card: AssistantCard) -> dict[str, Any]:
    facts = card.model_dump(exclude={"model", "fingerprint"})
    facts["llm"].pop("api_base")
    return facts


class Silent(LLM):
    """Answers nothing; the prompt is what counts."""

    @property
    def settings(self) -> dict[str, Any]:
        return {}

    async def complete(self, prompt: str, *, sample: int = 0, readable: Readable | None = None) -> Completion:
        return Completion("", Usage())


def test_the_recorded_assistant_asks_what_the_live_one_asks(example: Project) -> None:
    """In every state of every test, the prompt for another message is the same, to the byte."""
    message = "I'd like to book a car"  # the scripted LLM knows it whatever was asked
    recorded = RecordedAssistant(read_card(RECORDED), Silent())
    with example.open(stubbed=True) as live:
        for file in read_annotations(RECORDED):
            for conversation in file.conversations:
                for turn, _ in conversation.annotated:
                    asked = live.run(live.assistant.ask(conversation, turn, message))
                    rendered = live.run(recorded.ask(conversation, turn, message))
                    assert asked.prompt == rendered.prompt


def test_the_same_bytes_at_concurrency_1_and_32(example: Project, tmp_path: Path) -> None:
    found, tests = [], tmp_path / "e2e_tests"
    for name in ("conftest.yml", "cars/availability.yml", "cars/corrections.yml", "cars/membership.yml"):
        tests.joinpath(name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(example.tests / name, tests / name)
    for limit in (1, 32):
        out = tmp_path / str(limit)
        with example.entered(), example.at_home():
            prepare_data(tests, project=example.path, out=out, num_rephrases=2, concurrency=limit)
        found.append(contents(out))
    assert found[0] == found[1]
    assert any(b'"made_by": "simulated"' in content for content in found[0].values())


def contents(out: Path) -> dict[str, bytes]:
    """All files of a run by their path, but what a clock says (the cache keeps how long each call took) and
    `params.yaml`, which names folder and concurrency."""
    left_out = {TIMINGS, ANSWERS, COSTS, "params.yaml"}
    files = [path for path in sorted(out.rglob("*")) if path.is_file() and path.name not in left_out]
    assert any(path.name == MANIFEST for path in files)
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in files}
