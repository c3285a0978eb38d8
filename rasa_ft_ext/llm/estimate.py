"""What the calls of a run will be at most: counted before the first of them is made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from rasa_ft_ext.llm.prices import Prices
from rasa_ft_ext.llm.usage import Purpose


@dataclass(frozen=True)
class Expected:
    """The calls to one model for one purpose, and the tokens that they are guessed to take.

    `price` is in dollars, None where that of the model is not known.
    """

    stage: Purpose
    model: str
    calls: int
    prompt_tokens: int
    completion_tokens: int
    price: float | None


@dataclass(frozen=True)
class Estimate:
    """The calls of all stages to come, those whose answers are known to be kept left out."""

    lines: tuple[Expected, ...] = ()

    @property
    def calls(self) -> int:
        return sum(line.calls for line in self.lines)

    @property
    def price(self) -> float | None:
        """Dollars for all of it, as far as prices are known; None where none is."""
        known = [line.price for line in self.lines if line.price is not None]
        return sum(known) if known else None

    @property
    def unknown(self) -> tuple[str, ...]:
        """The models whose price is not known."""
        return tuple(dict.fromkeys(line.model for line in self.lines if line.price is None))


Confirm = Callable[[Estimate], None]
"""Is shown an estimate before the first call is made; what it raises ends the run."""


def expected(
    stage: Purpose,
    model: str,
    calls: float,
    prompt_tokens: float,
    completion_tokens: float,
    prices: Prices,
    *,
    batch: bool = False,
) -> tuple[Expected, ...]:
    """A line of an estimate; nothing where there is no call."""
    if not calls:
        return ()
    cost = prices.cost(model, prompt_tokens, completion_tokens, batch=batch)
    return (Expected(stage, model, round(calls), round(prompt_tokens), round(completion_tokens), cost),)
