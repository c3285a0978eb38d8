"""What one run pays for its calls, and the limit that it must not pass.

    ledger = Ledger(Prices(), max_cost=5.0)
    ledger.stage = "annotate"
    Gateway(..., book=ledger)       # asks `allow` before each call, and tells what was `paid` and what was `kept`
    ledger.told()                   # "412 calls were paid: about 0.61 dollars ..."

Only a gateway writes here, from one event loop. What the data cost in all, kept answers included, is told by
`rasa_ft_ext.llm.usage`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from rasa_ft_ext.errors import BudgetError
from rasa_ft_ext.llm.base import LLM, Completion, Readable
from rasa_ft_ext.llm.prices import Prices, dollars
from rasa_ft_ext.llm.request import Request, tokens_in
from rasa_ft_ext.llm.usage import Purpose, model_name

IN_BATCHES: tuple[Purpose, ...] = ("rephrase", "validate")
"""What batch mode makes batches of: these calls do not wait for one another."""

_COMPLETION = 60  # tokens that an answer is taken to have, as long as none of its kind has come

_made_for: ContextVar[Purpose | None] = ContextVar("made_for", default=None)


@dataclass
class Account:
    """What was paid to one model in one stage of this run, and what was not, since the answer was kept before.

    `price` and `saved` are dollars, None where the model's price is not known.
    """

    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    price: float | None = 0.0
    kept: int = 0
    saved: float | None = 0.0


@dataclass
class Ledger:
    """See the module.

    Args:
        prices: What tokens cost.
        max_cost: Dollars that the run may pay in all; None: as much as it takes.
        batch: Whether the calls that can be made in batches are.
        how_to_go_on: What the error says at the end: what is kept, and how to go on.
    """

    prices: Prices
    max_cost: float | None = None
    batch: bool = False
    how_to_go_on: str = "What was paid for is kept. The same command with a higher --max-cost goes on from there."
    stage: Purpose = "annotate"
    """What the assistant's LLM is asked for now."""
    accounts: dict[tuple[Purpose, str], Account] = field(default_factory=dict)
    """By stage and model."""
    _under_way: dict[str, float] = field(default_factory=dict)
    _reserved: float = 0.0  # the sum of these
    _is_spent: bool = False

    @property
    def purpose(self) -> Purpose:
        """What the call that is being made is for."""
        return _made_for.get() or self.stage

    @property
    def paid_in_all(self) -> float:
        """Dollars that this run has paid, as far as prices are known."""
        return sum(account.price or 0.0 for account in self.accounts.values())

    def allow(self, request: Request) -> None:
        """Let a call be made, or refuse it, and all after it.

        Raises:
            BudgetError: with it, and with those under way, the run would pay more than it may.
        """
        if self.max_cost is None:
            return
        self.over(request)
        expected, paid = self._expected(request), self.paid_in_all
        if self._is_spent or paid + self._reserved + expected > self.max_cost:
            self._is_spent = True  # from now on there are none, so that the run may end when those under way are over
            raise BudgetError(
                f"The run has paid {dollars(paid)}, and with the next call it would pass the {dollars(self.max_cost)} "
                f"of --max-cost. {self.how_to_go_on}"
            )
        self._under_way[request.key] = expected
        self._reserved += expected

    def over(self, request: Request) -> None:
        """Note that a call is not under way any more."""
        self._reserved -= self._under_way.pop(request.key, 0.0)
        if not self._under_way:
            self._reserved = 0.0  # and not what is left of rounding

    def paid(self, request: Request, completion: Completion) -> None:
        """Note a call that was answered."""
        self.over(request)
        account, cost = self._noted(request, completion)
        prompt_tokens, completion_tokens = _tokens(request, completion)
        account.calls += 1
        account.prompt_tokens += prompt_tokens
        account.completion_tokens += completion_tokens
        account.price = None if cost is None or account.price is None else account.price + cost

    def kept(self, request: Request, completion: Completion) -> None:
        """Note an answer that was there already."""
        account, cost = self._noted(request, completion)
        account.kept += 1
        account.saved = None if cost is None or account.saved is None else account.saved + cost

    def told(self) -> str:
        """What was paid and what was not, in one sentence or two; nothing where nothing was asked."""
        accounts = list(self.accounts.values())
        calls, kept = sum(account.calls for account in accounts), sum(account.kept for account in accounts)
        told = []
        if calls:
            read = sum(account.prompt_tokens for account in accounts)
            written = sum(account.completion_tokens for account in accounts)
            price = _of_all(account.price for account in accounts if account.calls)
            made = f"{calls:,} {'call' if calls == 1 else 'calls'} ({read:,} tokens in, {written:,} out)"
            told.append(
                f"This run paid {price} for {made}." if price else f"This run made {made}, at an unknown price."
            )
        if kept:
            saved = _of_all(account.saved for account in accounts if account.kept)
            there = "1 answer was there already" if kept == 1 else f"{kept:,} answers were there already"
            told.append(f"{there}, which saved {saved}." if saved else f"{there}.")
        return " ".join(told)

    def entries(self) -> list[dict[str, Any]]:
        """What was paid, by stage and model, for a file: dollars are None where the price is not known."""
        return [
            {
                "stage": stage,
                "model": model,
                "calls": account.calls,
                "kept": account.kept,
                "prompt_tokens": account.prompt_tokens,
                "completion_tokens": account.completion_tokens,
                "price": None if account.price is None else round(account.price, 6),
            }
            for (stage, model), account in self.accounts.items()
        ]

    def _noted(self, request: Request, completion: Completion) -> tuple[Account, float | None]:
        """The account of a call, and what the call costs when it is made."""
        model, purpose = model_name(request.model), self.purpose
        account = self.accounts.setdefault((purpose, model), Account())
        return account, self.prices.cost(model, *_tokens(request, completion), batch=completion.batch)

    def _expected(self, request: Request) -> float:
        model, purpose = model_name(request.model), self.purpose
        before = self.accounts.get((purpose, model))
        answer = before.completion_tokens / before.calls if before and before.calls else _COMPLETION
        batch = self.batch and purpose in IN_BATCHES
        return self.prices.cost(model, request.tokens, answer, batch=batch) or 0.0


class PaidFor(LLM):
    """An LLM whose calls are noted under a purpose of their own."""

    def __init__(self, llm: LLM, purpose: Purpose) -> None:
        self._llm = llm
        self._purpose = purpose

    @property
    def settings(self) -> dict[str, Any]:
        return self._llm.settings

    async def complete(self, prompt: str, *, sample: int = 0, readable: Readable | None = None) -> Completion:
        with _paying_for(self._purpose):
            return await self._llm.complete(prompt, sample=sample, readable=readable)

    async def close(self) -> None:
        await self._llm.close()


def _tokens(request: Request, completion: Completion) -> tuple[int, int]:
    """The tokens of a call as the provider counted them; a guess where it told none."""
    usage = completion.usage
    return usage.prompt_tokens or request.tokens, usage.completion_tokens or tokens_in(completion.text)


def _of_all(amounts: Iterable[float | None]) -> str | None:
    """The sum of amounts of which some are not known; None where none is."""
    each = list(amounts)
    known = [amount for amount in each if amount is not None]
    if not known:
        return None
    more = "" if len(known) == len(each) else " (and more where prices are not known)"
    return f"about {dollars(sum(known))}{more}"


@contextmanager
def _paying_for(purpose: Purpose) -> Iterator[None]:
    token = _made_for.set(purpose)
    try:
        yield
    finally:
        _made_for.reset(token)
