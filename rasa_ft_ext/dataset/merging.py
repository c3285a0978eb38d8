"""Put the examples of all test files together: each prompt with its completion once, with the tests that gave it.

The examples pass by one at a time. What must be remembered of them is on disk, see `rasa_ft_ext.scratch`.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from rasa_ft_ext.conversation import Example
from rasa_ft_ext.scratch import digest, scratch


@dataclass(frozen=True)
class Merged:
    """How many examples there are, by how their prompts were made and by commands, and how many were there before."""

    examples: int
    duplicates: int
    made_by: dict[str, int]
    commands: dict[str, int]


def lines_of(examples: Iterable[Example]) -> str:
    """Examples as lines of JSON."""
    return "".join(json.dumps(example.model_dump(mode="json"), ensure_ascii=False) + "\n" for example in examples)


def merge(parts: Iterable[Path], kept: Path, out: Path) -> Merged:
    """Write the examples of several files into one.

    Args:
        parts: The files, in order, with lines as `lines_of` makes them.
        kept: A file that may be written meanwhile.
        out: The file to write. The first of several equal examples stays where it is, and names the other tests.

    Raises:
        WorkspaceError: there is no room for what must be remembered.
        OSError: a file cannot be written.
    """
    made_by: Counter[str] = Counter()
    commands: Counter[str] = Counter()
    seen = 0
    with scratch() as database:
        once = _Once(database)
        with kept.open("w", encoding="utf-8", newline="\n") as lines:
            for line in _lines(parts):
                seen += 1
                example = Example.model_validate_json(line)
                if once.is_new(example):
                    lines.write(line)
                    made_by[example.made_by] += 1
                    commands.update(command.type for command in example.commands)
        with out.open("w", encoding="utf-8", newline="\n") as lines:
            lines.writelines(_with_other_tests(_lines([kept]), once.others()))
    return Merged(
        made_by.total(), seen - made_by.total(), dict(sorted(made_by.items())), dict(sorted(commands.items()))
    )


class _Once:
    """Tells whether an example was there before, and remembers which other tests gave the same."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database
        self._count = 0
        database.execute("CREATE TABLE first (key BLOB PRIMARY KEY, number INTEGER, test TEXT) WITHOUT ROWID")
        database.execute(
            "CREATE TABLE other (id INTEGER PRIMARY KEY, number INTEGER, test TEXT, UNIQUE (number, test))"
        )

    def is_new(self, example: Example) -> bool:
        key = digest(example.prompt, example.completion)
        found = self._database.execute("SELECT number, test FROM first WHERE key = ?", (key,)).fetchone()
        if found is None:
            self._database.execute("INSERT INTO first VALUES (?, ?, ?)", (key, self._count, example.test))
            self._count += 1
        elif found[1] != example.test:
            self._database.execute("INSERT OR IGNORE INTO other (number, test) VALUES (?, ?)", (found[0], example.test))
        return found is None

    def others(self) -> Iterator[tuple[int, list[str]]]:
        """The examples, by their number among those that are new, that other tests gave as well."""
        found = self._database.execute("SELECT number, test FROM other ORDER BY number, id")
        for number, rows in groupby(found, key=lambda row: int(row[0])):
            yield number, [test for _, test in rows]


def _lines(paths: Iterable[Path]) -> Iterator[str]:
    for path in paths:
        with path.open(encoding="utf-8", newline="\n") as lines:
            yield from lines


def _with_other_tests(lines: Iterable[str], others: Iterator[tuple[int, list[str]]]) -> Iterator[str]:
    number, tests = next(others, (-1, []))
    for place, line in enumerate(lines):
        if place == number:
            line = json.dumps({**json.loads(line), "also_in": tests}, ensure_ascii=False) + "\n"
            number, tests = next(others, (-1, []))
        yield line
