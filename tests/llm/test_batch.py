"""Calls in batches, against the scripted LLM's endpoints: each request is sent once, whatever happens in between."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from rasa_ft_ext.errors import ConfigError, LLMError, LLMUnavailableError
from rasa_ft_ext.llm.base import Completion
from rasa_ft_ext.llm.batch.batches import Batches
from rasa_ft_ext.llm.batch.client import BatchClient, Outcome, Seen, line_of
from rasa_ft_ext.llm.batch.pace import Pace
from rasa_ft_ext.llm.batch.state import BatchState
from rasa_ft_ext.llm.cache import Cache
from rasa_ft_ext.llm.client import LiteLLM
from rasa_ft_ext.llm.faults import Fault, Policy
from rasa_ft_ext.llm.gateway import Gateway
from rasa_ft_ext.llm.request import Request
from rasa_ft_ext.llm.scripted.faults import Faults
from rasa_ft_ext.llm.scripted.files import Problem
from rasa_ft_ext.llm.scripted.script import Script
from rasa_ft_ext.llm.scripted.server import Running, scripted_llm
from rasa_ft_ext.llm.settings import LLMSettings, resolve
from rasa_ft_ext.local_http import LOCALHOST, listening
from rasa_ft_ext.progress import Progress

KEY = "our-very-secret-key"
SCRIPT = Script.of(
    *({"user": f"Car {number}", "text": f"fine {number}"} for number in range(30)),
    {"user": "Down", "error": 500},
    {"user": "Wrong", "error": 400},
)


class Notes(Progress):
    def __init__(self) -> None:
        self.texts: list[str] = []

    def note(self, text: str) -> None:
        self.texts.append(text)


class Clock:
    """The server's clock. Who waits for a batch moves it by what is waited, and no time goes by in truth."""

    def __init__(self) -> None:
        self.now = 1_000_000.0
        self.slept: list[float] = []
        self.stands_still = False
        self.has_looked = asyncio.Event()

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        if len(self.slept) > 1:  # the first time is until a batch is sent
            self.has_looked.set()
        self.now += 0 if self.stands_still else seconds
        await asyncio.sleep(0)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def llm(clock: Clock) -> Iterator[Running]:
    with scripted_llm(SCRIPT, batch_seconds=600) as running:
        running.llm.batches.clock = clock
        yield running


def settings_of(llm: Running, **more: Any) -> LLMSettings:
    config = {"provider": "openai", "model": "scripted", "api_base": llm.base_url, "api_key": KEY, "timeout": 5, **more}
    return resolve(config, {}, "test")


def asked(llm: Running, message: str) -> Request:
    return Request(settings_of(llm).public, ({"role": "user", "content": f"USER: {message}"},))


@asynccontextmanager
async def opened(llm: Running, folder: Path, clock: Clock, **pace: Any) -> AsyncIterator[tuple[Batches, Cache, Notes]]:
    cache, notes = Cache(folder), Notes()
    batches = Batches(cache, notes, policy=Policy(attempts=4), pace=Pace(**pace), sleep=clock.sleep)
    batches.know(settings_of(llm))
    try:
        yield batches, cache, notes
    finally:
        cache.close()


async def ask(llm: Running, batches: Batches, cache: Cache, message: str) -> str:
    """Ask through a gateway, as all do."""
    gateway = Gateway(cache=cache, policy=Policy(attempts=3, readings=3), batches=batches)
    return (await gateway.ask(asked(llm, message), never)).text


async def never() -> Completion:
    raise AssertionError("no call is to be made")


async def ask_all(llm: Running, folder: Path, clock: Clock, messages: Sequence[str], **pace: Any) -> list[str]:
    async with opened(llm, folder, clock, **pace) as (batches, cache, _):
        return await asyncio.gather(*(ask(llm, batches, cache, message) for message in messages))


CARS = [f"Car {number}" for number in range(12)]
FINE = [f"fine {number}" for number in range(12)]


