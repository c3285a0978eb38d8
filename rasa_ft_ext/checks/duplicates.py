"""Rows that are nearly the same: a leak where one is in training and the other in validation, a waste on one side.

Two rows are nearly the same if they have the same commands, and each of the user's messages up to the one that is
answered is nearly the same as its like. What the assistant says and the rest of the prompt, which most rows share, is
not looked at. A row of validation whose prompt is in training, date and time aside, is a leak whatever its commands.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from rasa_ft_ext.checks.entries import Entry, entries_of
from rasa_ft_ext.checks.findings import Finding
from rasa_ft_ext.checks.similarity import nearly_same
from rasa_ft_ext.conversation import Example

_DROP = "Split again with --near-duplicates drop, or group."
_LEAK = "Split again: `split` keeps equal prompts on one side, so these rows were not divided by it."
_WASTE = "Nothing is wrong with one of them; more of its kind add nothing. Write messages that differ in more."


def near_duplicates(entries: Sequence[Entry]) -> list[tuple[int, int]]:
    """The pairs of rows, by their indices, that are nearly the same."""
    by_answer: dict[str, list[int]] = {}
    for number, entry in enumerate(entries):
        if entry.said:
            by_answer.setdefault(entry.completion, []).append(number)
    return [
        (found[one], found[other])
        for found in by_answer.values()
        for one, other in nearly_same([entries[number].said for number in found])
    ]


def tests_to_tie(examples: Iterable[Example]) -> list[tuple[str, str]]:
    """The pairs of tests that have rows which are nearly the same."""
    entries = entries_of({"train": list(examples)})
    tests = [(entries[one].place.test, entries[other].place.test) for one, other in near_duplicates(entries)]
    return sorted({(one, other) for one, other in tests if one and other and one != other})


def nearly_trained_on(train: Sequence[Example], validation: Sequence[Example]) -> list[Example]:
    """The examples of validation that are nearly the same as one of training."""
    entries = entries_of({"train": train, "validation": validation})
    found = {number for pair in near_duplicates(entries) if _crosses(entries, pair) for number in pair}
    return [example for number, example in enumerate(validation, len(train)) if number in found]


def _crosses(entries: Sequence[Entry], pair: tuple[int, int]) -> bool:
    one, other = pair
    return entries[one].side != entries[other].side


def check_duplicates(entries: Sequence[Entry]) -> Iterator[Finding]:
    """One finding for each leaking row of validation, and for each further row of one side."""
    trained = {entry.timeless: entry for entry in entries if entry.side == "train"}
    leaks: set[int] = set()
    for number, entry in enumerate(entries):
        same = trained.get(entry.timeless) if entry.side == "validation" else None
        if same is not None:
            leaks.add(number)
            text = f"The prompt of {entry.message!r} is in the training rows as well, at {same.place}."
            yield Finding(kind="leak", severity="problem", place=entry.place, text=text, advice=_LEAK)
    yield from _near(entries, near_duplicates(entries), leaks)


def _near(entries: Sequence[Entry], pairs: Iterable[tuple[int, int]], leaks: set[int]) -> Iterator[Finding]:
    across: dict[int, int] = {}
    within: dict[int, int] = {}
    for one, other in sorted(pairs):
        if not _crosses(entries, (one, other)):
            within.setdefault(other, one)
        else:
            seen, measured = (one, other) if entries[one].side == "train" else (other, one)
            across.setdefault(measured, seen)
    for found, other in sorted(across.items()):
        if found not in leaks:
            text = f"{_told(entries[found])} is measured, and nearly the same was trained on: {_told(entries[other])}."
            yield _finding("problem", entries[found], f"{text} It is at {entries[other].place}.", _DROP)
    for found, other in sorted(within.items()):
        text = f"{_told(entries[found])} is nearly the same as {_told(entries[other])} at {entries[other].place}."
        yield _finding("warning", entries[found], text, _WASTE)


def _finding(severity: str, entry: Entry, text: str, advice: str) -> Finding:
    return Finding.model_validate(
        {"kind": "near-duplicate", "severity": severity, "place": entry.place, "text": text, "advice": advice}
    )


def _told(entry: Entry) -> str:
    """The user's messages; of a long conversation, the first and the last two."""
    said = [repr(text) for text in entry.said]
    return ", ".join(said if len(said) < 4 else [said[0], "...", *said[-2:]])
