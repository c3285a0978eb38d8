"""How alike two texts are, and which of many are nearly the same.

Alike is the overlap (Jaccard) of the sequences of three letters in two texts; case, accents and punctuation aside.
Candidates are found by MinHash, so that not all pairs are compared, and then looked at exactly.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from rasa_ft_ext.checks.words import normal

NEARLY = 0.75
"""From this overlap on two messages are nearly the same.

In the example's data, the most alike of two rephrasings of one message overlap by 0.67; a wrong letter in a message of
20 letters leaves 0.75.
"""

_LETTERS = 3
# With 32 bands of 4 hashes, a pair at the threshold is missed once in 200,000 times.
_HASHES, _BANDS, _SEED = 128, 32, 42


def pieces(text: str) -> frozenset[str]:
    """The sequences of three letters in a text."""
    padded = f" {normal(text)} "
    return frozenset(padded[start : start + _LETTERS] for start in range(max(1, len(padded) - _LETTERS + 1)))


def overlap(one: frozenset[str], other: frozenset[str]) -> float:
    """From 0, nothing in common, to 1, the same."""
    return len(one & other) / len(one | other)


def nearly_same(texts: Sequence[tuple[str, ...]]) -> Iterator[tuple[int, int]]:
    """The pairs of conversations, by their indices, that have as many messages, each nearly the same as its like."""
    found = [tuple(map(pieces, messages)) for messages in texts]
    for one, other in _candidates(found):
        if len(found[one]) == len(found[other]) and all(
            overlap(mine, theirs) >= NEARLY for mine, theirs in zip(found[one], found[other], strict=True)
        ):
            yield one, other


def _candidates(found: Sequence[tuple[frozenset[str], ...]]) -> Iterator[tuple[int, int]]:
    """Pairs that MinHash finds alike: if each message is, the whole is as well, a piece being told by its message."""
    if len(found) < 2:
        return
    from rensa import RMinHash, RMinHashLSH

    tokens = (_tagged(messages) for messages in found)
    sketches = RMinHash.from_token_sets(tokens, num_perm=_HASHES, seed=_SEED)
    index = RMinHashLSH(threshold=NEARLY, num_perm=_HASHES, num_bands=_BANDS)
    for number, sketch in enumerate(sketches):
        yield from ((other, number) for other in sorted(index.query(sketch)))
        index.insert(number, sketch)


def _tagged(messages: Iterable[frozenset[str]]) -> list[str]:
    return sorted(f"{number} {piece}" for number, own in enumerate(messages) for piece in own)
