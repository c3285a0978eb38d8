"""LiteLLM over real HTTP: what it sends, what it tries again, and what it says when it fails."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web

from rasa_ft_ext.errors import LLMAnswerError, LLMError, LLMUnavailableError
from rasa_ft_ext.llm.client import LiteLLM
from rasa_ft_ext.llm.faults import Policy
from rasa_ft_ext.llm.gateway import Gateway
from rasa_ft_ext.llm.settings import resolve

KEY = "our-very-secret-key"
ERROR = {"error": {"message": f"something about {KEY}", "type": "t", "code": "c"}}


def answer(text: str | None = "hello") -> dict[str, Any]:
    message = {"role": "assistant", "content": text}
    return {
        "id": "1",
        "object": "chat.completion",
        "created": 1,
        "model": "served",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4},
    }


@dataclass
class Server:
    """Answers its calls one after the other from a list; the last answer goes on."""

    script: list[Callable[[web.Request], Any] | tuple[int, Any]]
    base: str = ""
    bodies: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.bodies.append(await request.json())
        self.keys.append(request.headers.get("Authorization", ""))
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            entry = self.script[min(len(self.bodies), len(self.script)) - 1]
            if callable(entry):
                return await entry(request)
            status, body = entry
            return web.json_response(body, status=status, headers={"Retry-After": "7"} if status == 429 else {})
        finally:
            self.at_once -= 1


@asynccontextmanager
async def serving(*script: Any) -> AsyncIterator[Server]:
    server = Server(list(script))
    app = web.Application()
    app.router.add_post("/v1/chat/completions", server.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server.base = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    try:
        yield server
    finally:
        await runner.cleanup()


class Sleeper:
    """Notes for how long it was asked to sleep, and does not: its clock goes on by so much."""

    def __init__(self) -> None:
        self.waits: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.waits.append(seconds)

    def clock(self) -> float:
        return sum(self.waits)


def llm(base: str, *, provider: str = "self-hosted", sleep: Any = None, **more: Any) -> LiteLLM:
    sleep = sleep or Sleeper()
    gateway = Gateway(
        concurrency=more.pop("concurrency", 16),
        policy=Policy(attempts=more.pop("attempts", 5)),
        sleep=sleep,
        clock=sleep.clock,
    )
    settings = resolve({"provider": provider, "model": "m", "api_base": base, "api_key": KEY, **more}, {}, "test")
    return LiteLLM(settings, gateway)


both = pytest.mark.parametrize("provider", ["self-hosted", "openai"])


@both
async def test_sends_the_prompt_and_reads_text_usage_and_model(provider: str) -> None:
    async with serving((200, answer())) as server:
        client = llm(server.base, provider=provider, temperature=0.5, max_tokens=9)
        completion = await client.complete("Say hello.")
    assert (completion.text, completion.model) == ("hello", "served")
    assert (completion.usage.prompt_tokens, completion.usage.completion_tokens) == (3, 1)
    assert server.bodies[0]["messages"] == [{"role": "user", "content": "Say hello."}]
    assert server.bodies[0]["temperature"] == 0.5
    assert server.keys == [f"Bearer {KEY}"]
    assert client.settings == {
        "provider": provider,
        "model": "m",
        "api_base": server.base,
        "max_tokens": 9,
        "temperature": 0.5,
    }


async def lose_connection(request: web.Request) -> web.Response:
    assert request.transport is not None
    request.transport.close()
    return web.Response()


@both
@pytest.mark.parametrize("failure", [(429, ERROR), (500, ERROR), (503, ERROR), (502, "<html>"), lose_connection])
async def test_what_may_pass_is_tried_again(provider: str, failure: Any) -> None:
    async with serving(failure, failure, (200, answer())) as server:
        completion = await llm(server.base, provider=provider).complete("x")
    assert completion.text == "hello"
    assert len(server.bodies) == 3


async def test_waits_as_long_as_the_server_asks_otherwise_longer_and_longer() -> None:
    sleeper = Sleeper()
    async with serving((429, ERROR), (500, ERROR), (500, ERROR), (200, answer())) as server:
        await llm(server.base, sleep=sleeper).complete("x")
    assert sleeper.waits[0] == 7
    assert sleeper.waits[1] < sleeper.waits[2] + 1
    assert len(sleeper.waits) == 3


@both
async def test_timeout_is_tried_again_and_then_named(provider: str) -> None:
    given_up = asyncio.Event()

    async def too_slow(request: web.Request) -> web.Response:
        await given_up.wait()
        return web.json_response(answer())

    async with serving(too_slow) as server:
        with pytest.raises(LLMError, match=r"0\.05 seconds.*timeout") as caught:
            await llm(server.base, provider=provider, timeout=0.05, attempts=2).complete("x")
        given_up.set()
    assert type(caught.value) is LLMError
    assert len(server.bodies) == 2


@both
@pytest.mark.parametrize(
    ("failure", "error", "part"),
    [
        ((400, ERROR), LLMError, "something about"),
        ((401, ERROR), LLMUnavailableError, "API_KEY"),
        ((403, ERROR), LLMUnavailableError, "API_KEY"),
        ((404, ERROR), LLMError, "not found.*something.*check `model`"),
        ((429, {"error": {"message": "insufficient_quota"}}), LLMUnavailableError, "quota"),
        (
            (400, {"error": {"message": "maximum context length is 10 tokens", "code": "context_length_exceeded"}}),
            LLMError,
            "too long",
        ),
        ((200, answer(None)), LLMAnswerError, "without text"),
        ((200, answer("  \n")), LLMAnswerError, "without text"),
    ],
)
async def test_what_cannot_pass_is_not_tried_again(
    provider: str, failure: Any, error: type[LLMError], part: str
) -> None:
    sleeper = Sleeper()
    async with serving(failure) as server:
        with pytest.raises(LLMError, match=part) as caught:
            await llm(server.base, provider=provider, sleep=sleeper).complete("x")
    assert type(caught.value) is error
    assert len(server.bodies) == 1
    assert sleeper.waits == []
    assert KEY not in str(caught.value)


async def test_gives_up_after_so_many_attempts() -> None:
    async with serving((500, ERROR)) as server:
        with pytest.raises(LLMError, match="failed") as caught:
            await llm(server.base, attempts=3).complete("x")
    assert len(server.bodies) == 3
    assert not isinstance(caught.value, LLMUnavailableError)
    assert KEY not in str(caught.value)


@both
@pytest.mark.parametrize("base", ["http://127.0.0.1:1/v1", "http://nowhere.invalid/v1"])
async def test_nobody_there_is_said_with_the_address_and_not_tried_again(provider: str, base: str) -> None:
    sleeper = Sleeper()
    with pytest.raises(LLMUnavailableError, match="server running") as caught:
        await llm(base, provider=provider, sleep=sleeper).complete("x")
    assert base in str(caught.value)
    assert sleeper.waits == []


async def test_server_that_has_answered_before_is_waited_for() -> None:
    sleeper = Sleeper()
    async with serving((200, answer())) as server:
        client = llm(server.base, sleep=sleeper, attempts=3)
        await client.complete("x")
    with pytest.raises(LLMUnavailableError):
        await client.complete("x")
    assert len(sleeper.waits) == 2


async def test_missing_key_says_which_variable_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    settings = resolve({"provider": "openai", "model": "gpt-4o", "api_base": "http://127.0.0.1:1/v1"}, {}, "x")
    with pytest.raises(LLMUnavailableError, match="Set OPENAI_API_KEY"):
        await LiteLLM(settings).complete("x")


async def test_never_more_calls_at_once_than_allowed() -> None:
    three = asyncio.Barrier(3)

    async def at_once(request: web.Request) -> web.Response:
        return web.json_response(answer())

    async def together(request: web.Request) -> web.Response:
        await three.wait()
        return web.json_response(answer())

    async with serving(at_once, together) as server:
        client = llm(server.base, concurrency=3)
        await asyncio.gather(*(client.complete("x") for _ in range(13)))
    assert len(server.bodies) == 13
    assert server.most_at_once == 3


def test_litellm_is_not_imported_before_the_first_call() -> None:
    code = "import sys, rasa_ft_ext.llm.client; print({'litellm', 'openai', 'rasa'} & sys.modules.keys())"
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True).stdout == b"set()\n"


@both
@pytest.mark.parametrize("body", [{**answer(), "choices": []}, {"id": "1"}, [], "cut"])
async def test_an_answer_of_the_wrong_form_is_asked_for_again(provider: str, body: Any) -> None:
    async def wrong(request: web.Request) -> web.Response:
        text = '{"choices": [{"message": {"role": "assista' if body == "cut" else None
        return web.json_response(body) if text is None else web.Response(text=text, content_type="application/json")

    async with serving(wrong, wrong, (200, answer())) as server:
        assert (await llm(server.base, provider=provider).complete("x")).text == "hello"
    async with serving(wrong) as server:
        with pytest.raises(LLMAnswerError, match="holds no text"):
            await llm(server.base, provider=provider, attempts=2).complete("x")
    assert len(server.bodies) == 2
