"""Values of slots that stand neither in what was said nor among the allowed values: the teacher made them up.

What is not a fault, and so is not found:

- another way of writing: case, accents, punctuation, numbers in words, a slip of the pen, a few initials, another order
  of the words;
- what is worked out: a date, if its day and month are said in any form or a day is named that has to be looked up
  (`tomorrow`, `for three days`); a time of day; a whole number up to 12 that can be counted (`my wife and I`); true and
  false;
- a name in another language, where it is alike (`Genf`, `Geneva`) or the message is in another script (`東京` is
  `Tokyo`);
- what the prompt offers: the slots' present values and descriptions, the assistant's messages, the flows' names.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from difflib import SequenceMatcher

from rasa_ft_ext.checks import words
from rasa_ft_ext.checks.entries import Entry
from rasa_ft_ext.checks.findings import Finding, quoted
from rasa_ft_ext.checks.known import Known

_COUNTED = 12  # up to here a number can be had by counting people, nights or cars
_SLIP, _NAME = 0.8, 0.6  # how alike a word must be that is misspelt, and a name in another language
_BOOLEANS = {"true", "false", "yes", "no"}
_ADVICE = (
    "Look at the message. If the user says it in other words, leave it; if the teacher made it up, mend the slot's "
    "description or the test, and make the data again."
)


def check_values(entries: Iterable[Entry], known: Known) -> Iterator[Finding]:
    """One finding for each value in each row; values that are not allowed are found by `check_names`."""
    for entry in entries:
        for command in entry.commands:
            if command.type != "SetSlot" or command.args[1] is None:
                continue
            name, value = str(command.args[0]), command.args[1]
            if name in known.values or value in known.flows or value.casefold() in _BOOLEANS:
                continue
            if not _is_grounded(value, entry, _offered(entry, name, known)):
                text = f"{command}: {value!r} stands neither in the message, {quoted(entry.message)}, nor before it."
                yield Finding(kind="ungrounded value", severity="warning", place=entry.place, text=text, advice=_ADVICE)


def _offered(entry: Entry, slot: str, known: Known) -> str:
    """What the prompt offers apart from the conversation: what the slots hold, and how this one is described."""
    example = entry.example
    held = known.held.get((example.test, example.turn), ()) if example is not None else ()
    return "\n".join([*held, known.described.get(slot, "")])


def _is_grounded(value: str, entry: Entry, offered: str) -> bool:
    if stands_in(value, f"{entry.history}\n{entry.message}\n{offered}"):
        return True
    if _worked_out(value, "\n".join([*entry.said, entry.message]), entry.message):
        return True
    named = not any(letter.isdigit() for letter in value)
    return named and _translated(value, entry.message, f"{entry.history}\n{offered}")


def stands_in(value: str, text: str) -> bool:
    """Whether a text says a value, however it is written."""
    wanted, said = words.normal(value), words.normal(text)
    if not wanted or f" {wanted} " in f" {said} ":
        return True
    together = wanted.replace(" ", "")
    if (len(together) > 3 or not together.isascii()) and together in said.replace(" ", ""):
        return True
    number = words.number(value)
    if number is not None:
        return number in words.numbers_in(text)
    if words.day_of(value) is not None:
        return False  # its numbers can stand anywhere
    return _initials(wanted, said) or _most_words(wanted, said, text)


def _initials(wanted: str, said: str) -> bool:
    """`asap` for as soon as possible, and the other way round."""
    spelled = said.split()
    short = "".join(word[0] for word in wanted.split())
    if len(short) > 2 and short in spelled:
        return True
    letters = "".join(word[0] for word in spelled)
    return len(wanted) > 2 and " " not in wanted and wanted.isalpha() and wanted in letters and len(wanted) < 6


def _most_words(wanted: str, said: str, text: str) -> bool:
    """Whether all words of a value are in the text; of three and more, two in three."""
    there, numbers = set(said.split()), words.numbers_in(text)
    parts = [word for word in wanted.split() if len(word) > 2 or not word.isalpha()] or wanted.split()
    found = sum(_is_there(part, there, numbers) for part in parts)
    return found == len(parts) if len(parts) < 3 else found >= len(parts) * 2 / 3


def _is_there(part: str, there: set[str], numbers: frozenset[int]) -> bool:
    if part in there:
        return True
    if any(letter.isdigit() for letter in part):
        digits = re.match("[0-9]+", part)
        return digits is not None and int(digits[0]) in numbers
    return any(_alike(part, word) >= _SLIP for word in there if word[:1] == part[:1])


def _worked_out(value: str, said: str, message: str) -> bool:
    """Whether a value can be had from what the user said by looking at a calendar, a clock or one's fingers."""
    day = words.day_of(value)
    if day is not None:
        return words.says_day(said, day)
    number = words.number(value)
    if number is None:
        return words.is_time(value)
    counted = words.counts_in(message)
    return number <= _COUNTED and (not counted or number - sum(counted) in (0, 1, 2))


def _translated(value: str, message: str, around: str) -> bool:
    """Whether the message may have the same name in another language or script."""
    mine, theirs = words.scripts(value), words.scripts(message)
    if mine and theirs and not mine & theirs:
        return "LATIN" in mine or bool(mine & words.scripts(around))
    wanted, said = words.normal(value), words.normal(message).split()
    size = len(wanted.split())
    windows = (" ".join(said[start : start + size]) for start in range(len(said) - size + 1))
    return any(_alike(wanted, window) >= _NAME for window in windows if window[:1] == wanted[:1])


def _alike(one: str, other: str) -> float:
    if not one or not other or min(len(one), len(other)) / max(len(one), len(other)) < 0.4:
        return 0.0
    return SequenceMatcher(None, one, other, autojunk=False).ratio()
