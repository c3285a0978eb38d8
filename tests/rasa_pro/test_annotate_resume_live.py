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
        first, second = Counted(live.assistant, 40), Counted(live.assistant, 1_000)
        with pytest.raises(LLMUnavailableError):
            live.run(annotate(Workspace(tmp_path), first, suite.files, suite.tests, concurrency=4))
        assert not (tmp_path / ANNOTATIONS).exists()
        live.run(annotate(Workspace(tmp_path), second, suite.files, suite.tests, concurrency=4))

    assert second.run < len(suite.tests) <= first.run + second.run
    assert list(read_annotations(tmp_path / ANNOTATIONS)) == list(read_annotations(RECORDED))
