"""A small output folder to evaluate on, served models, and assistants that are made up.

The folder has ten tests of a car booking, each with two user messages: the booking, which all tests of one wording
share, and a city of its own.
"""

from __future__ import annotations

import json
import threading
from asyncio import Event, new_event_loop
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import web

from rasa_ft_ext.assistant.base import Played
from rasa_ft_ext.evaluate.request import Conversations, Request
from rasa_ft_ext.evaluate.served import Served
from rasa_ft_ext.evaluation import OutcomeTurn, Side
from rasa_ft_ext.llm.base import LLM
from rasa_ft_ext.llm.client import LiteLLM
from rasa_ft_ext.llm.faults import Policy
from rasa_ft_ext.llm.gateway import Gateway
from rasa_ft_ext.llm.settings import resolve
from rasa_ft_ext.rows import TRAIN_ROWS, VALIDATION_ROWS, read_rows
from rasa_ft_ext.split.stage import split
from rasa_ft_ext.workspace import DATASET, EXAMPLES, PROMPT_TEMPLATE, SPLIT, Workspace, write_jsonl
from tests.split.builders import annotated, conversation, example, set_slot, start, workspace_of

CITIES = ("Basel", "Bern", "Chur", "Genf", "Thun", "Visp", "Zug", "Biel", "Brig", "Sion")


def output_folder(root: Path) -> Workspace:
    """An output folder in which `split` is done."""
    tests = [f"cars.yml::to {city}" for city in CITIES]
    examples = []
    for number, (test, city) in enumerate(zip(tests, CITIES, strict=True)):
        wording = f"USER: a car please, {number // 2}"
        to_city: dict[str, Any] = {"turn": 1, "completion": f"set slot city {city}"}
        examples.append(example(test, f"{wording}\nUSER: to {city}", set_slot("city", city), **to_city))
        if number % 2 == 0:
            shared: dict[str, Any] = {"also_in": (tests[number + 1],), "completion": "start flow book_car"}
            examples.append(example(test, wording, start("book_car"), **shared))
    workspace = workspace_of(root, annotated([conversation(test) for test in tests]), examples)
    with workspace.writing(DATASET, {}) as folder:
        write_jsonl(folder / EXAMPLES, [entry.model_dump(mode="json") for entry in examples])
        (folder / PROMPT_TEMPLATE).write_text("{{ current_conversation }}")
    split(workspace)
    return workspace


def expected(workspace: Workspace) -> dict[str, str]:
    """The right answer to each prompt of both sides."""
    folder = workspace.folder(SPLIT)
    return {row.prompt: row.completion for name in (TRAIN_ROWS, VALIDATION_ROWS) for row in read_rows(folder / name)}


