"""The order in which the examples of each side stand; what is kept of an example meanwhile is on disk."""

from __future__ import annotations

import random
import sqlite3
from array import array
from collections.abc import Iterable, Iterator
from itertools import groupby

from rasa_ft_ext.checks.entries import StoredEntries, StoredSide
from rasa_ft_ext.checks.findings import FILES, Side
from rasa_ft_ext.commands import Syntax
from rasa_ft_ext.conversation import Example
from rasa_ft_ext.example_file import ExampleFile
from rasa_ft_ext.split.assignment import Assignment, Group, example_order


class Order:
    """Which examples there are, and on which side.

    Args:
        examples: The examples.
        syntax: That of their labels.
        database: Remembers of each the test, and where it stands.
    """

    def __init__(self, examples: ExampleFile, syntax: Syntax, database: sqlite3.Connection) -> None:
        self._examples = examples
        self._syntax = syntax
        self._database = database
        database.execute("CREATE TABLE places (place INTEGER PRIMARY KEY, test TEXT, turn INTEGER, variant INTEGER)")
        database.execute("CREATE TABLE sides (test TEXT PRIMARY KEY, side TEXT, number INTEGER) WITHOUT ROWID")

    def examples(self) -> Iterator[Example]:
        """All examples as they stand in their file; each is noted."""
        insert = "INSERT OR REPLACE INTO places VALUES (?, ?, ?, ?)"
        for place, example in self._examples.placed():
            self._database.execute(insert, (place, example.test, example.turn, example.variant))
            yield example

    def undivided(self) -> StoredEntries:
        """All examples as if they were those of training."""
        every = StoredSide("train", FILES["train"], array("q", self._examples.places()))
        return StoredEntries(self._examples, [every], self._syntax)

    def assign(self, assignment: Assignment) -> None:
        """Note which side each test is on, and the number of its group there."""
        sides: tuple[tuple[Side, tuple[Group, ...]], ...] = (
            ("train", assignment.train),
            ("validation", assignment.validation),
        )
        rows = (
            (test, side, number)
            for side, groups in sides
            for number, group in enumerate(groups)
            for test in group.tests
        )
        self._database.executemany("INSERT INTO sides VALUES (?, ?, ?)", rows)

    def by_group(self) -> StoredEntries:
        """The examples of both sides, group by group."""
        return self._entries({side: array("q", self._places(side, "number, ")) for side in FILES})

    def drop(self, numbers: Iterable[int]) -> dict[Side, int]:
        """Leave out examples, by their numbers in `by_group`; return how many of each side."""
        places = {side: array("q", self._places(side, "number, ")) for side in FILES}
        counts: dict[Side, int] = dict.fromkeys(FILES, 0)
        for number in numbers:
            side: Side = "train" if number < len(places["train"]) else "validation"
            place = places[side][number if side == "train" else number - len(places["train"])]
            self._database.execute("DELETE FROM places WHERE place = ?", (place,))
            counts[side] += 1
        return counts

    def rows(self, seed: int) -> StoredEntries:
        """The rows of each side in their order: those of training as chance has it."""
        train = array("q", self._places("train"))
        random.Random(seed).shuffle(train)
        return self._entries({"train": train, "validation": array("q", self._places("validation"))})

    def _places(self, side: Side, before: str = "") -> Iterator[int]:
        """The places of a side's examples, in the order of `example_order`."""
        found = self._database.execute(
            f"SELECT {before} test, turn, variant, place FROM places JOIN sides USING (test) WHERE side = ? "
            f"ORDER BY {before} test, turn, variant, place",
            (side,),
        )
        for _, equal in groupby(found, key=lambda row: row[:-1]):
            same = [row[-1] for row in equal]
            if len(same) > 1:
                same.sort(key=lambda place: example_order(self._examples.at(place)))
            yield from same

    def _entries(self, places: dict[Side, array[int]]) -> StoredEntries:
        sides = [StoredSide(side, FILES[side], of_side) for side, of_side in places.items()]
        return StoredEntries(self._examples, sides, self._syntax)
