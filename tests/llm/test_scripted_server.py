"""The scripted LLM's server, over real HTTP, and the command that runs it."""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import math
import signal
import struct
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from rasa_ft_ext.cli import scripted_llm as command
from rasa_ft_ext.errors import RasaFtError
from rasa_ft_ext.llm.scripted.embeddings import embed
from rasa_ft_ext.llm.scripted.script import Script
from rasa_ft_ext.llm.scripted.server import Running, scripted_llm

ANSWERS = """\
answers:
  - user: I'd like to book a car
    commands: [StartFlow(book_car)]
    paraphrases:
      - I need to reserve a car.
      - A car in Zürich, please
      - {user: Something odd, error: 500}
  - {user: "Yes", commands: [], paraphrases: [Sure, Go ahead]}
  - user: "Yes"
    asked: "shall I book"
    commands: [SetSlot(confirm, True)]
  - user: Which firm?
    commands:
      - SetSlot(firm, Acme (UK), Basel)
      - Clarify(b, a)
      - SearchAndReply()
  - user: Tell me a joke
    text: "Ha ha\\n  ha"
"""
V1 = 'Say "SetSlot(slot, value)" or "StartFlow(flow)".\nConversation:\n{}'
V2 = "* `start flow f`\n* `set slot s v`\n* `provide info`\n## Conversation\n{}\n\nYour action list:"
V3 = "* `start flow f`\n* `set slot s v`\n* `search and reply`\n## Conversation\n{}\n\nYour action list:"


@pytest.fixture
def answers(tmp_path: Path) -> Path:
    path = tmp_path / "answers.yml"
    path.write_text(ANSWERS, encoding="utf-8")
    return path


@pytest.fixture
def script(answers: Path) -> Script:
    return Script.load(answers)


@pytest.fixture
def llm(answers: Path) -> Iterator[Running]:
    with scripted_llm(answers) as running:
        yield running


def call(url: str, body: Any = None) -> tuple[int, Any]:
    """Send a request; gives the status and the JSON of the answer."""
    data = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(urllib.request.Request(url, data)) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def chat(llm: Running, prompt: str, **options: Any) -> tuple[int, Any]:
    body = {"model": "m", "messages": [{"role": "user", "content": prompt}], **options}
    return call(f"{llm.base_url}/chat/completions", body)


def cosine(first: Sequence[float], second: Sequence[float]) -> float:
    return sum(a * b for a, b in zip(first, second, strict=True))


def said(llm: Running, prompt: str) -> str:
    status, answer = chat(llm, prompt)
    assert status == 200, answer
    return str(answer["choices"][0]["message"]["content"])


@pytest.mark.parametrize(
    ("prompt", "answer"),
    [
        (V1, "SetSlot(firm, Acme (UK), Basel)\nClarify(a, b)\nSearchAndReply()"),
        (V2, "set slot firm Acme (UK), Basel\ndisambiguate flows a b\nprovide info"),
        (V3, "set slot firm Acme (UK), Basel\ndisambiguate flows a b\nsearch and reply"),
    ],
)
def test_commands_come_in_the_syntax_of_the_prompt(llm: Running, prompt: str, answer: str) -> None:
    assert said(llm, prompt.format("USER: Which firm?")) == answer


def test_the_syntax_can_be_laid_down(script: Script) -> None:
    with scripted_llm(script, syntax="v3") as llm:
        assert said(llm, "USER: I'd like to book a car") == "start flow book_car"


def test_what_the_assistant_asked_decides(llm: Running) -> None:
    assert said(llm, V2.format("AI: Shall I book?\nUSER: Yes")) == "set slot confirm True"
    assert said(llm, V2.format("AI: Shall I book?\nUSER: Hm\nAI: Hm?\nUSER: Yes")) == ""


def test_a_text_is_given_as_it_is(llm: Running) -> None:
    assert said(llm, "USER: Tell me a joke") == "Ha ha\n  ha"


def test_paraphrases_are_numbered_sets(llm: Running) -> None:
    prompt = "2 rephrasings for the following messages:\n- I'd like to book a car\n- Never heard\n- Yes\n"
    assert said(llm, prompt) == (
        "USER: I'd like to book a car\n1. I need to reserve a car.\n2. A car in Zürich, please\n\n"
        "USER: Never heard\n\nUSER: Yes\n1. Sure\n2. Go ahead"
    )


def test_an_answer_has_openais_form(llm: Running) -> None:
    parts = [{"type": "text", "text": V2.format("")}, {"type": "text", "text": "USER: Yes"}]
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": parts}]
    url = llm.base_url.removesuffix("/v1")
    status, answer = call(f"{url}/chat/completions", {"model": "any", "messages": messages})
    assert status == 200
    assert answer["object"] == "chat.completion"
    assert answer["model"] == "any"
    assert answer["choices"][0]["finish_reason"] == "stop"
    assert answer["usage"] == {"prompt_tokens": 21, "completion_tokens": 0, "total_tokens": 21}
    assert llm.requests == ["Be brief.\n" + V2.format("") + "\nUSER: Yes"]


def test_an_unknown_message_is_named_in_the_error(llm: Running, answers: Path) -> None:
    status, answer = chat(llm, V2.format("AI: Where to?\nUSER: Mars"))
    assert status == 404
    assert answer["error"]["type"] == "unknown_message"
    assert answer["error"]["message"] == (
        "The script has no answer to the message 'Mars' (the assistant said last: 'Where to?'). "
        f"Add it to {answers}."
    )  # fmt: skip


