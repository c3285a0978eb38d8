"""How batches are made and looked at, and what the batches of all models share."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from rasa_ft_ext.llm.batch.client import MOST_BYTES, MOST_REQUESTS
from rasa_ft_ext.llm.batch.state import BatchState, SentBatch
from rasa_ft_ext.llm.faults import Policy
from rasa_ft_ext.progress import Progress


@dataclass(frozen=True)
class Pace:
    """How batches are made and looked at.

    `settle` are the seconds without a new request after which a batch is sent, `look` those until it is looked at for
    the first time; then it is half as long again each time, and at most `longest_look`. A batch has no more than
    `requests` requests and `size` bytes.
    """

    settle: float = 5.0
    look: float = 2.0
    longest_look: float = 60.0
    requests: int = MOST_REQUESTS
    size: int = MOST_BYTES


class House(Protocol):
    """What all desks share: `rasa_ft_ext.llm.batch.batches.Batches`."""

    progress: Progress
    policy: Policy
    pace: Pace
    sleep: Callable[[float], Awaitable[None]]

    @property
    def state(self) -> BatchState: ...
    @property
    def folder(self) -> Path: ...


@dataclass
class Room:
    """How many requests the provider lets wait at a time: it counts their tokens, and does not say how many it lets."""

    requests: int
    one_batch: bool = False

    def shrink(self, batch: SentBatch, others: bool) -> None:
        """Make do with less, after a batch was refused; `others` says whether other batches took up room."""
        if not others:
            self.requests = max(1, batch.requests // 2)
        self.one_batch = True