async def test_what_is_asked_at_the_same_time_is_one_batch(llm: Running, clock: Clock, tmp_path: Path) -> None:
    async with opened(llm, tmp_path, clock) as (batches, cache, notes):
        answers = await asyncio.gather(*(ask(llm, batches, cache, message) for message in CARS))
        kept = await cache.get(asked(llm, "Car 3").key)
        info = cache.info()

    assert answers == FINE
    assert (llm.stats()["batches"], llm.stats()["calls"]) == (1, 12)
    assert kept is not None
    assert kept.batch
    assert (info.answers, info.models[0].batch, info.waiting) == (12, 12, 0)
    assert "12 requests sent to scripted" in notes.texts[0]
    assert "12 of 12 requests answered" in notes.texts[-1]
    assert max(clock.slept) == 60
    assert await ask_all(llm, tmp_path, clock, CARS) == FINE
    assert llm.stats()["calls"] == 12


async def test_answers_do_not_depend_on_the_size_of_batches(llm: Running, clock: Clock, tmp_path: Path) -> None:
    assert await ask_all(llm, tmp_path, clock, CARS, requests=5) == FINE
    assert (llm.stats()["batches"], llm.stats()["calls"]) == (3, 12)
    large = len(line_of(asked(llm, "Car 1"), settings_of(llm)))
    assert await ask_all(llm, tmp_path / "other", clock, CARS[:4], size=2 * large) == FINE[:4]
    assert llm.stats()["batches"] == 5


