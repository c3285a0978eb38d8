"""How far a message is from those of the training data, by the letters that they share.

A text is taken apart into the words' groups of three letters (two in Chinese, Japanese and Korean), a digit being as
good as any other. A group weighs the more, the fewer texts have it: `log((1 + texts) / (1 + texts with it))`, as in
TF-IDF. The similarity of two texts is the weight of the groups that both have, divided by that of all groups that
either has (the weighted Jaccard index): 1 for the same words, 0 for nothing in common.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_WORD = re.compile(r"\w+")
_FIRST_IDEOGRAPH = "\u2e80"
SAMPLE = 1000  # texts that the threshold is taken from
QUANTILE = 0.05
REMEMBERED = 10_000  # messages: most of what users say, they say again and again
FEWEST = 20  # texts; with less there is no saying what is far


@dataclass(frozen=True)
class Nearest:
    """The text that is most like a message, and how much so, from 0 to 1."""

    text: str | None
    similarity: float


class Neighbours:
    """Texts to compare messages with."""

    def __init__(self, texts: Iterable[str]) -> None:
        import numpy as np

        by_groups: dict[frozenset[str], str] = {}
        for text in texts:
            if groups := groups_of(text):
                by_groups.setdefault(groups, text)
        self._texts = list(by_groups.values())
        self._groups = list(by_groups)
        having: dict[str, list[int]] = {}
        for index, groups in enumerate(self._groups):
            for group in groups:
                having.setdefault(group, []).append(index)
        self._having = {group: np.array(found) for group, found in having.items()}
        self._unknown = math.log(1 + len(self._texts))
        self._weight = {group: self._unknown - math.log(1 + len(found)) for group, found in having.items()}
        self._sums = np.array([sum(self._weight[group] for group in sorted(groups)) for groups in self._groups])
        self._known: dict[frozenset[str], Nearest] = {}

    def nearest(self, message: str) -> Nearest:
        """The nearest text; what has just been looked up is remembered."""
        groups = groups_of(message)
        if groups not in self._known:
            if len(self._known) >= REMEMBERED:
                self._known.clear()
            self._known[groups] = self._search(groups)
        return self._known[groups]

    def threshold(self) -> float | None:
        """The similarity that 95 % of the texts have to the nearest of the other texts, or more.

        So of new messages that are as the texts are, one in twenty counts as far. None where there are too few texts.
        """
        if len(self._texts) < FEWEST:
            return None
        step = max(1, len(self._texts) // SAMPLE)
        found = sorted(self._search(self._groups[at], at).similarity for at in range(0, len(self._texts), step))
        return found[int(QUANTILE * len(found))]

    def _search(self, groups: frozenset[str], but: int | None = None) -> Nearest:
        """The nearest of all texts, or of all but one."""
        import numpy as np

        shared = np.zeros(len(self._texts))
        total = 0.0
        for group in sorted(groups):
            weight = self._weight.get(group, self._unknown)
            total += weight
            if group in self._having:
                shared[self._having[group]] += weight
        if not shared.any():
            return Nearest(None, 0.0)
        similarity = shared / (total + self._sums - shared)
        if but is not None:
            similarity[but] = 0.0
        best = int(similarity.argmax())
        return Nearest(self._texts[best], min(float(similarity[best]), 1.0))


def groups_of(text: str) -> frozenset[str]:
    """The groups of letters of a text's words, with the blanks around a word."""
    found: set[str] = set()
    for word in _WORD.findall(text.casefold()):
        padded = f" {re.sub(r'[0-9]', '0', word)} "
        length = 2 if any(letter >= _FIRST_IDEOGRAPH for letter in word) else 3
        found.update(padded[at : at + length] for at in range(max(1, len(padded) - length + 1)))
    return frozenset(found)


def drift(before: dict[str, int], now: dict[str, int]) -> float | None:
    """Half the sum of the differences between two distributions: 0 for the same, 1 for nothing in common."""
    total_before, total_now = sum(before.values()), sum(now.values())
    if not total_before or not total_now:
        return None
    names: Sequence[str] = sorted({*before, *now})
    return sum(abs(before.get(name, 0) / total_before - now.get(name, 0) / total_now) for name in names) / 2
