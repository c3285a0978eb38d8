"""What a model's tokens cost, in US dollars, by litellm's own table; a price that is not known is None, never 0.

    prices = Prices(given=(0.0000001, 0.0000002))
    prices.cost("openai/gpt-4.1-mini-2025-04-14", 1_000_000, 0)     # 0.4

The table is the file that litellm ships. It is read as it is: no download, and not the seconds of litellm's import.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rasa_ft_ext.llm.settings import SELF_HOSTED

_TABLE = "model_prices_and_context_window_backup.json"
_BATCH = 0.5  # what providers take of the price for what they may answer within a day


@dataclass(frozen=True)
class Price:
    """Dollars for one token of a prompt and of a completion."""

    prompt: float
    completion: float


@dataclass(frozen=True)
class Prices:
    """The prices of a run.

    `given` are dollars for one prompt token and one completion token of models that the table does not have.
    """

    given: tuple[float, float] | None = None

    def of(self, model: str, *, batch: bool = False) -> Price | None:
        """The price of a model by its name from `rasa_ft_ext.llm.usage.model_name`; None where it is not known."""
        found = _listed(model)
        if found is None and self.given is not None:
            found = Price(*self.given)
        return Price(found.prompt * _BATCH, found.completion * _BATCH) if found and batch else found

    def cost(self, model: str, prompt_tokens: float, completion_tokens: float, *, batch: bool = False) -> float | None:
        """The dollars for so many tokens; None where the model's price is not known."""
        price = self.of(model, batch=batch)
        return None if price is None else prompt_tokens * price.prompt + completion_tokens * price.completion


def dollars(amount: float | None) -> str:
    """An amount as a person reads it: cents from a dollar on, more digits below."""
    if amount is None:
        return "unknown"
    if 0 < amount < 0.0001:
        return "under 0.0001 dollars"
    return f"{amount:,.2f} dollars" if amount >= 1 or amount == 0 else f"{amount:.4f} dollars"


@lru_cache(maxsize=64)
def _listed(model: str) -> Price | None:
    """What the table says: of the name as it is, or of the model's own name with this provider."""
    provider, _, name = model.partition("/")
    if provider == SELF_HOSTED:
        return None
    for key in (model, name):
        entry = _table().get(key)
        if isinstance(entry, dict) and (key == model or str(entry.get("litellm_provider")).startswith(provider)):
            prompt, completion = entry.get("input_cost_per_token"), entry.get("output_cost_per_token")
            if prompt and completion:
                return Price(float(prompt), float(completion))
    return None


@lru_cache(maxsize=1)
def _table() -> dict[str, Any]:
    litellm = find_spec("litellm")
    if litellm is None or litellm.origin is None:
        return {}
    table: dict[str, Any] = json.loads((Path(litellm.origin).parent / _TABLE).read_text(encoding="utf-8"))
    return table
