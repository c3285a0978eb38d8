"""Rows that are nearly the same: a leak where one is in training and the other in validation, a waste on one side.

Two rows are nearly the same if they have the same commands, and each of the user's messages up to the one that is
answered is nearly the same as its like. What the assistant says and the rest of the prompt, which most rows share, is
not looked at. A row of validation whose prompt is in training, date and time aside, is a leak whatever its commands.

Within one side, rows with a wording that was varied on purpose (another value, slips) are not looked at: they are to be
nearly the same as another row.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType

from rasa_ft_ext.checks.entries import Entry, entries_of
from rasa_ft_ext.checks.findings import Finding, Side, quoted
from rasa_ft_ext.checks.similarity import nearly_same
from rasa_ft_ext.checks.words import normal
from rasa_ft_ext.conversation import Example, RephrasedFile
from rasa_ft_ext.prompts import one_line

_DROP = "Split again with --near-duplicates drop, or group."
_LEAK = "Split again: `split` keeps equal prompts on one side, so these rows were not divided by it."
_WASTE = (
    "Nothing is wrong with one of them; more of its kind add nothing. Write messages that differ in more, or split "
    "again with --near-duplicates drop."
)


def near_duplicates(entries: Sequence[Entry], on_purpose: frozenset[int] = frozenset()) -> list[tuple[int, int]]:
    """Pairs of rows, by their indices in order, that are nearly the same.

    Not all of them, or a thousand equal rows would be half a million pairs; but each row that has its like before it on
    its own side, or on the other side at all, is in a pair that says so: one with a row that was varied `on_purpose`,
    and one with a row that was not, where there are both.
    """
    by_answer: dict[str, dict[tuple[str, ...], list[int]]] = {}
    for number, entry in enumerate(entries):
        if entry.said:
            said = tuple(map(normal, entry.said))
            by_answer.setdefault(entry.completion, {}).setdefault(said, []).append(number)
    pairs: dict[tuple[int, int], None] = {}
    for alike in by_answer.values():
        found = list(alike.values())
        nearly = [(found[one], found[other]) for one, other in nearly_same(list(alike))]
        for one, other in (*((same, same) for same in found), *nearly):
            for rows, others in ((one, other), (other, one)):
                pairs |= dict.fromkeys(_with_first(entries, rows, others, on_purpose))
    return list(pairs)


def _with_first(
    entries: Sequence[Entry], rows: Sequence[int], others: Sequence[int], on_purpose: frozenset[int]
) -> Iterator[tuple[int, int]]:
    """Each of the rows with the first of the others on each side, of those varied on purpose and of the rest."""
    firsts: dict[tuple[Side | None, bool], int] = {}
    for other in others:
        firsts.setdefault((entries[other].side, other in on_purpose), other)
    yield from ((min(row, first), max(row, first)) for row in rows for first in firsts.values() if row != first)


def tests_to_tie(examples: Iterable[Example]) -> list[tuple[str, str]]:
    """The pairs of tests that have rows which are nearly the same."""
    entries = entries_of({"train": list(examples)})
    tests = [(entries[one].place.test, entries[other].place.test) for one, other in near_duplicates(entries)]
    return sorted({(one, other) for one, other in tests if one and other and one != other})


def superfluous(
    train: Sequence[Example], validation: Sequence[Example], varied: Mapping[str, frozenset[str]]
) -> tuple[list[Example], list[Example]]:
    """The examples of each side without which no two rows are nearly the same, but for those varied on purpose.

    Of two alike on both sides it is that of validation, of two on one side the later one. So each command that is
    learned or measured on a side stays there, except where validation would measure what was trained on.
    """
    entries = entries_of({"train": train, "validation": validation})
    across, within = _alike(entries, _varied(entries, varied))
    found = sorted({*across, *within})
    return (
        [train[number] for number in found if number < len(train)],
        [validation[number - len(train)] for number in found if number >= len(train)],
    )


def varied_wordings(files: Iterable[RephrasedFile]) -> dict[str, frozenset[str]]:
    """The wordings of each test that are not the rephraser's, as prompts show them."""
    found: dict[str, set[str]] = {}
    for conversation in (entry for file in files for entry in file.conversations):
        for rephrasing in (entry for turn in conversation.turns for entry in turn.passing):
            if rephrasing.origin != "rephraser":
                found.setdefault(conversation.id, set()).add(one_line(rephrasing.text).strip())
    return {test: frozenset(texts) for test, texts in found.items()}


def check_duplicates(
    entries: Sequence[Entry], varied: Mapping[str, frozenset[str]] = MappingProxyType({})
) -> Iterator[Finding]:
    """One finding for each leaking row of validation, and for each further row of one side.

    `varied` are the wordings of each test that were varied on purpose.
    """
    trained = {entry.timeless: entry for entry in entries if entry.side == "train"}
    leaks: set[int] = set()
    for number, entry in enumerate(entries):
        same = trained.get(entry.timeless) if entry.side == "validation" else None
        if same is not None:
            leaks.add(number)
            text = f"The prompt of {quoted(entry.message)} is in the training rows as well, at {same.place}."
            yield Finding(kind="leak", severity="problem", place=entry.place, text=text, advice=_LEAK)
    across, within = _alike(entries, _varied(entries, varied))
    for found, other in sorted(across.items()):
        if found not in leaks:
            text = f"{_told(entries[found])} is measured, and nearly the same was trained on: {_told(entries[other])}."
            yield _finding("problem", entries[found], f"{text} It is at {entries[other].place}.", _DROP)
    for found, other in sorted(within.items()):
        text = f"{_told(entries[found])} is nearly the same as {_told(entries[other])} at {entries[other].place}."
        yield _finding("warning", entries[found], text, _WASTE)


def _varied(entries: Sequence[Entry], varied: Mapping[str, frozenset[str]]) -> frozenset[int]:
    """The rows with a wording that was varied on purpose."""
    return frozenset(number for number, entry in enumerate(entries) if _is_varied(entry, varied))


def _is_varied(entry: Entry, varied: Mapping[str, frozenset[str]]) -> bool:
    return not varied.get(entry.place.test or "", frozenset()).isdisjoint(text.strip() for text in entry.said)


def _alike(entries: Sequence[Entry], on_purpose: frozenset[int]) -> tuple[dict[int, int], dict[int, int]]:
    """Rows of validation, each with its like in training, and rows of a side, each with its like before it."""
    across: dict[int, int] = {}
    within: dict[int, int] = {}
    for one, other in sorted(near_duplicates(entries, on_purpose)):
        if entries[one].side == entries[other].side:
            if on_purpose.isdisjoint((one, other)):
                within.setdefault(other, one)
        else:
            seen, measured = (one, other) if entries[one].side == "train" else (other, one)
            across.setdefault(measured, seen)
    return across, within


def _finding(severity: str, entry: Entry, text: str, advice: str) -> Finding:
    return Finding.model_validate(
        {"kind": "near-duplicate", "severity": severity, "place": entry.place, "text": text, "advice": advice}
    )


def _told(entry: Entry) -> str:
    """The user's messages; of a long conversation, the first and the last two."""
    said = [quoted(text) for text in entry.said]
    return ", ".join(said if len(said) < 4 else [said[0], "...", *said[-2:]])
