"""Rows that are nearly the same: a leak where one is in training and the other in validation, a waste on one side.

Two rows are nearly the same if they have the same commands, and each of the user's messages up to the one that is
answered is nearly the same as its like. What the assistant says and the rest of the prompt, which most rows share, is
not looked at. A row of validation whose prompt is in training, date and time aside, is a leak whatever its commands.

Within one side, rows with a wording that was varied on purpose (another value, slips) are not looked at: they are to be
nearly the same as another row.
"""

from __future__ import annotations

import heapq
import json
import sqlite3
from collections.abc import Collection, Iterable, Iterator, Mapping, MutableMapping, Sequence
from functools import cached_property
from itertools import groupby
from types import MappingProxyType

from rasa_ft_ext.checks.entries import Entry
from rasa_ft_ext.checks.findings import Finding, Side, quoted
from rasa_ft_ext.checks.similarity import Talk, nearly_same
from rasa_ft_ext.checks.words import normal
from rasa_ft_ext.conversation import RephrasedFile
from rasa_ft_ext.prompts import one_line
from rasa_ft_ext.redaction import unnumbered
from rasa_ft_ext.scratch import digest, scratch

_DROP = "Split again with --near-duplicates drop, or group."
_LEAK = "Split again: `split` keeps equal prompts on one side, so these rows were not divided by it."
_WASTE = (
    "Nothing is wrong with one of them; more of its kind add nothing. Write messages that differ in more, or split "
    "again with --near-duplicates drop."
)


Varied = Mapping[str, Collection[str]]
"""The wordings of each test that were varied on purpose, as prompts show them, masked or not (see `unnumbered`)."""

_NONE: Varied = MappingProxyType({})
_SIDES: dict[Side | None, int] = {"train": 0, "validation": 1, None: 2}


def near_duplicates(entries: Sequence[Entry], varied: Varied = _NONE) -> list[tuple[int, int]]:
    """Pairs of rows, by their indices in order, that are nearly the same.

    Not all of them, or a thousand equal rows would be half a million pairs; but each row that has its like before it on
    its own side, or on the other side at all, is in a pair that says so: one with a row that was varied on purpose, and
    one with a row that was not, where there are both.
    """
    with scratch() as database:
        return list(_Alike(entries, varied, database).pairs())


def tests_to_tie(entries: Sequence[Entry]) -> list[tuple[str, str]]:
    """The pairs of tests that have rows which are nearly the same."""
    with scratch() as database:
        return list(_Alike(entries, _NONE, database).tests())


def superfluous(entries: Sequence[Entry], varied: Varied) -> Iterator[int]:
    """The rows, in order, without which no two are nearly the same, but for those varied on purpose.

    Of two alike on both sides it is that of validation, of two on one side the later one. So each command that is
    learned or measured on a side stays there, except where validation would measure what was trained on.
    """
    with scratch() as database:
        alike = _Alike(entries, varied, database)
        found = heapq.merge((row for row, _ in alike.across()), (row for row, _ in alike.within()))
        yield from (row for row, _ in groupby(found))


def varied_wordings(
    files: Iterable[RephrasedFile], found: MutableMapping[str, Collection[str]] | None = None
) -> Varied:
    """The wordings that are not the rephraser's, put into a mapping that may be on disk."""
    found = {} if found is None else found
    for conversation in (entry for file in files for entry in file.conversations):
        passing = [entry for turn in conversation.turns for entry in turn.passing if entry.origin != "rephraser"]
        if passing:
            found[conversation.id] = sorted({unnumbered(one_line(entry.text).strip()) for entry in passing})
    return found


def check_duplicates(entries: Sequence[Entry], varied: Varied = _NONE) -> Iterator[Finding]:
    """One finding for each leaking row of validation, and for each further row of one side."""
    with scratch() as database:
        alike = _Alike(entries, varied, database)
        for found, other in alike.leaks():
            entry = entries[found]
            text = f"The prompt of {quoted(entry.message)} is in the training rows as well, at {entries[other].place}."
            yield Finding(kind="leak", severity="problem", place=entry.place, text=text, advice=_LEAK)
        for found, other in alike.across():
            if not alike.is_leak(found):
                seen = entries[other]
                text = f"{_told(entries[found])} is measured, and nearly the same was trained on: {_told(seen)}."
                yield _finding("problem", entries[found], f"{text} It is at {seen.place}.", _DROP)
        for found, other in alike.within():
            like = entries[other]
            text = f"{_told(entries[found])} is nearly the same as {_told(like)} at {like.place}."
            yield _finding("warning", entries[found], text, _WASTE)


