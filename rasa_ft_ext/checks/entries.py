"""What is checked: the rows of training data, each with what is known of where it comes from."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from rasa_ft_ext import commands as language
from rasa_ft_ext.checks.findings import FILES, Place, Side
from rasa_ft_ext.commands import Command, Syntax
from rasa_ft_ext.conversation import Example
from rasa_ft_ext.prompts import without_clock
from rasa_ft_ext.rows import read_rows
from rasa_ft_ext.workspace import DATASET, EXAMPLES, MANIFEST, SPLIT, Workspace

_SPOKEN = re.compile(r"^[ \t]*(USER|AI): ?(.*)$", re.MULTILINE)


@dataclass(frozen=True)
class Entry:
    """One row. `example` is what `dataset` says of it; None of a row that `dataset` did not make."""

    row: str
    side: Side | None
    prompt: str
    completion: str
    commands: tuple[Command, ...]
    example: Example | None = None

    @cached_property
    def place(self) -> Place:
        if self.example is None:
            return Place(row=self.row)
        return Place(test=self.example.test, turn=self.example.turn, variant=self.example.variant, row=self.row)

    @cached_property
    def said(self) -> tuple[str, ...]:
        """The user's messages up to the one that is answered, as the prompt shows them; none if it shows none."""
        return tuple(text for who, text in _SPOKEN.findall(self.prompt) if who == "USER")

    @cached_property
    def timeless(self) -> str:
        """The prompt without what a clock said."""
        return without_clock(self.prompt)

    @property
    def message(self) -> str:
        """The message that is answered; nothing where the prompt is of an unknown form."""
        if self.example is not None:
            return self.example.message
        return self.said[-1] if self.said else ""

    @cached_property
    def history(self) -> str:
        """The prompt from the conversation on; all of it where no conversation is to be seen."""
        first = _SPOKEN.search(self.prompt)
        return self.prompt[first.start() :] if first else self.prompt


def entries_of(sides: Mapping[Side, Sequence[Example]]) -> list[Entry]:
    """The rows that `split` is about to write, in their order."""
    return [
        _of_example(example, f"{FILES[side]} line {number}", side)
        for side, examples in sides.items()
        for number, example in enumerate(examples, 1)
    ]


def read_entries(workspace: Workspace) -> list[Entry]:
    """The rows of the split; the examples of the dataset where it is not split yet.

    Raises:
        WorkspaceError: there is no dataset, or it or the split was made from what is not there any more.
        ConfigError: a file of rows cannot be read.
    """
    workspace.fingerprint(DATASET)
    examples = workspace.examples()
    if not (workspace.folder(SPLIT) / MANIFEST).is_file():
        name = f"{DATASET}/{EXAMPLES}"
        return [_of_example(example, f"{name} line {number}", None) for number, example in enumerate(examples, 1)]
    workspace.fingerprint(SPLIT)
    known = {(example.prompt, example.completion): example for example in examples}
    syntax = workspace.card().syntax
    return [entry for side in FILES for entry in _read(workspace, side, known, syntax)]


def _read(
    workspace: Workspace, side: Side, known: Mapping[tuple[str, str], Example], syntax: Syntax
) -> Iterable[Entry]:
    for row in read_rows(workspace.folder(SPLIT) / FILES[side], may_be_empty=True):
        name = f"ft_splits/{row.name}"
        example = known.get((row.prompt, row.completion))
        if example is not None:
            yield _of_example(example, name, side)
        else:
            yield Entry(name, side, row.prompt, row.completion, language.read(row.completion, syntax))


def _of_example(example: Example, row: str, side: Side | None) -> Entry:
    return Entry(row, side, example.prompt, example.completion, example.commands, example)
