"""The command generator's own LLM through the gateway: one attempt is one request, whatever the configuration."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("rasa")

from rasa.core.config.configuration import Configuration
from rasa.dialogue_understanding.generator import CompactLLMCommandGenerator
from rasa.engine.storage.resource import Resource

from rasa_ft_ext.conversation import Usage
from rasa_ft_ext.errors import ConfigError, LLMError, LLMUnavailableError
from rasa_ft_ext.llm.base import Completion, Readable
from rasa_ft_ext.llm.client import LiteLLM
from rasa_ft_ext.llm.faults import Fault
from rasa_ft_ext.llm.gateway import Gateway, Send
from rasa_ft_ext.llm.opening import open_calls
from rasa_ft_ext.llm.options import CallOptions
from rasa_ft_ext.llm.request import Request
from rasa_ft_ext.llm.settings import resolve
from rasa_ft_ext.pipeline import batch_checks
from rasa_ft_ext.progress import Progress
from rasa_ft_ext.rasa_pro.recording import llm_of
from rasa_ft_ext.rasa_pro.teacher import Teacher

RETRIES = {"num_retries": 3, "max_retries": 3}
CHOICE = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "start flow x"}, "text": "x"}
ANSWER = {
    **{"id": "1", "object": "chat.completion", "created": 1, "model": "named", "choices": [CHOICE]},
    "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10},
}


class Server(ThreadingHTTPServer):
    """Answers with what it is told to, and keeps the requests."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.status, self.headers, self.body, self.delay = 200, {"content-type": "application/json"}, "", 0.0
        self.requests: list[dict[str, Any]] = []
        self.answer(200, ANSWER)

    def answer(self, status: int, body: Any, **headers: str) -> None:
        self.status, self.body = status, json.dumps(body)
        self.headers = {"content-type": "application/json", **{k.replace("_", "-"): v for k, v in headers.items()}}

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def handle_error(self, *_: Any) -> None:
        """A client that went away is what some tests are about."""


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        self.server.requests.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
        time.sleep(self.server.delay)
        self.send_response(self.server.status)
        for name, value in {**self.server.headers, "content-length": str(len(self.server.body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(self.server.body.encode())

    def log_message(self, *_: Any) -> None:
        """Keep silent."""


class Once:
    """Makes one attempt at each request, and keeps the request."""

    def __init__(self) -> None:
        self.request: Request | None = None

    async def ask(self, request: Request, send: Send, readable: Readable | None = None) -> Completion:
        self.request = request
        return await send()


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("OPENAI_API_KEY", "marked-key-of-openai")
    (tmp_path / "endpoints.yml").write_text("{}", encoding="utf-8")
    Configuration.initialise_endpoints(endpoints_path=tmp_path / "endpoints.yml")
    Configuration.initialise_sub_agents(None)
    with Server() as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


def configuration(name: str, address: str) -> dict[str, Any]:
    own = {"provider": "self-hosted", "model": "m", "api_base": address, "temperature": 0.0}
    openai = {"provider": "openai", "model": "gpt-4o", "api_base": address, **RETRIES}
    router = {"routing_strategy": "simple-shuffle", "num_retries": 3}
    return {
        "group": {"id": "teacher", "models": [own]},
        "openai": openai,
        "texts": {**own, "use_chat_completions_endpoint": False, **RETRIES},
        "router": {"id": "teacher", "models": [own, {**own, "model": "n"}], "router": router},
    }[name]


def generator(config: dict[str, Any]) -> Any:
    return CompactLLMCommandGenerator({"llm": config, "flow_retrieval": {"active": False}}, None, Resource("x"))


@pytest.mark.parametrize("name", ["group", "openai", "texts", "router"])
async def test_one_attempt_is_one_request(server: Server, name: str) -> None:
    teacher = Teacher(generator(configuration(name, server.address)), Once())

    server.answer(500, {"error": {"message": "broken"}})
    with pytest.raises(Fault) as fault:
        await teacher.ask("a prompt")
    assert (fault.value.kind, len(server.requests)) == ("passing", 1)

    server.answer(429, {"error": {"message": "slow down"}}, retry_after="2")
    with pytest.raises(Fault) as fault:
        await teacher.ask("a prompt")
    assert (fault.value.kind, fault.value.retry_after, len(server.requests)) == ("throttled", 2.0, 2)
    teacher.close()


@pytest.mark.parametrize(
    ("name", "reason"), [("group", None), ("openai", None), ("texts", "chat_completions"), ("router", "router")]
)
def test_an_assistant_that_batches_cannot_ask_as_it_asks_is_refused(
    server: Server, tmp_path: Path, name: str, reason: str | None
) -> None:
    found = generator(configuration(name, server.address))
    teacher = Teacher(found, Once())
    assistant: Any = SimpleNamespace(card=SimpleNamespace(llm=llm_of(found)), asked_as=teacher.model)
    teacher.close()
    with open_calls(CallOptions(mode="batch"), tmp_path, Progress()) as calls:
        if reason is None:
            batch_checks(assistant, calls)
        else:
            with pytest.raises(ConfigError, match=reason):
                batch_checks(assistant, calls)


async def test_an_address_with_a_password_ends_the_run_at_the_first_call(server: Server) -> None:
    address = server.address.replace("http://", "http://user:passphrase@")
    for name in ("group", "openai"):
        teacher = Teacher(generator(configuration(name, address)), Gateway())
        with pytest.raises(LLMUnavailableError, match="a user and a password in `api_base`") as error:
            await teacher.ask("a prompt")
        teacher.close()
        assert "passphrase" not in str(error.value)
    assert not server.requests


async def test_a_router_whose_models_all_rest_says_for_how_long(server: Server) -> None:
    teacher = Teacher(generator(configuration("router", server.address)), Once())
    server.answer(429, {"error": {"message": "slow down"}}, retry_after="2")
    faults = []
    for _ in range(4):
        with pytest.raises(Fault) as fault:
            await teacher.ask("a prompt")
        faults.append(fault.value)
    teacher.close()

    assert len(server.requests) < 4
    assert faults[-1].passes
    assert faults[-1].retry_after == 2.0


async def test_a_timeout_of_ours_holds_for_rasas_client(server: Server) -> None:
    server.delay = 1.5
    for name in ("group", "router"):
        teacher = Teacher(generator(configuration(name, server.address)), Once(), timeout=0.2)
        started = time.monotonic()
        with pytest.raises(Fault, match=r"did not answer within 0\.2 seconds") as fault:
            await teacher.ask("a prompt")
        teacher.close()
        assert time.monotonic() - started < 1.2
        assert fault.value.kind == "passing"


async def test_a_refused_key_is_told_without_it(server: Server) -> None:
    teacher = Teacher(generator(configuration("openai", server.address)), Gateway())
    server.answer(401, {"error": {"message": "Incorrect API key provided: marked-key-of-openai"}})
    with pytest.raises(LLMUnavailableError, match="Set OPENAI_API_KEY") as error:
        await teacher.ask("a prompt")
    assert "marked-key-of-openai" not in str(error.value)
    teacher.close()


async def test_a_key_that_is_missing_is_told_before_any_request(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    teacher = Teacher(generator({**configuration("openai", server.address), "seed": 1}), Gateway())
    monkeypatch.delenv("OPENAI_API_KEY")
    with pytest.raises(LLMUnavailableError, match="OPENAI_API_KEY"):
        await teacher.ask("a prompt")
    teacher.close()
    assert not server.requests


async def test_a_prompt_that_is_too_long_is_refused_at_once(server: Server) -> None:
    teacher = Teacher(generator(configuration("group", server.address)), Gateway())
    server.answer(400, {"error": {"message": "This model's maximum context length is 10 tokens"}})
    with pytest.raises(LLMError, match="too long"):
        await teacher.ask("a prompt")
    teacher.close()
    assert len(server.requests) == 1


async def test_it_is_the_same_question_as_that_of_litellm(server: Server) -> None:
    """So both share answers that are kept, and the limits of the server."""
    own, once, theirs = generator(configuration("group", server.address)), Once(), Once()
    before = own.config
    teacher = Teacher(own, once)
    found = await teacher.ask("a prompt", sample=2)
    teacher.close()
    llm = LiteLLM(resolve(llm_of(own), {}, "test"), theirs)  # type: ignore[arg-type]
    await llm.complete("a prompt", sample=2)

    assert found == Completion("start flow x", Usage(prompt_tokens=7, completion_tokens=3), "named")
    assert own.config is before
    assert once.request is not None
    assert theirs.request is not None
    assert once.request.key == theirs.request.key
    assert once.request.who == theirs.request.who
    assert server.requests[0] == server.requests[1]
