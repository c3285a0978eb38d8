"""The shipped example on real Rasa: a run of `annotate` that is interrupted, and the one that goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("rasa")

from rasa_ft_ext.annotate.stage import annotate
from rasa_ft_ext.errors import LLMUnavailableError
from rasa_ft_ext.rasa_pro.assistant import RasaAssistant
from rasa_ft_ext.workspace import ANNOTATIONS, Workspace, read_annotations
from tests.rasa_pro.projects import REPOSITORY, Project

RECORDED = REPOSITORY / "assistant_example" / "annotations"
PLACES = ("cars/availability.yml", "flights/changes.yml", "small_talk/small_talk.yml")


class Counted:
    """The assistant, whose LLM is gone when a test too many is to be run."""

    def __init__(self, assistant: RasaAssistant, most: int) -> None:
        self.card, self.flow_map = assistant.card, assistant.flow_map
        self.run = 0
        self._assistant, self._most = assistant, most

    async def run_test(self, test: Any) -> Any:
        if self.run == self._most:
            raise LLMUnavailableError("nobody answers")
        self.run += 1
        return await self._assistant.run_test(test)


def test_an_interrupted_run_goes_on_and_comes_to_what_was_recorded(example: Project, tmp_path: Path) -> None:
    with example.open(stubbed=True) as live:
        suite = live.suite()
        files = [file for file in suite.files if file.file in PLACES]
        tests = [test for test in suite.tests if test.file in PLACES]
        first, second = Counted(live.assistant, len(tests) - 2), Counted(live.assistant, 1_000)
        with pytest.raises(LLMUnavailableError):
            live.run(annotate(Workspace(tmp_path), first, files, tests, concurrency=4))
        assert not (tmp_path / ANNOTATIONS).exists()
        live.run(annotate(Workspace(tmp_path), second, files, tests, concurrency=4))

    assert second.run < len(tests) <= first.run + second.run
    recorded = [file for file in read_annotations(RECORDED) if file.source.file in PLACES]
    assert list(read_annotations(tmp_path / ANNOTATIONS)) == recorded
