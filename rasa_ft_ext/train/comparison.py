"""Whether one model is better than another on the same examples, and how sure that is.

    p_values = [mcnemar(best, other) for other in others]     # each has True or False for every example
    holm(p_values)                                            # as many comparisons as they are

This module knows neither models nor files; figures are exact and need no libraries.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import comb

SIGNIFICANT = 0.05


def mcnemar(one: Sequence[bool], other: Sequence[bool]) -> float:
    """McNemar's exact test, two-sided: how likely differences like these are if both models are equally good.

    Only examples count that one model has right and the other wrong: were they equally good, each of these would be
    the toss of a coin.

    Raises:
        ValueError: these are not the same examples.
    """
    pairs = list(zip(one, other, strict=True))
    only_one, only_other = pairs.count((True, False)), pairs.count((False, True))
    tosses = only_one + only_other
    tail = sum(comb(tosses, count) for count in range(min(only_one, only_other) + 1))
    return min(1.0, 2 * tail / (1 << tosses))  # whole numbers until here, however many examples there are


def holm(p_values: Sequence[float]) -> list[float]:
    """The same p-values, corrected for being that many (Holm): compare each with the one level, such as 0.05."""
    corrected = [0.0] * len(p_values)
    highest = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        highest = max(highest, min(1.0, p_values[index] * (len(p_values) - rank)))
        corrected[index] = highest
    return corrected


def needed(comparisons: int) -> int:
    """How many examples, all to one side, two models must differ on to be told apart in so many comparisons."""
    tosses = 1
    while comparisons * 2 / 2**tosses >= SIGNIFICANT:
        tosses += 1
    return tosses