class _Alike:
    """Which rows are alike, on disk; rows are named by their indices."""

    def __init__(self, entries: Sequence[Entry], varied: Varied, database: sqlite3.Connection) -> None:
        self._database = database
        self._varied = varied
        # One talk is what the user said in rows with the same answer; most rows have a talk of their own.
        database.execute("CREATE TABLE talks (talk INTEGER PRIMARY KEY, said TEXT, kind TEXT)")
        database.execute("CREATE TABLE numbers (said BLOB PRIMARY KEY, talk INTEGER) WITHOUT ROWID")
        database.execute(
            "CREATE TABLE rows (number INTEGER PRIMARY KEY, side INTEGER, varied INTEGER, talk INTEGER, prompt BLOB, "
            "test TEXT)"
        )
        insert = "INSERT INTO rows VALUES (?, ?, ?, ?, ?, ?)"
        database.executemany(insert, (self._row(number, entry) for number, entry in enumerate(entries)))
        database.execute("CREATE INDEX by_prompt ON rows (prompt, side)")

    def _row(self, number: int, entry: Entry) -> tuple[object, ...]:
        test = entry.place.test
        on_purpose = not {unnumbered(text.strip()) for text in entry.said}.isdisjoint(self._varied.get(test or "", ()))
        side = _SIDES[entry.side]
        return number, side, on_purpose, self._talk(entry), digest(entry.timeless), test

    def _talk(self, entry: Entry) -> int | None:
        """The number of what is said in a row; None where nothing is."""
        if not entry.said:
            return None
        said = tuple(map(normal, entry.said))
        key = digest(entry.completion, *said)
        found = self._database.execute("SELECT talk FROM numbers WHERE said = ?", (key,)).fetchone()
        if found is not None:
            return int(found[0])
        insert = "INSERT INTO talks (said, kind) VALUES (?, ?)"
        number = self._database.execute(insert, (json.dumps(said), entry.completion)).lastrowid
        self._database.execute("INSERT INTO numbers VALUES (?, ?)", (key, number))
        return number

    def leaks(self) -> Iterator[tuple[int, int]]:
        """Each row of validation whose prompt is in training, with the last row that has it there."""
        return self._database.execute(
            "SELECT measured.number, MAX(seen.number) FROM rows AS measured JOIN rows AS seen USING (prompt) "
            "WHERE measured.side = 1 AND seen.side = 0 GROUP BY measured.number ORDER BY measured.number"
        )

    def is_leak(self, number: int) -> bool:
        found = self._database.execute(
            "SELECT 1 FROM rows WHERE side = 0 AND prompt = (SELECT prompt FROM rows WHERE number = ?) LIMIT 1",
            (number,),
        )
        return found.fetchone() is not None

    def across(self) -> Iterator[tuple[int, int]]:
        """Each row of validation that has its like in training, with the first one there."""
        return self._database.execute(
            f"SELECT measured.number, MIN(seen.number) FROM {self._pairs} AS pair "
            "JOIN rows AS measured ON measured.number IN (pair.one, pair.other) "
            "JOIN rows AS seen ON seen.number IN (pair.one, pair.other) "
            "WHERE seen.side < measured.side GROUP BY measured.number ORDER BY measured.number"
        )

    def within(self) -> Iterator[tuple[int, int]]:
        """Each row that has its like before it on its side, with the first one there; none varied on purpose."""
        return self._database.execute(
            f"SELECT pair.other, MIN(pair.one) FROM {self._pairs} AS pair JOIN rows AS one ON one.number = pair.one "
            "JOIN rows AS other ON other.number = pair.other WHERE one.side = other.side AND NOT one.varied "
            "AND NOT other.varied GROUP BY pair.other ORDER BY pair.other"
        )

    def pairs(self) -> Iterator[tuple[int, int]]:
        return self._database.execute(f"SELECT one, other FROM {self._pairs} ORDER BY one, other")

    def tests(self) -> Iterator[tuple[str, str]]:
        return self._database.execute(
            f"SELECT DISTINCT one.test, other.test FROM {self._pairs} AS pair "
            "JOIN rows AS one ON one.number = pair.one JOIN rows AS other ON other.number = pair.other "
            "WHERE one.test <> other.test ORDER BY one.test, other.test"
        )

    @cached_property
    def _pairs(self) -> str:
        """The table with the pairs that `near_duplicates` tells."""
        self._database.execute("CREATE TABLE likes (one INTEGER, other INTEGER)")
        insert = "INSERT INTO likes VALUES (?, ?)"
        for one, other in nearly_same(self._talks(), self._said, self._database):
            self._database.executemany(insert, ((one + 1, other + 1), (other + 1, one + 1)))
        self._database.execute(
            "INSERT INTO likes SELECT talk, talk FROM rows WHERE talk IS NOT NULL GROUP BY talk HAVING COUNT(*) > 1"
        )
        self._database.execute(
            "CREATE TABLE firsts AS SELECT talk, MIN(number) AS number FROM rows WHERE talk IS NOT NULL "
            "GROUP BY talk, side, varied"
        )
        self._database.execute("CREATE INDEX firsts_by_talk ON firsts (talk)")
        self._database.execute("CREATE INDEX rows_by_talk ON rows (talk)")
        self._database.execute(
            "CREATE TABLE pairs AS SELECT DISTINCT MIN(rows.number, firsts.number) AS one, "
            "MAX(rows.number, firsts.number) AS other FROM likes JOIN rows ON rows.talk = likes.one "
            "JOIN firsts ON firsts.talk = likes.other WHERE rows.number <> firsts.number"
        )
        return "pairs"

    def _talks(self) -> Iterator[Talk]:
        """All talks as `nearly_same` wants them, numbered from 0 on."""
        for number, said, kind in self._database.execute("SELECT talk, said, kind FROM talks ORDER BY talk"):
            yield Talk(number - 1, kind, tuple(json.loads(said)))

    def _said(self, number: int) -> tuple[str, ...]:
        found = self._database.execute("SELECT said FROM talks WHERE talk = ?", (number + 1,)).fetchone()
        return tuple(json.loads(found[0]))


def _finding(severity: str, entry: Entry, text: str, advice: str) -> Finding:
    return Finding.model_validate(
        {"kind": "near-duplicate", "severity": severity, "place": entry.place, "text": text, "advice": advice}
    )


def _told(entry: Entry) -> str:
    """The user's messages; of a long conversation, the first and the last two."""
    said = [quoted(text) for text in entry.said]
    return ", ".join(said if len(said) < 4 else [said[0], "...", *said[-2:]])
