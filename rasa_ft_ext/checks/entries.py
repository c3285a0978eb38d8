"""What is checked: the rows of training data, each with what is known of where it comes from."""

from __future__ import annotations

import re
import sqlite3
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import overload

from rasa_ft_ext import commands as language
from rasa_ft_ext.checks.findings import FILES, Place, Side
from rasa_ft_ext.commands import Command, Syntax
from rasa_ft_ext.conversation import Example
from rasa_ft_ext.example_file import ExampleFile
from rasa_ft_ext.prompts import without_clock
from rasa_ft_ext.rows import row_at, stored_rows
from rasa_ft_ext.scratch import digest, scratch
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
    """The rows that would be written of these examples, in their order."""
    return [
        _of_example(example, f"{FILES[side]} line {number}", side)
        for side, examples in sides.items()
        for number, example in enumerate(examples, 1)
    ]


@dataclass(frozen=True)
class StoredSide:
    """Rows of one side that stand on disk, in their order.

    `places` are those of their examples; a row that `dataset` did not make has the place in `file` instead, as its
    negative less one. `name` is what the rows are called, and `lines` their numbers; None where they are counted from
    1.
    """

    side: Side | None
    name: str
    places: array[int]
    lines: array[int] | None = None
    file: Path | None = None


class StoredEntries(Sequence[Entry]):
    """Rows that stand on disk, each of which is read when it is looked at; in memory are only their places."""

    def __init__(self, examples: ExampleFile, sides: Sequence[StoredSide], syntax: Syntax) -> None:
        self._examples = examples
        self._sides = sides
        self._syntax = syntax

    def __len__(self) -> int:
        return sum(len(of.places) for of in self._sides)

    @overload
    def __getitem__(self, number: int) -> Entry: ...
    @overload
    def __getitem__(self, number: slice) -> Sequence[Entry]: ...
    def __getitem__(self, number: int | slice) -> Entry | Sequence[Entry]:
        if isinstance(number, slice):
            return [self[at] for at in range(*number.indices(len(self)))]
        for of in self._sides:
            if number < len(of.places):
                return self._entry(of, number)
            number -= len(of.places)
        raise IndexError(number)

    def _entry(self, of: StoredSide, number: int) -> Entry:
        place = of.places[number]
        name = f"{of.name} line {of.lines[number] if of.lines is not None else number + 1}"
        if place >= 0 or of.file is None:
            return _of_example(self._examples.at(place), name, of.side)
        row = row_at(of.file, -place - 1)
        return Entry(name, of.side, row.prompt, row.completion, language.read(row.completion, self._syntax))


def read_entries(workspace: Workspace) -> StoredEntries:
    """The rows of the split; the examples of the dataset where it is not split yet.

    Raises:
        WorkspaceError: there is no dataset, or it or the split was made from what is not there any more.
        ConfigError: a file of rows cannot be read.
    """
    workspace.fingerprint(DATASET)
    examples, syntax = ExampleFile(workspace), workspace.card().syntax
    if not (workspace.folder(SPLIT) / MANIFEST).is_file():
        every = StoredSide(None, f"{DATASET}/{EXAMPLES}", array("q", examples.places()))
        return StoredEntries(examples, [every], syntax)
    workspace.fingerprint(SPLIT)
    with scratch() as database:
        database.execute("CREATE TABLE known (row BLOB PRIMARY KEY, place INTEGER) WITHOUT ROWID")
        known = ((digest(of.prompt, of.completion), place) for place, of in examples.placed())
        database.executemany("INSERT OR REPLACE INTO known VALUES (?, ?)", known)
        return StoredEntries(examples, [_side(workspace, side, database) for side in FILES], syntax)


def _side(workspace: Workspace, side: Side, database: sqlite3.Connection) -> StoredSide:
    file = workspace.folder(SPLIT) / FILES[side]
    places, lines = array("q"), array("q")
    for place, row in stored_rows(file, may_be_empty=True):
        query = database.execute("SELECT place FROM known WHERE row = ?", (digest(row.prompt, row.completion),))
        found = query.fetchone()
        places.append(found[0] if found else -place - 1)
        lines.append(int(row.name.rpartition(" ")[2]))
    return StoredSide(side, FILES[side], places, lines, file)


def _of_example(example: Example, row: str, side: Side | None) -> Entry:
    return Entry(row, side, example.prompt, example.completion, example.commands, example)
