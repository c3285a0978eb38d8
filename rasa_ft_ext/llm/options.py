"""What a user says about the calls of a run: how many and how fast, where answers are kept, what it may cost."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from rasa_ft_ext.llm.faults import Policy

Mode = Literal["calls", "batch"]
Backend = Literal["processes", "ray"]

DEFAULT_CONCURRENCY = 16

_IN_BATCHES = 2000  # conversations: some 100,000 calls in one batch, and some 100 MB of memory


@dataclass(frozen=True)
class CallOptions:
    """How the calls of a run are made and the work on them is shared. None of it changes the data."""

    concurrency: int = DEFAULT_CONCURRENCY
    """How many calls to one server, and how many conversations, are under way at most; adapted below that."""
    max_requests_per_minute: int | None = None
    """The calls that one server gets in a minute at most."""
    max_tokens_per_minute: int | None = None
    """The tokens that one server gets and gives in a minute at most."""
    timeout: float | None = None
    """Seconds that one call may take, in place of what the LLM's configuration says."""
    cache: str | Path | None = None
    """The folder in which answers are kept; None: within the output folder."""
    use_cache: bool = True
    """Whether answers are kept, and kept ones are used."""
    mode: Mode = "calls"
    """How rephrasings are asked for and checked: call by call, or in batches, at half the price and within a day."""
    price_per_1k: str | tuple[float, float] | None = None
    """Dollars for 1,000 prompt tokens and 1,000 completion tokens (`0.0004:0.0016`) of models with no known price."""
    max_cost: float | None = None
    """Dollars that the run may pay for calls; before it would pay more, it stops."""
    policy: Policy | None = None
    """How long to go on where calls fail; the command line has no say in it."""
    workers: int = 1
    """How many processes do the work of Rasa."""
    backend: Backend = "processes"
    """Where these are: on this machine, or on a Ray cluster."""

    @property
    def in_flight(self) -> int | None:
        """How many conversations are under way in batch mode, with all of their calls at once; None: in the other."""
        return _IN_BATCHES if self.mode == "batch" else None

    def problems(self) -> list[str]:
        """All that cannot work, a sentence each."""
        found = [
            f"{name} is {value}; it must be 1 or more."
            for name, value in (
                ("concurrency", self.concurrency),
                ("max_requests_per_minute", self.max_requests_per_minute),
                ("max_tokens_per_minute", self.max_tokens_per_minute),
                ("workers", self.workers),
            )
            if value is not None and value < 1
        ]
        if self.timeout is not None and not 0 < self.timeout < math.inf:
            found.append(f"timeout is {self.timeout}; it must be a number of seconds above 0.")
        if self.max_cost is not None and not 0 <= self.max_cost < math.inf:
            found.append(f"max_cost is {self.max_cost}; it must be a number of dollars, 0 or more.")
        if self.cache is not None and not self.use_cache:
            found.append("cache is given, and use_cache is off; give one of the two.")
        if self.mode == "batch" and not self.use_cache:
            found.append(
                "mode is 'batch', which keeps its answers in the cache, and there is to be none; give one of the two."
            )
        for name, choice, known in (("mode", self.mode, get_args(Mode)), ("backend", self.backend, get_args(Backend))):
            if choice not in known:
                found.append(f"{name} is {choice!r}; it must be one of {', '.join(known)}.")
        try:
            self.price()
        except ValueError as error:
            found.append(f"price_per_1k is {self.price_per_1k!r}; {error}")
        return found

    def price(self) -> tuple[float, float] | None:
        """Dollars for one prompt token and one completion token, as far as they were given.

        Raises:
            ValueError: it is no price.
        """
        if self.price_per_1k is None:
            return None
        given = self.price_per_1k
        return read_price(given) if isinstance(given, str) else _per_token(*given)


def read_price(text: str) -> tuple[float, float]:
    """Read `IN:OUT`, or one price for both, in dollars for 1,000 tokens; return dollars for one.

    Raises:
        ValueError: it is no price.
    """
    first, colon, second = text.partition(":")
    try:
        return _per_token(float(first), float(second if colon else first))
    except ValueError:
        raise ValueError("it must be IN:OUT, two numbers of dollars such as 0.0004:0.0016.") from None


def _per_token(prompt: float, completion: float) -> tuple[float, float]:
    if not (0 <= prompt < math.inf and 0 <= completion < math.inf):
        raise ValueError("it must be two numbers of dollars, 0 or more.")
    return prompt / 1000, completion / 1000