@pytest.mark.parametrize(
    ("prompt", "options", "status", "kind"),
    [
        (V2.format("USER: Something odd"), {}, 500, "scripted_error"),
        ("Hello", {}, 400, "unknown_request"),
        ("USER: I'd like to book a car", {}, 400, "unknown_syntax"),
        (V2.format("USER: Yes"), {"stream": True}, 400, "invalid_request_error"),
        (V2.format("USER: Yes"), {"n": 2}, 400, "invalid_request_error"),
        (V2.format("USER: Yes"), {"messages": []}, 400, "invalid_request_error"),
        (V2.format("USER: Yes"), {"messages": [{"role": "user"}]}, 400, "invalid_request_error"),
    ],
)
def test_what_cannot_be_answered_is_an_error(
    llm: Running, prompt: str, options: dict[str, Any], status: int, kind: str
) -> None:
    found, answer = chat(llm, prompt, **options)
    assert (found, answer["error"]["type"]) == (status, kind)
    assert llm.stats()["refused"] == 1


def test_broken_requests_are_errors(llm: Running) -> None:
    assert call(f"{llm.base_url}/chat/completions", b"{")[0] == 400
    assert call(f"{llm.base_url}/chat/completions", [])[0] == 400
    assert call(f"{llm.base_url}/embeddings", {"input": [1, 2]})[0] == 400
    assert call(f"{llm.base_url}/embeddings", {"input": "a", "dimensions": 3})[0] == 400
    assert llm.stats()["other"] == 4


def test_embeddings_are_the_same_for_the_same_text_and_near_for_a_similar_one(llm: Running) -> None:
    status, answer = call(f"{llm.base_url}/embeddings", {"model": "m", "input": ["Book a car", "book a CAR", ""]})
    first, second, empty = (entry["embedding"] for entry in answer["data"])
    assert status == 200
    assert len(first) == 256
    assert first == second == embed("book a car")
    assert math.hypot(*first) == pytest.approx(1) == pytest.approx(math.hypot(*empty))
    near, far = (cosine(first, embed(text)) for text in ("booking a car", "weather tomorrow"))
    assert near > 0.5 > far
    _, encoded = call(f"{llm.base_url}/embeddings", {"input": "Book a car", "encoding_format": "base64"})
    raw = base64.b64decode(encoded["data"][0]["embedding"])
    assert struct.unpack("<256f", raw) == pytest.approx(first, abs=1e-6)


def test_models_health_and_numbers(llm: Running) -> None:
    root = llm.base_url.removesuffix("/v1")
    assert call(f"{root}/v1/models")[1]["data"][0]["id"] == "scripted"
    assert call(f"{root}/health") == (200, {"status": "ok"})
    said(llm, V2.format("USER: Yes"))
    said(llm, "1 rephrasings for\n- Yes")
    chat(llm, "Hello")
    call(f"{llm.base_url}/embeddings", {"input": "a"})
    counts = {"commands": 1, "paraphrases": 1, "embeddings": 1, "other": 1, "refused": 1, "over_capacity": 0}
    paid = {"answered": 2, "distinct": 2, "repeated": 0, "batches": 0, "max_in_flight": 1, "faults": {}}
    assert call(f"{root}/stats") == (200, {"calls": 4, **counts, **paid})
    assert not any(call(f"{root}/stats/reset", b"")[1].values())
    assert llm.requests == []


async def test_answers_that_take_time_do_not_wait_for_each_other(answers: Path) -> None:
    body = {"messages": [{"role": "user", "content": V2.format("USER: Yes")}]}
    with scripted_llm(answers, latency=0.3) as llm:
        async with aiohttp.ClientSession() as session:
            calls = [session.post(f"{llm.base_url}/chat/completions", json=body) for _ in range(20)]
            assert {response.status for response in await asyncio.gather(*calls)} == {200}
        assert llm.stats()["max_in_flight"] > 10


def test_a_taken_port_is_told(llm: Running, answers: Path) -> None:
    port = int(llm.base_url.split(":")[2].removesuffix("/v1"))
    with pytest.raises(RasaFtError, match=f"Port {port} on 127.0.0.1 is taken"), scripted_llm(answers, port=port):
        pass


PROGRAM = """
import argparse, sys
from rasa_ft_ext.cli import scripted_llm
parser = argparse.ArgumentParser()
scripted_llm.add_arguments(parser)
sys.exit(scripted_llm.run(parser.parse_args()))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_command_says_where_it_is_and_ends_quietly(answers: Path, number: signal.Signals) -> None:
    arguments = [sys.executable, "-c", PROGRAM, str(answers), "--port", "0", "--syntax", "v1"]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("scripted LLM on http://127.0.0.1:")
        body = {"messages": [{"role": "user", "content": "USER: I need to reserve a car."}]}
        status, answer = call(f"{line.split()[-1]}/chat/completions", body)
        process.send_signal(number)
        rest = process.communicate(timeout=20)
    assert (status, answer["choices"][0]["message"]["content"]) == (200, "StartFlow(book_car)")
    assert (rest, process.returncode) == (("", ""), 0)


@pytest.mark.parametrize("arguments", [["--port", "-1"], ["--port", "70000"], ["--latency", "-1"], ["--latency", "x"]])
def test_the_command_refuses_impossible_arguments(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    with pytest.raises(SystemExit):
        parser.parse_args(["answers.yml", *arguments])
    assert "is no" in capsys.readouterr().err
