"""What the scripted LLM counts: calls by kind, faults, and which prompts were answered how often.

A prompt is remembered as 8 bytes of its digest, so a million different ones take about 100 MB at most.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rasa_ft_ext.llm.scripted.faults import Fault
from rasa_ft_ext.llm.scripted.openai import INVALID, RATE_LIMIT, Refusal

KINDS = ("commands", "paraphrases", "embeddings", "other")


class Counts:
    """The numbers of a server since it was started or told to begin anew."""

    def __init__(self) -> None:
        self._in_flight = 0
        self.reset()

    def reset(self) -> None:
        """Begin to count from zero."""
        self.calls: Counter[str] = Counter()
        self.faults: Counter[Fault] = Counter()
        self.refused = 0
        self.over_capacity = 0
        self._batches = 0
        self._came: Counter[int] = Counter()
        self._answered: Counter[int] = Counter()
        self._max_in_flight = self._in_flight

    def refusal(self, refusal: Refusal) -> None:
        """Count a request that got an error for an answer."""
        if refusal.kind == RATE_LIMIT:
            self.over_capacity += 1
        else:
            self.refused += 1
            self.calls["other"] += refusal.kind == INVALID

    @contextmanager
    def in_flight(self) -> Iterator[None]:
        """Count a request in, and out at the end."""
        self._in_flight += 1
        self._max_in_flight = max(self._max_in_flight, self._in_flight)
        try:
            yield
        finally:
            self._in_flight -= 1

    def came(self, what: str) -> int:
        """Count that this was asked; gives how often it had been asked before."""
        self._came[_digest(what)] += 1
        return self._came[_digest(what)] - 1

    def batch_began(self) -> None:
        self._batches += 1

    def answered(self, prompt: str) -> None:
        """Count an answer that its asker gets whole and has to pay for."""
        self._answered[_digest(prompt)] += 1

    def shown(self) -> dict[str, Any]:
        """All numbers, see `ScriptedLLM.stats`."""
        answered, distinct = self._answered.total(), len(self._answered)
        return {
            "calls": self.calls.total(),
            **{kind: self.calls[kind] for kind in KINDS},
            "refused": self.refused,
            "over_capacity": self.over_capacity,
            "answered": answered,
            "distinct": distinct,
            "repeated": answered - distinct,
            "batches": self._batches,
            "max_in_flight": self._max_in_flight,
            "faults": dict(sorted(self.faults.items())),
        }


def _digest(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest())
