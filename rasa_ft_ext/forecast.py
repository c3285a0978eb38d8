"""What the calls of a run cost at most, given what its output folder holds already, and whether that is agreed to.

    forecast = Forecast(workspace, calls, confirm)
    forecast.of_tests(suite.files, suite.tests, assistant, rephrasing)      # raises what `confirm` raises

A stage whose results are there is not run again, and neither is a test file that an interrupted run was through with:
so they cost nothing.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from rasa_ft_ext.annotate import stage as annotating
from rasa_ft_ext.annotate.stage import Test
from rasa_ft_ext.conversation import AssistantCard, TestFile
from rasa_ft_ext.errors import ConfigError
from rasa_ft_ext.estimation import Rephrasing, Talk, of_annotating, talks_of_conversations, talks_of_tests
from rasa_ft_ext.flow_map import FlowMap
from rasa_ft_ext.llm.estimate import Confirm, Estimate, Expected
from rasa_ft_ext.llm.opening import Calls
from rasa_ft_ext.workspace import ANNOTATIONS, MANIFEST, REPHRASINGS, Workspace, read_annotations


class Known(Protocol):
    """What must be known of an assistant whose tests have not been run."""

    @property
    def card(self) -> AssistantCard: ...
    @property
    def flow_map(self) -> FlowMap: ...


@dataclass(frozen=True)
class Forecast:
    """See the module.

    Args:
        workspace: The output folder.
        calls: How calls are made, and at which prices.
        confirm: Is shown the estimate; None: nobody is.
    """

    workspace: Workspace
    calls: Calls
    confirm: Confirm | None

    def of_tests(
        self,
        files: Sequence[TestFile],
        tests: Sequence[Test],
        assistant: Known,
        rephrasing: Rephrasing | None = None,
    ) -> None:
        """Tests that are to be run on an assistant, and what comes after them.

        Raises:
            ForeignResultsError: the folder holds the results of another run.
        """
        if self._is_idle:
            return
        workspace, card = self.workspace, assistant.card
        key = annotating.key_of(files, tests, card)
        if workspace.is_done(ANNOTATIONS, key):
            if rephrasing is not None:
                self.of_annotations(workspace.folder(ANNOTATIONS), rephrasing)
            else:
                self._agree(())
            return
        template = rephrasing.config.template if rephrasing else ""
        done = workspace.parts_done(ANNOTATIONS, key)
        talks = list(talks_of_tests([test.raw for test in tests], card, assistant.flow_map, template))
        to_run = [talk for test, talk in zip(tests, talks, strict=True) if test.file not in done]
        annotated = of_annotating(to_run, card, self.calls.ledger.prices)
        self._agree((*annotated, *(rephrasing.expected(talks) if rephrasing else ())))

    def of_annotations(self, folder: Path, rephrasing: Rephrasing) -> None:
        """Annotated conversations whose messages are to be rephrased.

        Raises:
            ForeignResultsError: the folder holds the results of another run.
        """
        if self._is_idle:
            return
        done: frozenset[str] = frozenset()
        if (self.workspace.folder(ANNOTATIONS) / MANIFEST).is_file():
            key = rephrasing.key(self.workspace)
            if self.workspace.is_done(REPHRASINGS, key):
                self._agree(())
                return
            done = self.workspace.parts_done(REPHRASINGS, key)
        self._agree(rephrasing.expected(list(self._talks(folder, rephrasing, done))))

    @property
    def _is_idle(self) -> bool:
        """Whether nobody wants to know."""
        return self.confirm is None and self.calls.options.max_cost is None

    def _talks(self, folder: Path, rephrasing: Rephrasing, done: Container[str]) -> Iterator[Talk]:
        config, cache = rephrasing.config, self.calls.cache

        def has(prompt: str) -> bool:
            return cache is not None and cache.has(config.llm.known_as, prompt)

        for file in read_annotations(folder):
            if file.source.file not in done:
                yield from talks_of_conversations(file.conversations, rephrasing.num_rephrases, config.template, has)

    def _agree(self, lines: tuple[Expected, ...]) -> None:
        estimate = Estimate(lines)
        if self.calls.options.max_cost is not None and estimate.unknown:
            problem = (
                f"--max-cost cannot be kept to: the price of {' and '.join(estimate.unknown)} is not known. Give it "
                "with --price-per-1k IN:OUT, in dollars for 1,000 tokens of prompts and of answers."
            )
            raise ConfigError("cost", [problem])
        if self.confirm is not None:
            self.confirm(estimate)
