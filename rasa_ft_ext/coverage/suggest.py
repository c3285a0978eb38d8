"""Suggest E2E tests for what the coverage lacks: paths, messages, files; each gap and command is told its test."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rasa_ft_ext.commands import Syntax
from rasa_ft_ext.coverage.command_drafts import command_drafts
from rasa_ft_ext.coverage.count import RASAS_NAMES, Tested, untaken_behind
from rasa_ft_ext.coverage.drafts import Draft, drafts
from rasa_ft_ext.coverage.paths import find_paths
from rasa_ft_ext.coverage.suggested import named, write_suggested
from rasa_ft_ext.coverage.values import values_of
from rasa_ft_ext.coverage.wording import worded
from rasa_ft_ext.coverage_results import Coverage
from rasa_ft_ext.errors import WorkspaceError
from rasa_ft_ext.flow_map import FlowMap
from rasa_ft_ext.llm.base import LLM

Suggest = Literal["drafts", "llm"]


@dataclass(frozen=True)
class Suggester:
    """How tests are suggested: their messages drafted from descriptions, or worded by an LLM.

    `notes` are to be told with the results.
    """

    llm: LLM | None = None
    concurrency: int = 16
    notes: tuple[str, ...] = ()

    def suggest(
        self,
        coverage: Coverage,
        flows: FlowMap,
        tests: Sequence[Tested],
        *,
        syntax: Syntax,
        folder: Path,
        times: int = 1,
    ) -> Coverage:
        """Write the suggestions into `folder`, and name them in the coverage. Not within an event loop.

        Args:
            coverage: What was counted.
            flows: The assistant's flows.
            tests: The passing tests, whose values for slots are taken again.
            syntax: The syntax in which the files say what commands a message should give.
            folder: Where the results of the count go.
            times: How often each command should occur.

        Raises:
            WorkspaceError: the folder cannot be written.
        """
        found, unmade = _drafted(coverage, flows, tests, times)
        notes = [*self.notes, *unmade]
        if self.llm is not None and found:
            found, more = asyncio.run(self._worded(self.llm, found))
            notes += more
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise WorkspaceError(f"{folder} cannot be made: {error.strerror or error}.") from error
        write_suggested(folder, found, syntax)
        return named(coverage, found, folder).model_copy(update={"notes": (*coverage.notes, *notes)})

    async def _worded(self, llm: LLM, found: list[Draft]) -> tuple[list[Draft], list[str]]:
        try:
            return await worded(found, llm, concurrency=self.concurrency)
        finally:
            await llm.close()


def _drafted(coverage: Coverage, flows: FlowMap, tests: Sequence[Tested], times: int) -> tuple[list[Draft], list[str]]:
    """Tests for gaps, and for commands that are still too few with them; and notes."""
    values = values_of(flows, tests)
    paths = find_paths(flows, coverage.gaps, values, untaken_behind(flows, coverage.gaps))
    found = drafts(flows, list(paths))
    given = Counter(RASAS_NAMES[turn.command.type] for draft in found for turn in draft.turns)
    then = [entry.model_copy(update={"count": entry.count + given[entry.name]}) for entry in coverage.commands]
    more, notes = command_drafts(flows, then, times=times, values=values)
    return [*found, *more], notes
