"""How alike two texts are, and which of many are nearly the same.

Alike is the overlap (Jaccard) of the sequences of three letters in two texts; case, accents and punctuation aside.
Candidates are found by MinHash, so that not all pairs are compared, and then looked at exactly.
"""

from __future__ import annotations

import sqlite3
from array import array
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby, islice
from operator import itemgetter

from rasa_ft_ext.checks.words import normal
from rasa_ft_ext.scratch import digest

NEARLY = 0.75
"""From this overlap on two messages are nearly the same.

In the example's data, the most alike of two rephrasings of one message overlap by 0.67; a wrong letter in a message of
20 letters leaves 0.75.
"""

_LETTERS = 3
# With 32 bands of 4 hashes, a pair at the threshold is missed once in 200,000 times.
_HASHES, _BANDS, _SEED = 128, 32, 42
_IN_A_BAND = _HASHES // _BANDS
_COMPARED = 24  # neighbours in a band that a talk is compared with
# One bit of each hash: of two talks at the threshold 16 differ on average; with more than this, one in 30,000.
_DIFFERING = 31
_64_BITS = (1 << 64) - 1
_AT_ONCE, _REMEMBERED = 500, 1000  # talks


def pieces(text: str) -> frozenset[str]:
    """The sequences of three letters in a text."""
    padded = f" {normal(text)} "
    return frozenset(padded[start : start + _LETTERS] for start in range(max(1, len(padded) - _LETTERS + 1)))


def overlap(one: frozenset[str], other: frozenset[str]) -> float:
    """From 0, nothing in common, to 1, the same."""
    return len(one & other) / len(one | other)


@dataclass(frozen=True)
class Talk:
    """What the user says in a conversation; `kind` tells those apart that are not compared."""

    number: int
    kind: str
    messages: tuple[str, ...]


def nearly_same(
    talks: Iterable[Talk], messages_of: Callable[[int], tuple[str, ...]], database: sqlite3.Connection
) -> Iterator[tuple[int, int]]:
    """The pairs of talks, by their numbers, that have as many messages, each nearly the same as its like.

    Each pair is told once, its earlier talk first. In a crowd of talks that are all somewhat alike, those are compared
    that have most in common, so that time grows with the number of talks only; a pair that is just about nearly the
    same can be missed there.

    Args:
        talks: The talks, numbered from 0 on.
        messages_of: The messages of a talk, by its number.
        database: Where candidates are kept meanwhile; in memory are 16 bytes of each talk.
    """

    @lru_cache(maxsize=_REMEMBERED)
    def pieces_of(number: int) -> tuple[frozenset[str], ...]:
        return tuple(map(pieces, messages_of(number)))

    _find_candidates(talks, database)
    for one, other in database.execute("SELECT DISTINCT one, other FROM candidates ORDER BY other, one"):
        pairs = zip(pieces_of(one), pieces_of(other), strict=True)
        if all(overlap(mine, theirs) >= NEARLY for mine, theirs in pairs):
            yield one, other


def _find_candidates(talks: Iterable[Talk], database: sqlite3.Connection) -> None:
    """Pairs that MinHash finds alike: if each message is, the whole is as well, a piece being told by its message.

    Talks that have all hashes of a band in common stand in a row there, in the order of the hashes of the next bands,
    so that those with most in common are neighbours.
    """
    database.execute("CREATE TABLE bands (band INTEGER, next INTEGER, after INTEGER, talk INTEGER)")
    database.execute("CREATE TABLE candidates (one INTEGER, other INTEGER)")
    marks = array("Q")
    insert = "INSERT INTO bands VALUES (?, ?, ?, ?)"
    for talk, hashes in _hashed(talks):
        mark = int("".join("01"[value & 1] for value in hashes), 2)
        marks.extend((mark >> 64, mark & _64_BITS))
        kind = int.from_bytes(digest(talk.kind, str(len(talk.messages)))[:8], "big")
        parts = [hash(hashes[at : at + _IN_A_BAND]) for at in range(0, _HASHES, _IN_A_BAND)]
        for band in range(_BANDS):
            own = hash((kind, band, parts[band]))
            database.execute(insert, (own, parts[band - _BANDS + 1], parts[band - _BANDS + 2], talk.number))
    rows = database.execute("SELECT band, talk FROM bands ORDER BY band, next, after, talk")
    database.executemany("INSERT INTO candidates VALUES (?, ?)", _neighbours(rows, marks))
    database.execute("DROP TABLE bands")


def _neighbours(rows: Iterable[tuple[int, int]], marks: array[int]) -> Iterator[tuple[int, int]]:
    for _, of_band in groupby(rows, key=itemgetter(0)):
        before: deque[int] = deque(maxlen=_COMPARED)
        for _, talk in of_band:
            high, low = marks[2 * talk], marks[2 * talk + 1]
            for other in before:
                differing = (high ^ marks[2 * other]).bit_count() + (low ^ marks[2 * other + 1]).bit_count()
                if differing <= _DIFFERING:
                    yield (talk, other) if talk < other else (other, talk)
            before.append(talk)


def _hashed(talks: Iterable[Talk]) -> Iterator[tuple[Talk, tuple[int, ...]]]:
    """Each talk with the MinHash of its pieces."""
    from rensa import RMinHash

    rest = iter(talks)
    while some := list(islice(rest, _AT_ONCE)):
        tokens = (_tagged(map(pieces, talk.messages)) for talk in some)
        sketches = RMinHash.from_token_sets(tokens, num_perm=_HASHES, seed=_SEED)
        yield from ((talk, tuple(sketch.digest())) for talk, sketch in zip(some, sketches, strict=True))


def _tagged(messages: Iterable[frozenset[str]]) -> list[str]:
    return sorted(f"{number} {piece}" for number, own in enumerate(messages) for piece in own)
