"""Labels that contradict each other: the same state and message, other commands. No model can learn both.

They come about where the tests do not agree, or where a student's prompt leaves out what the teacher's label depends
on. They are named, not dropped: which of them is right only a person can say.

Two rows are of the same state if their prompts are the same but for date and time (a problem), or but for the wording
of the user's earlier messages as well (a warning: that wording may be the reason). Commands contradict when Rasa would
do something else for them.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterable, Iterator, Sequence

from rasa_ft_ext.checks.entries import Entry
from rasa_ft_ext.checks.findings import Finding, quoted
from rasa_ft_ext.commands import effect
from rasa_ft_ext.conversation import Example
from rasa_ft_ext.prompts import one_line, without_clock
from rasa_ft_ext.scratch import digest, scratch

_USER = re.compile(r"^([ \t]*USER:).*$", re.MULTILINE)
_ADVICE = (
    "Decide which of them is right, change the tests or the flows' descriptions so that the teacher says it each time, "
    "and make the data again."
)


def contradictions_of(examples: Iterable[Example]) -> tuple[str, ...]:
    """The prompts with contradicting examples, a sentence each, in the order of the examples.

    The examples are gone through twice, and not all of them are held.
    """
    with scratch() as database:
        prompts = _Labels(database, "prompts")
        prompts.add((number, digest(without_clock(of.prompt)), _answer(of)) for number, of in enumerate(examples))
        found: dict[int, list[Example]] = {first: [] for first, _ in prompts.contradicting()}
        if found:
            groups = prompts.told()
            number, first = next(groups)
            for place, example in enumerate(examples):
                if place == number:
                    found[first].append(example)
                    number, first = next(groups, (-1, -1))
    return tuple(map(_sentence, found.values()))


def check_contradictions(entries: Sequence[Entry]) -> Iterator[Finding]:
    """One finding for each state and message with several answers, at the first row that has another one."""
    with scratch() as database:
        prompts, states = _Labels(database, "prompts"), _Labels(database, "states")
        prompts.add((number, digest(of.timeless), _answer(of)) for number, of in enumerate(entries))
        for first, other in prompts.contradicting():
            yield _finding("problem", "the same prompt", entries[first], entries[other])
        states.add((number, _state(of), _answer(of)) for number, of in enumerate(entries) if of.message)
        states.drop(number for number, _ in prompts.told())
        for first, other in states.contradicting():
            yield _finding("warning", "the same message in the same state", entries[first], entries[other])


class _Labels:
    """On disk, what is answered to what: by the number of each row, a digest of what its label is an answer to."""

    def __init__(self, database: sqlite3.Connection, name: str) -> None:
        self._database = database
        self._name = name
        database.execute(f"CREATE TABLE {name} (number INTEGER PRIMARY KEY, asked BLOB, answer BLOB)")

    def add(self, rows: Iterable[tuple[int, bytes, bytes]]) -> None:
        self._database.executemany(f"INSERT INTO {self._name} VALUES (?, ?, ?)", rows)

    def drop(self, numbers: Iterable[int]) -> None:
        self._database.executemany(f"DELETE FROM {self._name} WHERE number = ?", ((number,) for number in numbers))

    def contradicting(self) -> list[tuple[int, int]]:
        """For each thing with several answers, its first row and the first one that has another answer, in order."""
        self._database.execute(
            f"CREATE TABLE {self._name}_told AS SELECT asked, MIN(number) AS first FROM {self._name} "
            "GROUP BY asked HAVING MIN(answer) <> MAX(answer)"
        )
        self._database.execute(f"CREATE INDEX {self._name}_asked ON {self._name}_told (asked)")
        answers = f"SELECT {self._name}.asked, answer, first FROM {self._name}_told JOIN {self._name} ON number = first"
        query = (
            f"SELECT first, MIN(number) FROM ({answers}) AS one JOIN {self._name} AS other ON other.asked = one.asked "
            "WHERE other.answer <> one.answer GROUP BY first ORDER BY first"
        )
        return self._database.execute(query).fetchall()

    def told(self) -> Iterator[tuple[int, int]]:
        """The rows of all things that `contradicting` has told, each with the first one, in order."""
        return self._database.execute(
            f"SELECT number, first FROM {self._name} JOIN {self._name}_told USING (asked) ORDER BY number"
        )


def _answer(labelled: Entry | Example) -> bytes:
    """What stands for commands of the same effect."""
    return digest(effect(labelled.commands))


def _state(entry: Entry) -> bytes:
    """What stands for the prompt without the user's words, and the message."""
    silent = _USER.sub(r"\1", entry.timeless).replace(one_line(entry.message), "")
    return digest(silent, " ".join(entry.message.casefold().split()))


def _finding(severity: str, what: str, first: Entry, other: Entry) -> Finding:
    text = (
        f"{what.capitalize()}, {quoted(other.message or 'an unknown one')}, has other commands: "
        f"{_in_line(other.completion)} here, {_in_line(first.completion)} at {first.place}."
    )
    return Finding.model_validate(
        {"kind": "contradiction", "severity": severity, "place": other.place, "text": text, "advice": _ADVICE}
    )


def _sentence(examples: Sequence[Example]) -> str:
    """Such as `'the big one': cars.yml::a (set slot size big) or cars.yml::b (start flow book_hotel)`."""
    answers: dict[str, list[str]] = {}
    for example in examples:
        answers.setdefault(example.completion, []).extend([example.test, *example.also_in])
    parts = [f"{', '.join(dict.fromkeys(tests))} ({_in_line(text)})" for text, tests in answers.items()]
    return f"{examples[0].message!r}: {' or '.join(parts)}"


def _in_line(completion: str) -> str:
    return "; ".join(completion.splitlines())