@dataclass
class Model:
    """A made-up model behind OpenAI's API.

    `says` gives the answer to a prompt: a text, None for one without text, or a status for an error. `logprob` gives
    the log probability of a token of an answer, None for a server that tells none; with `hidden` its list is empty.
    """

    says: Callable[[str], str | int | None]
    logprob: Callable[[str], float] | None = None
    runner_up: tuple[str, float] = ("other", -9.0)
    names: tuple[str, ...] = ("student",)
    key: str | None = None
    hidden: bool = False

    def __post_init__(self) -> None:
        self.bodies: list[dict[str, Any]] = []

    async def models(self, request: web.Request) -> web.Response:
        if self.key and request.headers.get("Authorization") != f"Bearer {self.key}":
            return web.json_response({"error": {"message": "no"}}, status=401)
        return web.json_response({"data": [{"id": name} for name in self.names]})

    async def chat(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.bodies.append(body)
        prompt = body["messages"][0]["content"]
        answer = self.says(prompt)
        if isinstance(answer, int):
            return web.json_response({"error": {"message": "cannot"}}, status=answer)
        text = answer or ""
        choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        if self.logprob is not None and body.get("logprobs"):
            choice["logprobs"] = {"content": [self._token(word) for word in text.split(" ") if not self.hidden]}
        usage = {"prompt_tokens": len(prompt.split()), "completion_tokens": len(text.split())}
        return web.json_response(
            {"id": "1", "object": "chat.completion", "model": "m", "choices": [choice], "usage": usage}
        )

    def _token(self, word: str) -> dict[str, Any]:
        assert self.logprob is not None
        best = {"token": word, "logprob": self.logprob(word)}
        other = {"token": self.runner_up[0], "logprob": self.runner_up[1]}
        return {**best, "top_logprobs": [best, other]}


@contextmanager
def serving(model: Model) -> Iterator[str]:
    """Serve a model in a thread of its own; gives the base URL."""
    loop, started, urls = new_event_loop(), threading.Event(), []
    stop = Event()

    async def run() -> None:
        app = web.Application(client_max_size=2**24)
        app.router.add_get("/v1/models", model.models)
        app.router.add_post("/v1/chat/completions", model.chat)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        urls.append(f"http://127.0.0.1:{runner.addresses[0][1]}/v1")
        started.set()
        await stop.wait()
        await runner.cleanup()

    thread = threading.Thread(target=lambda: loop.run_until_complete(run()), daemon=True)
    thread.start()
    assert started.wait(10)
    try:
        yield urls[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()


def llm_at(base_url: str) -> LiteLLM:
    config = {"provider": "self-hosted", "model": "student", "api_base": base_url, "temperature": 0.0}
    return LiteLLM(resolve(config, {}, "test"), Gateway(policy=Policy(attempts=1)))


def request(base_url: str, **changes: Any) -> Request:
    """A request for the commands alone."""
    defaults = {"served": Served("student", base_url), "llm": llm_at(base_url), "parts": ("commands",)}
    return Request(**{**defaults, **changes})


@dataclass(frozen=True)
class Case:
    """A test that is played by a `Player`."""

    id: str


class Player:
    """An assistant that asks its LLM the city, and passes a test where it gives the right one; its own always does.

    `fails` names tests that its own LLM fails as well.
    """

    def __init__(self, fails: Mapping[str, str] | None = None) -> None:
        self.fails = fails or {}

    async def play(
        self, test: Case, *, llm: LLM | None = None, template: str | None = None, again: Played | None = None
    ) -> Played:
        city = test.id.removeprefix("cars.yml::to ")
        right = f"set slot city {city}"
        answer = right
        if llm is not None:
            number = CITIES.index(city)
            answer = (await llm.complete(f"USER: a car please, {number // 2}\nUSER: to {city}")).text
        turn = OutcomeTurn(message=f"to {city}", answer=answer, commands=(set_slot("city", answer.split()[-1]),))
        reason = None if answer == right else f"expected {right}, got {answer}"
        if llm is None and test.id in self.fails:
            reason = self.fails[test.id]
        return Played(turns=(turn,), seconds=(0.01,), reason=reason)


def conversations(workspace: Workspace, player: Player | None = None) -> Conversations:
    """The tests of both sides, as `split` divided them."""
    tests: dict[Side, list[Case]] = {}
    by_prompt = {entry.prompt: entry.test for entry in workspace.examples() if entry.turn == 1}
    for side, name in (("train", TRAIN_ROWS), ("validation", VALIDATION_ROWS)):
        rows = read_rows(workspace.folder(SPLIT) / name)
        tests[side] = [Case(by_prompt[row.prompt]) for row in rows if row.prompt in by_prompt]  # type: ignore[index]
    return Conversations(player or Player(), tests)


def swapped(answers: Mapping[str, str]) -> Callable[[str], str]:
    """A model with swapped labels: each prompt gets the answer of the next one."""
    prompts = list(answers)
    following = {prompt: answers[prompts[(place + 1) % len(prompts)]] for place, prompt in enumerate(prompts)}
    return lambda prompt: following[prompt]


def jsonl(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