@pytest.mark.parametrize(
    ("provider", "more"),
    [
        ("openai", {"model": "gpt-4.1-mini", "temperature": 0.0, "max_tokens": 256, "seed": 3, "user": "me"}),
        ("openai", {"model": "o3-mini", "temperature": 0.5, "max_tokens": 256}),
        ("openai", {"model": "gpt-5-mini", "temperature": 0.0, "reasoning_effort": "low", "top_k": 3}),
        ("self-hosted", {"model": "llama", "extra_body": {"a": 1}, "chat_template_kwargs": {"thinking": False}}),
    ],
)
async def test_a_line_holds_what_a_call_would_send(
    provider: str, more: dict[str, Any], llm: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    bodies = []

    def note(body: dict[str, Any], _: str) -> Any:
        bodies.append(body)
        raise RuntimeError("seen")

    monkeypatch.setattr(llm.llm, "_came", note)
    settings = resolve(
        {"provider": provider, "api_base": llm.base_url, "api_key": KEY, "extra_headers": {"X-A": "b"}, **more}, {}, "t"
    )
    with pytest.raises(Fault):
        await LiteLLM(settings).send(({"role": "user", "content": "hi"},))
    line = line_of(Request(settings.public, ({"role": "user", "content": "hi"},)), settings)

    assert json.loads(line)["body"] == bodies[0]
    assert KEY.encode() not in line


def interrupted(llm: Running, folder: Path, clock: Clock) -> Notes:
    """Press Ctrl-C while a batch is waited for."""
    told = Notes()

    async def run() -> None:
        async with opened(llm, folder, clock) as (batches, cache, _):
            batches.progress = told
            waiting = [asyncio.create_task(ask(llm, batches, cache, message)) for message in CARS]
            await clock.has_looked.wait()
            assert cache.info().waiting == len(waiting)
            raise KeyboardInterrupt

    clock.stands_still = True
    with pytest.raises(KeyboardInterrupt):
        asyncio.run(run())
    clock.stands_still = False
    return told


def test_a_run_that_was_stopped_takes_up_its_batch(llm: Running, clock: Clock, tmp_path: Path) -> None:
    told = interrupted(llm, tmp_path, clock)
    assert "the same command takes it up again" in told.texts[-1]

    async def go_on() -> None:
        async with opened(llm, tmp_path, clock) as (batches, cache, notes):
            assert await ask(llm, batches, cache, CARS[3]) == FINE[3]
            assert "waiting for 12 requests that were sent before" in notes.texts[0]
            assert cache.info().waiting == 0

    asyncio.run(go_on())
    assert asyncio.run(ask_all(llm, tmp_path, clock, CARS)) == FINE
    assert (llm.stats()["batches"], llm.stats()["calls"]) == (1, 12)


class Killed(Exception):
    """Stands for the end of the process: nothing after it happens."""


@pytest.mark.parametrize("died", ["before the upload", "after the upload", "in creating", "after creating"])
async def test_a_run_that_was_killed_while_it_sent_sends_nothing_twice(
    died: str, llm: Running, clock: Clock, tmp_path: Path
) -> None:
    async def die(*_: object) -> Any:
        raise Killed

    async def create_and_die(client: BatchClient, file: str, name: str) -> str:
        await create(client, file, name)
        raise Killed

    create = BatchClient.create
    with pytest.MonkeyPatch.context() as patch:
        if died == "before the upload":
            patch.setattr(BatchClient, "upload", die)
        elif died == "after the upload":
            patch.setattr(BatchState, "uploaded", die)
        elif died == "in creating":
            patch.setattr(BatchClient, "create", create_and_die)
        else:
            patch.setattr(BatchState, "sent", die)
        with pytest.raises(Killed):
            await ask_all(llm, tmp_path, clock, CARS)

    assert await ask_all(llm, tmp_path, clock, CARS) == FINE
    assert (llm.stats()["batches"], llm.stats()["calls"]) == (1, 12)


async def test_a_batch_whose_making_was_not_confirmed_is_not_made_again(
    llm: Running, clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = BatchClient.create

    async def lose(client: BatchClient, file: str, name: str) -> str:
        await create(client, file, name)
        raise Fault("passing", LLMError("connection lost"))

    monkeypatch.setattr(BatchClient, "create", lose)
    assert await ask_all(llm, tmp_path, clock, CARS) == FINE
    assert (llm.stats()["batches"], llm.stats()["calls"]) == (1, 12)


async def test_requests_of_another_run_that_is_waiting_are_waited_for(
    llm: Running, clock: Clock, tmp_path: Path
) -> None:
    answers = await asyncio.gather(*(ask_all(llm, tmp_path, clock, CARS) for _ in range(3)))
    assert answers == [FINE] * 3
    assert (llm.stats()["batches"], llm.stats()["calls"]) == (1, 12)


async def test_a_request_that_fails_fails_alone_and_is_asked_again_where_that_helps(
    llm: Running, clock: Clock, tmp_path: Path
) -> None:
    async with opened(llm, tmp_path, clock) as (batches, cache, _):
        found = await asyncio.gather(
            *(ask(llm, batches, cache, message) for message in ("Car 1", "Down", "Wrong")), return_exceptions=True
        )
    assert found[0] == "fine 1"
    assert [type(error) for error in found[1:]] == [LLMError, LLMError]
    assert "with this error" in str(found[2])
    assert (llm.stats()["batches"], llm.stats()["calls"]) == (3, 5)


async def test_what_a_batch_did_not_come_to_in_time_is_asked_again(
    llm: Running, clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line, came = llm.llm._line, []

    def only_three(body: dict[str, Any]) -> Any:
        came.append(body)
        return line(body) if len(came) <= 3 or len(came) > 12 else None

    monkeypatch.setattr(llm.llm.batches, "_answer", only_three)
    assert await ask_all(llm, tmp_path, clock, CARS) == FINE
    assert (llm.stats()["batches"], llm.stats()["calls"]) == (2, 12)


async def test_a_batch_that_was_cancelled_ends_the_run_and_the_next_asks_the_rest(
    llm: Running, clock: Clock, tmp_path: Path
) -> None:
    cancelled = []

    async def sleep(seconds: float) -> None:
        await Clock.sleep(clock, seconds)
        for name, batch in llm.llm.batches._batches.items():
            if not cancelled and batch.part(clock.now) > 0.5:
                cancelled.append(llm.llm.batches.cancel(name))

    async with opened(llm, tmp_path, clock) as (batches, cache, _):
        batches.sleep = sleep
        waiting = (ask(llm, batches, cache, message) for message in CARS)
        found = await asyncio.gather(*waiting, return_exceptions=True)
    assert {type(entry) for entry in found} == {str, LLMUnavailableError}
    assert "was cancelled at the provider" in str(next(entry for entry in found if not isinstance(entry, str)))

    assert await ask_all(llm, tmp_path, clock, CARS) == FINE
    assert (llm.stats()["batches"], llm.stats()["calls"]) == (2, 12)


async def test_a_provider_that_lets_few_tokens_wait_gets_smaller_batches_one_by_one(
    llm: Running, clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = llm.llm.batches
    create = server.create

    def choosy(body: dict[str, Any]) -> dict[str, Any]:
        shown = create(body)
        batch = server._batches[shown["id"]]
        waiting = [other for other in server._batches.values() if not other.is_finished and not other.problems]
        if sum(len(other.lines) for other in waiting) > 4:
            batch.problems.append(Problem("token_limit_exceeded", "Enqueued token limit reached"))
        return shown

    monkeypatch.setattr(server, "create", choosy)
    assert await ask_all(llm, tmp_path, clock, CARS) == FINE
    good = [batch for batch in server._batches.values() if not batch.problems]
    assert [len(batch.lines) for batch in good] == [3, 3, 3, 3]
    assert len(server._batches) - len(good) == 2
    assert llm.stats()["calls"] == 12


async def test_a_batch_that_is_refused_ends_the_run(
    llm: Running, clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = llm.llm.batches
    refuse = Problem("model_not_found", f"No batches for {KEY}.")
    monkeypatch.setattr(server, "create", lambda body: begun(server.create.__wrapped__, body))

    def begun(create: Callable[[Any], Any], body: dict[str, Any]) -> dict[str, Any]:
        shown = create(body)
        server._batches[shown["id"]].problems.append(refuse)
        return shown

    server.create.__wrapped__ = type(server).create.__get__(server)  # type: ignore[attr-defined]
    with pytest.raises(LLMUnavailableError, match=r"was refused: No batches for \*\*\*"):
        await ask_all(llm, tmp_path, clock, CARS)


async def test_an_answer_that_cannot_be_read_is_asked_for_in_another_batch(
    llm: Running, clock: Clock, tmp_path: Path
) -> None:
    def is_readable(text: str) -> bool:
        return text != "fine 1"

    async with opened(llm, tmp_path, clock) as (batches, cache, _):
        gateway = Gateway(cache=cache, policy=Policy(attempts=3, readings=3), batches=batches)
        found = await asyncio.gather(
            *(gateway.ask(asked(llm, message), never, is_readable) for message in ("Car 1", "Car 2"))
        )
    assert [completion.text for completion in found] == ["fine 1", "fine 2"]
    assert (llm.stats()["batches"], llm.stats()["calls"]) == (2, 3)


@pytest.mark.parametrize("kind", ["429", "500", "reset", "truncated"])
async def test_a_shaky_line_to_the_provider_changes_nothing(
    kind: Any, clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with scripted_llm(SCRIPT, batch_seconds=600, faults=Faults(0.35, (kind,), seed=2, retry_after=0.1)) as llm:
        llm.llm.batches.clock = clock
        monkeypatch.setattr(llm.llm.batches, "_answer", lambda body: (200, llm.llm._answered(call_of(llm, body))))
        async with opened(llm, tmp_path, clock, requests=4) as (batches, cache, _):
            batches.policy = Policy(attempts=8)
            assert await asyncio.gather(*(ask(llm, batches, cache, message) for message in CARS)) == FINE
        assert llm.stats()["faults"][kind] > 1
        assert llm.stats()["batches"] == 3


def call_of(llm: Running, body: dict[str, Any]) -> Any:
    import dataclasses

    return dataclasses.replace(llm.llm._came(body, body["messages"][0]["content"]), fault=None)


async def test_a_file_with_too_few_answers_is_read_again(
    llm: Running, clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcomes, times = BatchClient.outcomes, []

    async def short(client: BatchClient, seen: Seen) -> AsyncIterator[Outcome]:
        times.append(seen.id)
        async for outcome in outcomes(client, seen):
            if len(times) > 1 or outcome.key != asked(llm, "Car 1").key:
                yield outcome

    monkeypatch.setattr(BatchClient, "outcomes", short)
    assert await ask_all(llm, tmp_path, clock, CARS) == FINE
    assert (len(times), llm.stats()["calls"]) == (2, 12)


async def test_answers_that_the_provider_has_deleted_are_asked_for_again(
    llm: Running, clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcomes, times = BatchClient.outcomes, []

    async def gone(client: BatchClient, seen: Seen) -> AsyncIterator[Outcome]:
        times.append(seen.id)
        if len(times) == 1:
            raise Fault("request", LLMError("No such File object"))
        async for outcome in outcomes(client, seen):
            yield outcome

    monkeypatch.setattr(BatchClient, "outcomes", gone)
    assert await ask_all(llm, tmp_path, clock, CARS) == FINE
    assert llm.stats()["batches"] == 2


async def test_a_batch_that_the_provider_has_forgotten_is_asked_again(
    llm: Running, clock: Clock, tmp_path: Path
) -> None:
    async def sleep(seconds: float) -> None:
        await Clock.sleep(clock, seconds)
        if len(llm.llm.batches._batches) == 1 and clock.slept[-1] < 10:
            llm.llm.batches._batches = {"other": next(iter(llm.llm.batches._batches.values()))}

    async with opened(llm, tmp_path, clock) as (batches, cache, _):
        batches.sleep = sleep
        assert await ask(llm, batches, cache, "Car 1") == "fine 1"
    assert llm.stats()["batches"] == 2


async def test_a_server_that_is_gone_while_it_is_waited_for_loses_nothing(
    llm: Running, clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def gone(*_: object) -> Any:
        raise Fault("unreachable", LLMUnavailableError("Nobody answers."))

    with monkeypatch.context() as patch:
        patch.setattr(BatchClient, "look", gone)
        with pytest.raises(LLMUnavailableError, match="is not lost"):
            await ask_all(llm, tmp_path, clock, CARS)
    assert sum(clock.slept) > 1500
    assert await ask_all(llm, tmp_path, clock, CARS) == FINE
    assert llm.stats()["batches"] == 1


def test_a_provider_without_such_batches_is_refused_before_anything_is_sent(tmp_path: Path) -> None:
    settings = resolve({"provider": "anthropic", "model": "claude-sonnet-4-5"}, {}, "test")
    cache = Cache(tmp_path)
    with pytest.raises(ConfigError, match="the provider anthropic has no batches"):
        Batches(cache).know(settings)
    cache.close()


async def test_no_secret_is_kept_or_told(llm: Running, clock: Clock, tmp_path: Path) -> None:
    async with opened(llm, tmp_path, clock) as (batches, cache, notes):
        await ask(llm, batches, cache, "Car 1")
        written = [path.read_bytes() for path in files_of(tmp_path)]
    sent = [file.content for file in llm.llm.batches.files._files.values()]
    assert len(written) > 2
    assert not [text for text in (*written, *sent, *map(str.encode, notes.texts)) if KEY.encode() in text]


def files_of(folder: Path) -> list[Path]:
    return list(folder.iterdir())


async def test_azure_is_spoken_to_as_it_wants_to_be() -> None:
    """Its addresses, its header, and a file that has to be looked through first, on a server of a few lines."""
    paths, line = [], {"custom_id": "aa", "response": {"status_code": 200, "body": answer("fine\u2028so")}}

    async def serve(request: web.Request) -> web.Response:
        paths.append(f"{request.method} {request.path}")
        assert request.headers["api-key"] == KEY
        assert request.query["api-version"] == "2024-10-21"
        if request.path.endswith("/content"):
            return web.Response(body=json.dumps(line, ensure_ascii=False).encode())
        if "/files" in request.path:
            return web.json_response({"id": "f", "status": "pending" if request.method == "POST" else "processed"})
        shown = {"id": "b", "status": "completed", "output_file_id": "o", "request_counts": None}
        return web.json_response(shown)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", serve)
    async with listening(app, LOCALHOST, 0, "It") as address:
        config = {"deployment": "ours", "api_base": address, "api_version": "2024-10-21", "api_key": KEY}
        settings = resolve({"provider": "azure", **config}, {}, "test")
        async with BatchClient(settings) as client:
            file = await client.upload("calls.jsonl", io.BytesIO(b"{}"))
            assert await client.is_ready(file)
            seen = await client.look(await client.create(file, "our own id"))
            assert seen is not None
            [outcome] = [outcome async for outcome in client.outcomes(seen)]

    sent = json.loads(line_of(Request(settings.public, ()), settings))
    assert (sent["url"], sent["body"]["model"]) == ("/chat/completions", "ours")
    assert isinstance(outcome.result, Completion)
    assert outcome.result.text == "fine\u2028so"
    assert paths == [
        *("POST /openai/files", "GET /openai/files/f", "POST /openai/batches", "GET /openai/batches/b"),
        "GET /openai/files/o/content",
    ]


def answer(text: str) -> dict[str, Any]:
    return {"model": "gpt", "choices": [{"message": {"content": text}}]}


async def test_a_server_without_these_addresses_is_told_and_nothing_is_taken_to_be_there(
    llm: Running, clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def unknown(*_: object) -> Any:
        raise Fault("request", LLMError("scripted was not found"))

    monkeypatch.setattr(BatchClient, "upload", unknown)
    async with opened(llm, tmp_path, clock) as (batches, cache, _):
        with pytest.raises(LLMError, match="was not found"):
            await ask(llm, batches, cache, "Car 1")
        assert cache.info().waiting == 0
