"""Faults on purpose and a hidden capacity: what the scripted LLM does then, over real HTTP."""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from rasa_ft_ext.cli import scripted_llm as command
from rasa_ft_ext.commands import read
from rasa_ft_ext.errors import ConfigError
from rasa_ft_ext.llm.scripted.faults import KINDS, Fault, Faults, off_the_point
from rasa_ft_ext.llm.scripted.script import Script
from rasa_ft_ext.llm.scripted.server import Running, scripted_llm
from rasa_ft_ext.rephrase.answer import read_answer

MESSAGES = [f"Car number {number}, please" for number in range(40)]
SCRIPT = Script.of(*({"user": text, "commands": [f"SetSlot(car, {number})"]} for number, text in enumerate(MESSAGES)))
PATIENCE = 10.0


def prompt(message: str) -> str:
    return f"* `start flow f`\n* `set slot s v`\n* `provide info`\nUSER: {message}\n"


def body(message: str) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": prompt(message)}]}


@asynccontextmanager
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    """A client that keeps no connection: aiohttp asks again by itself where a kept one is reset."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True, limit=0)) as client:
        yield client


async def ask(llm: Running, message: str, seconds: float = PATIENCE) -> tuple[int, dict[str, str], bytes]:
    """Status, head and body of one answer."""
    limit = aiohttp.ClientTimeout(total=seconds)
    async with (
        session() as client,
        client.post(f"{llm.base_url}/chat/completions", json=body(message), timeout=limit) as response,
    ):
        return response.status, dict(response.headers), await response.read()


def always(*kinds: Fault, **options: Any) -> Faults:
    return Faults(share=1.0, kinds=kinds, **options)


def text_of(raw: bytes) -> str:
    return str(json.loads(raw)["choices"][0]["message"]["content"])


def test_which_request_fails_depends_on_itself_and_on_how_often_it_came() -> None:
    faults = Faults(share=0.2)
    drawn = [[faults.draw(str(number), times) for times in range(3)] for number in range(3000)]
    assert drawn == [[faults.draw(str(number), times) for times in range(3)] for number in range(3000)]
    counts = Counter(fault for row in drawn for fault in row)
    assert 0.18 < 1 - counts[None] / 9000 < 0.22
    assert all(counts[kind] > 100 for kind in KINDS)
    assert len({tuple(fault is None for fault in row) for row in drawn}) == 8
    assert drawn[:100] != [
        [Faults(0.2, seed=1).draw(str(number), times) for times in range(3)] for number in range(100)
    ]
    assert {Faults(share=0.0).draw(str(number), 0) for number in range(100)} == {None}


@pytest.mark.parametrize(
    ("kind", "status", "wait"),
    [("429", 429, None), ("429-retry-after", 429, "0.05"), ("500", 500, None), ("503", 503, None)],
)
async def test_an_error_has_its_status_and_openais_form(kind: Fault, status: int, wait: str | None) -> None:
    with scripted_llm(SCRIPT, faults=always(kind, retry_after=0.05)) as llm:
        found, head, raw = await ask(llm, MESSAGES[0])
        assert (found, head.get("Retry-After")) == (status, wait)
        assert json.loads(raw)["error"]["message"]
        assert (llm.stats()["faults"], llm.stats()["commands"], llm.stats()["answered"]) == ({kind: 1}, 1, 0)


async def test_a_timeout_is_no_answer_until_the_client_goes_away() -> None:
    with scripted_llm(SCRIPT, faults=always("timeout"), capacity=1) as llm:
        with pytest.raises(TimeoutError):
            await ask(llm, MESSAGES[0], seconds=0.1)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(not_throttled(llm), PATIENCE)
        assert llm.stats()["faults"] == {"timeout": 2}, "the only place is free again"


async def not_throttled(llm: Running) -> None:
    while (await ask(llm, MESSAGES[0], seconds=0.2))[0] == 429:
        pass


async def test_a_reset_breaks_an_answer_off() -> None:
    with scripted_llm(SCRIPT, faults=always("reset")) as llm:
        with pytest.raises(aiohttp.ClientError):
            await ask(llm, MESSAGES[0])
        assert (llm.stats()["faults"], llm.stats()["answered"]) == ({"reset": 1}, 0)


async def test_a_truncated_answer_says_that_it_is_whole() -> None:
    with scripted_llm(SCRIPT, faults=always("truncated")) as llm:
        status, head, raw = await ask(llm, MESSAGES[0])
        assert (status, int(head["Content-Length"])) == (200, len(raw))
        assert raw.startswith(b'{"id"')
        with pytest.raises(ValueError, match=r"Unterminated|Expecting"):
            json.loads(raw)


async def test_an_answer_may_have_no_choices() -> None:
    with scripted_llm(SCRIPT, faults=always("no-choices")) as llm:
        status, _, raw = await ask(llm, MESSAGES[0])
        assert (status, json.loads(raw)["choices"]) == (200, [])


async def test_an_answer_off_the_point_is_another_one_each_time() -> None:
    with scripted_llm(SCRIPT, faults=always("wrong-format")) as llm:
        texts = [text_of((await ask(llm, MESSAGES[0]))[2]) for _ in range(8)]
        assert len(set(texts)) == 8
        assert llm.stats()["answered"] == 0


def test_what_is_off_the_point_holds_neither_commands_nor_rephrasings() -> None:
    for times in range(50):
        text = off_the_point("a prompt", times)
        for messages in (["Yes"], ["Yes", "to Basel"]):
            assert not any(read_answer(text, messages, 5)), text
        assert not any(read(text, syntax) for syntax in ("v1", "v2", "v3")), text


async def test_a_straggler_is_answered_late_but_well() -> None:
    with scripted_llm(SCRIPT, faults=always("straggler", straggle=0.1)) as llm:
        started = time.monotonic()
        assert text_of((await ask(llm, MESSAGES[3]))[2]) == "set slot car 3"
        assert time.monotonic() - started >= 0.1
        assert (llm.stats()["faults"], llm.stats()["answered"]) == ({"straggler": 1}, 1)


async def asked_until_answered(llm: Running, messages: Sequence[str], at_a_time: int) -> dict[str, str]:
    """What a client gets that asks again until it is answered."""
    places = asyncio.Semaphore(at_a_time)

    async def answered(message: str) -> str:
        while True:
            try:
                async with places:
                    status, _, raw = await ask(llm, message, seconds=0.5)
                text = text_of(raw) if status == 200 else ""
            except (aiohttp.ClientError, TimeoutError, ValueError, LookupError):
                continue
            if read(text, "v2"):
                return text

    return dict(zip(messages, await asyncio.gather(*map(answered, messages)), strict=True))


async def test_faults_are_the_same_in_any_order_and_nothing_is_lost() -> None:
    seen = []
    for messages, at_a_time in ((MESSAGES, 8), (MESSAGES[::-1], 3)):
        with scripted_llm(SCRIPT, faults=Faults(0.4, retry_after=0, straggle=0.01)) as llm:
            answers = await asked_until_answered(llm, messages, at_a_time)
            assert answers == {text: f"set slot car {number}" for number, text in enumerate(MESSAGES)}
            seen.append({key: value for key, value in llm.stats().items() if key != "max_in_flight"})
    assert seen[0] == seen[1]
    assert len(seen[0]["faults"]) > 5
    assert (seen[0]["answered"], seen[0]["distinct"], seen[0]["repeated"]) == (40, 40, 0)


async def test_what_is_answered_twice_is_counted() -> None:
    with scripted_llm(SCRIPT) as llm:
        for message in (*MESSAGES[:3], *MESSAGES[:2], MESSAGES[0], "Mars"):
            await ask(llm, message)
        stats = llm.stats()
        assert [stats[name] for name in ("calls", "answered", "distinct", "repeated", "refused")] == [7, 6, 3, 3, 1]


async def test_more_at_a_time_than_the_capacity_get_429() -> None:
    with scripted_llm(SCRIPT, latency=0.3, capacity=3) as llm:
        statuses = Counter(status for status, _, _ in await asyncio.gather(*(ask(llm, text) for text in MESSAGES[:10])))
        assert statuses == {200: 3, 429: 7}
        assert (llm.stats()["calls"], llm.stats()["over_capacity"], llm.stats()["refused"]) == (3, 7, 0)


async def test_the_capacity_can_be_changed_while_it_runs() -> None:
    with scripted_llm(SCRIPT) as llm:
        address = f"{llm.base_url.removesuffix('/v1')}/capacity"
        async with session() as client:
            for wanted, statuses in ((0, 200), (-1, 400), ("3", 400), (True, 400)):
                async with client.post(address, json={"capacity": wanted}) as response:
                    assert response.status == statuses
            assert (await ask(llm, MESSAGES[0]))[0] == 429
            async with client.post(address, json={"capacity": None}) as response:
                assert await response.json() == {"capacity": None}
            assert (await ask(llm, MESSAGES[0]))[0] == 200
        assert llm.stats()["refused"] == 0


def test_impossible_faults_are_told_all_at_once() -> None:
    with pytest.raises(ConfigError) as raised:
        Faults(share=1.5, kinds=("429", "418", "teapot"))  # type: ignore[arg-type]
    unknown, share = raised.value.problems
    assert unknown.startswith("Not known as a fault: '418', 'teapot'. Those known are: 429, ")
    assert "is 1.5; it must be from 0 to 1" in share


PROGRAM = """
import argparse, sys
from rasa_ft_ext.cli import scripted_llm
parser = argparse.ArgumentParser()
scripted_llm.add_arguments(parser)
sys.exit(scripted_llm.run(parser.parse_args()))
"""


def test_the_command_has_faults(tmp_path: Path) -> None:
    (tmp_path / "answers.yml").write_text("answers: [{user: Car, text: fine}]")
    options = ["--faults", "1", "--fault-kinds", "429-retry-after", "--retry-after", "2.5", "--fault-seed", "3"]
    line = [sys.executable, "-c", PROGRAM, str(tmp_path / "answers.yml"), *options]
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = process.stdout.readline().split()[-1]
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with pytest.raises(urllib.error.HTTPError) as raised:
            opener.open(f"{url}/chat/completions", json.dumps(body("Car")).encode())
        raised.value.close()
        process.terminate()
    assert (raised.value.code, raised.value.headers["Retry-After"]) == (429, "2.5")


def test_the_commands_help_names_every_kind() -> None:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    assert ", ".join(KINDS) in " ".join(action.help or "" for action in parser._actions)
