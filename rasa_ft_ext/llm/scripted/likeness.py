"""Which message of a script another one is like: the same with slips, or with another value of a slot.

    index = Likeness({"I'd like a car in Basel": [car_in_basel], "to Geneva": [to_geneva]})
    index.of("id like a car in geneva")            # [("I'd like a car in Basel", Exchange("city", "Basel", "Geneva"))]

Slips are other case, punctuation, a word that is said twice, and one wrong, missing, doubled or exchanged letter in a
word of four letters or more, for about eight words; what has a digit must be the same. The values of a slot are those
that the script sets it to.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby

from rasa_ft_ext.commands import Command
from rasa_ft_ext.places import places_of

_SHORTEST = 4  # letters of a word that may have a slip
_ONE_SLIP_IN = 8  # words

_Words = tuple[str, ...]


@dataclass(frozen=True)
class Exchange:
    """What a slot is set to instead of what the script's message sets it to."""

    slot: str
    old: str
    new: str

    def applied(self, commands: Iterable[Command]) -> tuple[Command, ...]:
        """The commands with the new value."""
        old = Command(type="SetSlot", args=(self.slot, self.old))
        new = Command(type="SetSlot", args=(self.slot, self.new))
        return tuple(new if command == old else command for command in commands)


class Likeness:
    """The messages of a script, to be found by what they are like.

    Args:
        labels: For each message the lists of commands that it may be answered with, depending on the situation.
    """

    def __init__(self, labels: Mapping[str, Iterable[tuple[Command, ...]]]) -> None:
        self._values: dict[str, dict[str, None]] = {}
        self._shapes: dict[_Words, dict[tuple[str, str, str], None]] = {}  # with a slot's place: message, slot, value
        self._messages: dict[_Words, dict[str, None]] = {}
        for message, found in labels.items():
            self._messages.setdefault(_words(message), {})[message] = None
            for commands in found:
                for slot, value in _set(commands):
                    self._values.setdefault(slot, {})[value] = None
                    if shape := _shape(message, slot, value, commands):
                        self._shapes.setdefault(shape, {})[message, slot, value] = None
        self._by_size: dict[int, list[_Words]] = {}
        for words in (*self._messages, *self._shapes):
            self._by_size.setdefault(len(words), []).append(words)

    def of(self, message: str) -> list[tuple[str, Exchange | None]]:
        """The messages of the script that this one is like, nearest first: as they are, with a value, with slips."""
        forms = list(self._forms(message))
        exact = [found for words, slot, new in forms for found in self._at(words, slot, new)]
        if exact:
            return exact
        return [
            found for words, slot, new in forms for near in self._near(words) for found in self._at(near, slot, new)
        ]

    def _forms(self, message: str) -> Iterator[tuple[_Words, str | None, str | None]]:
        """The words of a message, then those with a slot in the place of each value that stands in it once."""
        yield _words(message), None, None
        for slot, values in self._values.items():
            there = [(value, places) for value in values if len(places := places_of(value, message)) == 1]
            exact = {places[0] for value, places in there if message[slice(*places[0])] == value}
            for value, places in there:
                if places[0] not in exact or message[slice(*places[0])] == value:
                    yield _with_slot(message, slot, places[0]), slot, value

    def _at(self, words: _Words, slot: str | None, new: str | None) -> Iterator[tuple[str, Exchange | None]]:
        if slot is None or new is None:
            yield from ((message, None) for message in self._messages.get(words, ()))
        else:
            for message, own, old in self._shapes.get(words, ()):
                yield message, Exchange(own, old, new)

    def _near(self, words: _Words) -> Iterator[_Words]:
        allowed = 1 + len(words) // _ONE_SLIP_IN
        for other in self._by_size.get(len(words), ()):
            slips = [pair for pair in zip(words, other, strict=True) if pair[0] != pair[1]]
            if 0 < len(slips) <= allowed and all(_is_slip(one, two) for one, two in slips):
                yield other


def _itself(words: _Words) -> Iterable[_Words]:
    return (words,)


def _set(commands: Iterable[Command]) -> Iterator[tuple[str, str]]:
    for command in commands:
        if command.type == "SetSlot" and command.args[0] and command.args[1]:
            yield command.args[0], command.args[1]


def _shape(message: str, slot: str, value: str, commands: tuple[Command, ...]) -> _Words | None:
    """The words with the slot in the place of its value; None where it is not clear what stands for what."""
    places = places_of(value, message)
    same = [other for other in _set(commands) if other[1] == value]
    return _with_slot(message, slot, places[0]) if len(places) == len(same) == 1 else None


def _with_slot(message: str, slot: str, place: tuple[int, int]) -> _Words:
    return (*_words(message[: place[0]]), f"{{{slot}}}", *_words(message[place[1] :]))


def _words(text: str) -> _Words:
    """The words in small letters, without punctuation, each once where it is said twice."""
    plain = re.sub("['\u2019]", "", unicodedata.normalize("NFKC", text).casefold())
    return tuple(word for word, _ in groupby(re.findall(r"\w+", plain)))


def _is_slip(one: str, other: str) -> bool:
    """Whether one wrong, missing, added or exchanged letter lies between two words."""
    if min(len(one), len(other)) < _SHORTEST - 1 or max(len(one), len(other)) < _SHORTEST:
        return False
    if one[0] != other[0] or not (one.isalpha() and other.isalpha()):
        return False
    start = next((place for place, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), None)
    if start is None:
        return abs(len(one) - len(other)) == 1
    mine, theirs = one[start:], other[start:]
    exchanged = mine[:2] == theirs[:2][::-1] and mine[2:] == theirs[2:]
    return mine[1:] == theirs[1:] or mine[1:] == theirs or mine == theirs[1:] or exchanged
