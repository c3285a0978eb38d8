"""What a run pays: noted call by call, and never more than it may."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from rasa_ft_ext.concurrency import in_order
from rasa_ft_ext.conversation import Usage
from rasa_ft_ext.errors import BudgetError, LLMError
from rasa_ft_ext.llm.base import LLM, Completion
from rasa_ft_ext.llm.cost import Account, Ledger
from rasa_ft_ext.llm.faults import Fault, Policy
from rasa_ft_ext.llm.opening import COSTS, Calls, open_calls
from rasa_ft_ext.llm.options import CallOptions
from rasa_ft_ext.llm.prices import Prices
from rasa_ft_ext.llm.request import Request, tokens_in
from rasa_ft_ext.llm.scripted.server import Running, scripted_llm
from rasa_ft_ext.llm.settings import resolve
from rasa_ft_ext.progress import Progress

ANSWERS = Path(__file__).parents[2] / "assistant_example" / "answers.yml"
GPT = "gpt-4.1-mini-2025-04-14"
IN, OUT = 4e-7, 1.6e-6  # dollars for one of its tokens
HELLO = "USER: I'd like to book a car"
ONE_ATTEMPT = Policy(attempts=1)


class Notes(Progress):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    with scripted_llm(ANSWERS, latency=0.05, syntax="v2") as running:
        yield running


def gpt(calls: Calls, server: Running) -> LLM:
    config = {"provider": "openai", "model": GPT, "api_base": server.base_url, "api_key": "none"}
    return calls.llm(resolve(config, {}, "test"), "rephrase")


def request(content: str, model: str = GPT, sample: int = 0) -> Request:
    return Request({"provider": "openai", "model": model}, ({"role": "user", "content": content},), sample)


def completion(prompt_tokens: int, completion_tokens: int, text: str = "x", *, batch: bool = False) -> Completion:
    return Completion(text, Usage(prompt_tokens=prompt_tokens, completion_tokens=completion_tokens), batch=batch)


def test_a_call_is_noted_by_stage_and_model_with_its_price() -> None:
    ledger = Ledger(Prices())
    ledger.paid(request("a"), completion(1000, 100))
    ledger.stage = "validate"
    ledger.paid(request("b"), completion(2000, 10))
    ledger.paid(request("c"), completion(2000, 10, batch=True))
    ledger.kept(request("b"), completion(2000, 10))

    assert ledger.accounts["annotate", f"openai/{GPT}"].price == pytest.approx(1000 * IN + 100 * OUT)
    validated = ledger.accounts["validate", f"openai/{GPT}"]
    assert (validated.calls, validated.kept, validated.prompt_tokens) == (2, 1, 4000)
    assert validated.price == pytest.approx(1.5 * (2000 * IN + 10 * OUT))
    assert validated.saved == pytest.approx(2000 * IN + 10 * OUT)


def test_tokens_that_a_provider_does_not_count_are_guessed() -> None:
    ledger = Ledger(Prices())
    ledger.paid(request("word" * 100), completion(0, 0, "four" * 5))

    account = next(iter(ledger.accounts.values()))
    assert (account.prompt_tokens, account.completion_tokens) == (100, 5)


def test_a_text_in_another_script_has_more_tokens_than_letters_by_four() -> None:
    assert tokens_in("東京で車を借りたい") > len("東京で車を借りたい") / 2
    assert tokens_in("") == 0


def test_an_unknown_price_is_told_as_unknown() -> None:
    ledger = Ledger(Prices())
    ledger.paid(request("a", model="of-mine"), completion(10, 1))

    assert next(iter(ledger.accounts.values())) == Account(1, 10, 1, None, 0, 0.0)
    assert "unknown price" in ledger.told()
    assert "0.00" not in ledger.told()
    ledger.paid(request("a"), completion(1_000_000, 0))
    assert "about 0.4000 dollars (and more" in ledger.told()


def test_calls_under_way_count_as_if_they_were_paid() -> None:
    each = 1000 * IN + 60 * OUT
    ledger = Ledger(Prices(), max_cost=3.3 * each)
    text = "word" * 1000

    for sample in range(3):
        ledger.allow(request(text, sample=sample))
    ledger.allow(request(text, sample=2))  # another attempt at the same
    with pytest.raises(BudgetError, match=r"has paid 0\.00 dollars"):
        ledger.allow(request(text, sample=3))
    for sample in range(3):
        ledger.paid(request(text, sample=sample), completion(1000, 1))  # less than it was taken for
    assert ledger.paid_in_all == pytest.approx(3 * (1000 * IN + OUT))
    with pytest.raises(BudgetError):  # the run is ending
        ledger.allow(request("a", sample=3))


def test_a_call_that_failed_is_not_under_way_any_more() -> None:
    each = 1000 * IN + 60 * OUT
    ledger = Ledger(Prices(), max_cost=1.5 * each)
    text = "word" * 1000
    for sample in range(40):
        ledger.allow(request(text, sample=sample))
        ledger.over(request(text, sample=sample))
    ledger.allow(request(text))
    with pytest.raises(BudgetError):
        ledger.allow(request(text, sample=1))


@pytest.mark.parametrize("use_cache", [True, False])
def test_refused_requests_take_nothing_of_the_limit(tmp_path: Path, use_cache: bool) -> None:
    async def refuse() -> Completion:
        raise Fault("request", LLMError("too long"))

    async def answer() -> Completion:
        return completion(1000, 1)

    async def run(calls: Calls) -> None:
        await calls.gateway.ask(request("first"), answer)
        for sample in range(20):
            with pytest.raises(LLMError, match="too long"):
                await calls.gateway.ask(request("word" * 1000, sample=sample), refuse)
        await calls.gateway.ask(request("word" * 1000), answer)

    with open_calls(CallOptions(max_cost=5 * 1000 * IN, use_cache=use_cache), tmp_path, Notes()) as calls:
        asyncio.run(run(calls))


def test_each_run_writes_down_what_it_paid_however_it_ends(tmp_path: Path, server: Running) -> None:
    def run(prompt: str, error: type[BaseException] | None = None) -> None:
        with open_calls(CallOptions(), tmp_path, Notes()) as calls:
            asyncio.run(ask_all(gpt(calls, server), [HELLO, prompt]))
            if error is not None:
                raise error

    with pytest.raises(KeyboardInterrupt):
        run(HELLO, KeyboardInterrupt)
    run(f"Again.\n{HELLO}")
    lines = [json.loads(line)["paid"] for line in (tmp_path / COSTS).read_text().splitlines()]
    assert [[(entry["calls"], entry["kept"]) for entry in line] for line in lines] == [[(1, 1)], [(1, 1)]]
    ((first,), _) = lines
    assert (first["stage"], first["model"]) == ("rephrase", f"openai/{GPT}")
    price = first["prompt_tokens"] * IN + first["completion_tokens"] * OUT
    assert first["price"] == pytest.approx(price, abs=1e-6)
    assert first["prompt_tokens"] > 0 < first["completion_tokens"]


def test_costs_that_cannot_be_written_do_not_fail_the_run(tmp_path: Path, server: Running) -> None:
    notes = Notes()
    (tmp_path / "out" / COSTS).mkdir(parents=True)
    with open_calls(CallOptions(cache=tmp_path), tmp_path / "out", notes) as calls:
        asyncio.run(gpt(calls, server).complete(HELLO))
    assert notes.notes[1].startswith(f"{tmp_path / 'out' / COSTS} cannot be written")


def test_nothing_is_refused_without_a_limit() -> None:
    Ledger(Prices()).allow(request("word" * 10_000_000))


async def ask_all(llm: LLM, prompts: list[str]) -> list[Completion | BaseException]:
    return await asyncio.gather(*(llm.complete(prompt) for prompt in prompts), return_exceptions=True)


def test_a_run_stops_below_its_limit_and_the_next_one_pays_for_the_rest_only(tmp_path: Path, server: Running) -> None:
    prompts = [f"{'Hello there. ' * 200} Number {number}\n{HELLO}" for number in range(40)]
    before, notes = server.stats()["calls"], Notes()
    limit = 0.004
    with open_calls(CallOptions(max_cost=limit), tmp_path, notes) as calls:
        first = asyncio.run(ask_all(gpt(calls, server), prompts))
        paid = calls.ledger.paid_in_all

    stopped = [found for found in first if isinstance(found, BudgetError)]
    answered = [found for found in first if isinstance(found, Completion)]
    assert len(stopped) + len(answered) == 40
    assert 0 < paid <= limit
    assert server.stats()["calls"] - before == len(answered) > 0
    assert "--max-cost" in str(stopped[0])
    assert notes.notes == [calls.ledger.told()]

    with open_calls(CallOptions(), tmp_path, notes) as calls:
        second = asyncio.run(ask_all(gpt(calls, server), prompts))
        account = calls.ledger.accounts["rephrase", f"openai/{GPT}"]
    assert server.stats()["calls"] - before == 40
    assert (account.calls, account.kept) == (40 - len(answered), len(answered))
    assert all(isinstance(found, Completion) for found in second)


def test_calls_under_way_are_waited_for_where_the_next_one_is_refused(tmp_path: Path, server: Running) -> None:
    prompts = [f"{'Good day. ' * 200} Number {number}\n{HELLO}" for number in range(40)]
    before = server.stats()["calls"]
    with open_calls(CallOptions(max_cost=0.004), tmp_path, Notes()) as calls:
        with pytest.raises(BudgetError):
            asyncio.run(in_order(prompts, gpt(calls, server).complete, limit=16))
        paid = sum(account.calls for account in calls.ledger.accounts.values())

    assert paid == server.stats()["calls"] - before > 0
    with open_calls(CallOptions(), tmp_path, Notes()) as calls:
        asyncio.run(in_order(prompts, gpt(calls, server).complete, limit=16))
    assert server.stats()["calls"] - before == 40


def test_whoever_asks_nobody_leaves_no_file(tmp_path: Path) -> None:
    notes = Notes()
    with open_calls(CallOptions(), tmp_path, notes) as calls:
        assert calls.cache is not None
        assert not calls.cache.has({"provider": "openai", "model": GPT}, "Hello")
    assert list(tmp_path.iterdir()) == []
    assert notes.notes == []


def test_the_cache_may_be_elsewhere_or_nowhere(tmp_path: Path, server: Running) -> None:
    for options in (CallOptions(cache=tmp_path / "shared"), CallOptions(use_cache=False)):
        with open_calls(options, tmp_path / "out", Notes()) as calls:
            asyncio.run(gpt(calls, server).complete(HELLO))
        assert [path.name for path in (tmp_path / "out").iterdir()] == [COSTS]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "shared"]
    with open_calls(CallOptions(cache=tmp_path / "shared"), tmp_path / "out", Notes()) as calls:
        llm = gpt(calls, server)
        assert calls.cache is not None
        assert calls.cache.has(llm.settings, HELLO)
        assert not calls.cache.has(llm.settings, f"{HELLO}?")


def test_the_timeout_is_that_of_the_options(tmp_path: Path) -> None:
    with (
        scripted_llm(ANSWERS, latency=30) as slow,
        open_calls(CallOptions(timeout=0.2, use_cache=False, policy=ONE_ATTEMPT), tmp_path, Notes()) as calls,
        pytest.raises(LLMError, match=r"0\.2 seconds"),
    ):
        asyncio.run(gpt(calls, slow).complete(HELLO))
