"""Every call passes the gateway: kept answers, shared calls, what is tried again and what is not."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from rasa_ft_ext.conversation import Usage
from rasa_ft_ext.errors import LLMAnswerError, LLMError, LLMUnavailableError
from rasa_ft_ext.llm.base import Completion
from rasa_ft_ext.llm.faults import Fault, Kind, Policy
from rasa_ft_ext.llm.gateway import Gateway
from rasa_ft_ext.llm.request import Request


class Memory:
    """A cache that forgets everything with the process."""

    def __init__(self) -> None:
        self.kept: dict[str, Completion] = {}

    async def get(self, key: str) -> Completion | None:
        return self.kept.get(key)

    async def put(self, key: str, request: Request, completion: Completion) -> Completion:
        await asyncio.sleep(0)
        return self.kept.setdefault(key, completion)


class Sender:
    """Gives the outcomes of a list, one for each attempt; the last one goes on."""

    def __init__(self, *outcomes: str | Fault) -> None:
        self.outcomes = outcomes
        self.attempts = 0

    async def __call__(self) -> Completion:
        self.attempts += 1
        await asyncio.sleep(0)
        outcome = self.outcomes[min(self.attempts, len(self.outcomes)) - 1]
        if isinstance(outcome, Fault):
            raise outcome
        return Completion(outcome, Usage(prompt_tokens=5, completion_tokens=2))


def fault(kind: Kind, error: type[LLMError] = LLMError) -> Fault:
    return Fault(kind, error(f"it was {kind}"))


def ask_for(text: str, sample: int = 0, **settings: Any) -> Request:
    model = {"provider": "self-hosted", "model": "m", "api_base": "http://x/v1", **settings}
    return Request(model, ({"role": "user", "content": text},), sample)


async def no_wait(seconds: float) -> None:
    await asyncio.sleep(0)


def gateway(**options: Any) -> Gateway:
    return Gateway(sleep=no_wait, **options)


async def test_an_answer_that_is_kept_is_not_asked_for_again() -> None:
    found, send = gateway(cache=Memory()), Sender("one", "two")
    first = await found.ask(ask_for("x"), send)
    again = await found.ask(ask_for("x"), send)
    assert (first.text, first.cached, again.text, again.cached) == ("one", False, "one", True)
    assert send.attempts == 1


@pytest.mark.parametrize(
    "other", [ask_for("y"), ask_for("x", sample=1), ask_for("x", temperature=0.5), ask_for("x", api_base="http://y/v1")]
)
async def test_another_question_gets_an_answer_of_its_own(other: Request) -> None:
    found, send = gateway(cache=Memory()), Sender("one", "two")
    await found.ask(ask_for("x"), send)
    assert (await found.ask(other, send)).text == "two"


def test_how_long_to_wait_is_no_part_of_the_question() -> None:
    assert ask_for("x", timeout=5).key == ask_for("x").key


async def test_who_asks_the_same_at_the_same_time_shares_one_call() -> None:
    found, send = gateway(cache=Memory()), Sender("one", "two")
    texts = [entry.text for entry in await asyncio.gather(*(found.ask(ask_for("x"), send) for _ in range(5)))]
    assert texts == ["one"] * 5
    assert send.attempts == 1


async def test_who_shares_a_call_that_is_cancelled_makes_it() -> None:
    found, send = gateway(cache=Memory()), Sender("one")
    first, second = (asyncio.create_task(found.ask(ask_for("x"), send)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    assert (await second).text == "one"
    assert first.cancelled()


async def test_without_a_cache_everybody_asks() -> None:
    found, send = gateway(), Sender("one", "two")
    assert [(await found.ask(ask_for("x"), send)).text for _ in range(2)] == ["one", "two"]


@pytest.mark.parametrize("kind", ["throttled", "passing", "answer"])
async def test_what_passes_is_tried_again(kind: Kind) -> None:
    send = Sender(*[fault(kind)] * 6, "one")
    assert (await gateway().ask(ask_for("x"), send)).text == "one"
    assert send.attempts == 7


@pytest.mark.parametrize(("kind", "error"), [("request", LLMError), ("fatal", LLMUnavailableError)])
async def test_what_does_not_pass_is_not_tried_again(kind: Kind, error: type[LLMError]) -> None:
    send = Sender(fault(kind))
    with pytest.raises(error, match=f"it was {kind}"):
        await gateway().ask(ask_for("x"), send)
    assert send.attempts == 1


@pytest.mark.parametrize("kind", ["passing", "answer"])
async def test_a_call_is_given_up_after_so_many_attempts_and_its_failure_is_not_kept(kind: Kind) -> None:
    memory = Memory()
    found, send = gateway(cache=memory, policy=Policy(attempts=3)), Sender(fault(kind, LLMAnswerError))
    with pytest.raises(LLMAnswerError):
        await found.ask(ask_for("x"), send)
    assert send.attempts == 3
    assert memory.kept == {}


async def test_being_throttled_is_no_attempt() -> None:
    send = Sender(*[fault("throttled")] * 50, "one")
    assert (await gateway(policy=Policy(attempts=2)).ask(ask_for("x"), send)).text == "one"


async def test_after_a_fatal_fault_nobody_calls_the_same_server_again() -> None:
    found = gateway()
    with pytest.raises(LLMUnavailableError):
        await found.ask(ask_for("x"), Sender(fault("fatal")))
    send = Sender("one")
    with pytest.raises(LLMUnavailableError, match="it was fatal"):
        await found.ask(ask_for("y"), send)
    assert send.attempts == 0
    assert (await found.ask(ask_for("y", api_base="http://other/v1"), send)).text == "one"


async def test_an_answer_that_cannot_be_read_is_asked_for_again() -> None:
    found, send = gateway(cache=Memory()), Sender("Sorry, 17", "Sorry, 18", "", "StartFlow(x)")
    assert (await found.ask(ask_for("x"), send, lambda text: "(" in text)).text == "StartFlow(x)"
    assert send.attempts == 4


async def test_what_the_model_says_twice_is_what_it_has_to_say() -> None:
    memory = Memory()
    found, send = gateway(cache=memory), Sender("Hm", "Sorry", "Hm")
    assert (await found.ask(ask_for("x"), send, lambda text: False)).text == "Hm"
    assert send.attempts == 3
    assert [entry.text for entry in memory.kept.values()] == ["Hm"]


async def test_of_answers_that_all_differ_and_cannot_be_read_the_first_is_taken() -> None:
    send = Sender(*map(str, range(20)))
    assert (await gateway(policy=Policy(readings=4)).ask(ask_for("x"), send, lambda text: False)).text == "0"
    assert send.attempts == 4


async def test_every_attempt_that_was_answered_is_booked_and_a_kept_answer_as_such() -> None:
    class Book:
        def __init__(self) -> None:
            self.lines: list[str] = []

        def allow(self, request: Request) -> None:
            self.lines.append("allow")

        def over(self, request: Request) -> None:
            self.lines.append("over")

        def paid(self, request: Request, completion: Completion) -> None:
            self.lines.append(f"paid {completion.text}")

        def kept(self, request: Request, completion: Completion) -> None:
            self.lines.append(f"kept {completion.text}")

    book = Book()
    found = gateway(cache=Memory(), book=book)
    await found.ask(ask_for("x"), Sender(fault("passing"), "no", "x()"), lambda text: "(" in text)
    await found.ask(ask_for("x"), Sender("never"))
    assert book.lines == ["allow", "over", "allow", "paid no", "allow", "paid x()", "over", "kept x()"]
