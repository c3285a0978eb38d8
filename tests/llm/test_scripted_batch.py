"""Batches of the scripted LLM: with OpenAI's own client over real HTTP, and how they go on with the time."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import pytest
from openai import (
    APIConnectionError,
    APIError,
    APIStatusError,
    APITimeoutError,
    InternalServerError,
    OpenAI,
    RateLimitError,
)

from rasa_ft_ext.llm.scripted.api import ScriptedLLM
from rasa_ft_ext.llm.scripted.batch import Batches
from rasa_ft_ext.llm.scripted.failing import fail
from rasa_ft_ext.llm.scripted.faults import Fault, Faults
from rasa_ft_ext.llm.scripted.files import ENDPOINT
from rasa_ft_ext.llm.scripted.script import Script
from rasa_ft_ext.llm.scripted.server import Running, scripted_llm

SCRIPT = Script.of(*({"user": f"Car {number}", "text": f"fine {number}"} for number in range(30)))


@pytest.fixture
def llm() -> Iterator[Running]:
    with scripted_llm(SCRIPT) as running:
        yield running


def client_of(llm: Running, **options: Any) -> OpenAI:
    return OpenAI(base_url=llm.base_url, api_key="none", **{"max_retries": 0, "timeout": 10, **options})


def line(custom_id: str, message: str, **changes: Any) -> dict[str, Any]:
    body = {"model": "scripted", "messages": [{"role": "user", "content": f"USER: {message}"}]}
    return {"custom_id": custom_id, "method": "POST", "url": ENDPOINT, "body": body, **changes}


def content(*lines: Any) -> bytes:
    return "".join((text if isinstance(text, str) else json.dumps(text)) + "\n" for text in lines).encode()


def begun(client: OpenAI, *lines: Any, metadata: dict[str, str] | None = None) -> Any:
    file = client.files.create(file=("calls.jsonl", content(*lines)), purpose="batch")
    return client.batches.create(
        input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h", metadata=metadata
    )


def rows(client: OpenAI, file: str | None) -> list[dict[str, Any]]:
    assert file is not None
    return [json.loads(row) for row in client.files.content(file).text.splitlines()]


def test_openais_client_gets_all_answers_in_another_order(llm: Running) -> None:
    asked = [line(f"id-{number}", f"Car {number}") for number in range(30)]
    with client_of(llm) as client:
        batch = begun(client, *asked, metadata={"run": "7"})
        assert (batch.status, batch.output_file_id, batch.metadata) == ("validating", None, {"run": "7"})
    with client_of(llm) as client:  # another one: the batch does not end with the first
        done = client.batches.retrieve(batch.id)
        answers = rows(client, done.output_file_id)
        assert (done.status, done.error_file_id, done.errors) == ("completed", None, None)
        assert done.request_counts is not None
        assert done.request_counts.to_dict() == {"total": 30, "completed": 30, "failed": 0}
        assert [row["custom_id"] for row in answers] != [row["custom_id"] for row in asked]
        said = {row["custom_id"]: row["response"]["body"]["choices"][0]["message"]["content"] for row in answers}
        assert said == {f"id-{number}": f"fine {number}" for number in range(30)}
        assert {(row["error"], row["response"]["status_code"]) for row in answers} == {(None, 200)}
        assert client.files.retrieve(str(done.output_file_id)).purpose == "batch_output"
        assert rows(client, done.input_file_id) == asked
        assert client.files.delete(done.input_file_id).deleted
        with pytest.raises(APIStatusError, match="No such File object"):
            client.files.retrieve(done.input_file_id)
    stats = llm.stats()
    assert [stats[name] for name in ("answered", "distinct", "batches", "calls", "refused")] == [30, 30, 1, 30, 0]


def test_a_request_without_an_answer_stands_in_the_file_of_errors(llm: Running) -> None:
    with client_of(llm) as client:
        done = client.batches.retrieve(begun(client, line("good", "Car 1"), line("bad", "Mars")).id)
        (row,) = rows(client, done.error_file_id)
        assert (row["custom_id"], row["response"]["status_code"], row["error"]) == ("bad", 404, None)
        assert row["response"]["body"]["error"]["type"] == "unknown_message"
        assert [row["custom_id"] for row in rows(client, done.output_file_id)] == ["good"]
        assert done.request_counts is not None
        assert done.request_counts.to_dict() == {"total": 2, "completed": 1, "failed": 1}


def test_a_file_with_faults_fails_as_a_whole(llm: Running) -> None:
    other = line("c", "Car 3")
    other["body"]["model"] = "another"
    wrong = [line("a", "Car 1"), "{", line("a", "Car 2"), line("b", "Car 2", url="/v1/embeddings"), other]
    with client_of(llm) as client:
        failed = client.batches.retrieve(begun(client, *wrong).id)
        assert (failed.status, failed.output_file_id) == ("failed", None)
        assert failed.errors is not None
        assert [(entry.line, entry.code) for entry in failed.errors.data or ()] == [
            (2, "invalid_json_line"),
            (3, "duplicate_custom_id"),
            (4, "invalid_url"),
            (None, "mismatched_model"),
        ]
        empty = client.batches.retrieve(begun(client).id)
        assert empty.errors is not None
        assert [entry.code for entry in empty.errors.data or ()] == ["empty_file"]
    assert llm.stats()["calls"] == 0


def test_batches_are_listed_the_newest_first(llm: Running) -> None:
    with client_of(llm) as client:
        names = [begun(client, line("a", f"Car {number}")).id for number in range(5)]
        assert [batch.id for batch in client.batches.list(limit=2)] == names[::-1]  # page by page
        assert [batch.status for batch in client.batches.list(limit=2).data] == ["completed"] * 2


def test_what_is_not_valid_is_refused(llm: Running) -> None:
    with client_of(llm) as client:
        file = client.files.create(file=("calls.jsonl", content(line("a", "Car 1"))), purpose="user_data")
        for wrong in (
            {"input_file_id": "file-none"},
            {"input_file_id": file.id},
            {"endpoint": "/v1/embeddings"},
            {"completion_window": "1h"},
            {"metadata": {"run": "x" * 513}},
        ):
            good = {"input_file_id": file.id, "endpoint": ENDPOINT, "completion_window": "24h"}
            with pytest.raises(APIStatusError) as raised:
                client.batches.create(**{**good, **wrong})  # type: ignore[arg-type]
            assert raised.value.status_code in (400, 404)
        with pytest.raises(APIStatusError, match="No batch found"):
            client.batches.retrieve("batch_none")
        with pytest.raises(APIStatusError, match="multipart"):
            client.post("/files", body={"purpose": "batch"}, cast_to=object)
    assert llm.stats()["calls"] == 0


def test_a_big_file_comes_whole(llm: Running) -> None:
    asked = [line(f"id-{number}", f"Car {number % 30} " + " " * 5000) for number in range(1000)]
    with client_of(llm) as client:
        done = client.batches.retrieve(begun(client, *asked).id)
        assert client.files.retrieve(done.input_file_id).bytes > 5_000_000
        assert len(rows(client, done.output_file_id)) == 1000


class Clock:
    """A time that stands still until it is set."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def waiting(clock: Clock, count: int = 10) -> tuple[Batches, str]:
    batches = Batches(lambda body: (200, {"said": body}), seconds=100, clock=clock)
    file = batches.upload("calls.jsonl", content(*(line(str(number), "Car") for number in range(count))), "batch")
    made = batches.create({"input_file_id": file["id"], "endpoint": ENDPOINT, "completion_window": "24h"})
    return batches, str(made["id"])


async def test_a_batch_goes_on_with_the_time() -> None:
    clock = Clock()
    batches, name = waiting(clock)
    seen = []
    for elapsed in (0, 9, 10, 50, 89, 95, 99.9, 100, 1000):
        clock.now = 1000 + elapsed
        found = await batches.look(name)
        seen.append((found["status"], found["request_counts"]["completed"]))
    assert seen == [
        *(("validating", 0), ("validating", 0), ("in_progress", 0), ("in_progress", 5), ("in_progress", 9)),
        *(("finalizing", 10), ("finalizing", 10), ("completed", 10), ("completed", 10)),
    ]
    times = [found[f"{what}_at"] for what in ("created", "in_progress", "finalizing", "completed", "expires")]
    assert times == [1000, 1010, 1090, 1100, 87400]


async def test_a_cancelled_batch_has_the_answers_that_its_time_was_enough_for() -> None:
    clock = Clock()
    batches, name = waiting(clock)
    clock.now += 50
    assert batches.cancel(name)["status"] == "cancelling"
    found = await batches.look(name)
    assert (found["status"], found["request_counts"]) == ("cancelled", {"total": 10, "completed": 5, "failed": 5})
    output, errors = (batches.files.get(found[f"{kind}_file_id"]).content for kind in ("output", "error"))
    assert {json.loads(row)["custom_id"] for row in output.splitlines()} == set("01234")
    assert {json.loads(row)["error"]["code"] for row in errors.splitlines()} == {"batch_cancelled"}
    with pytest.raises(Exception, match="Cannot cancel a batch with status 'cancelled'"):
        batches.cancel(name)


async def test_several_who_look_at_once_have_it_answered_once() -> None:
    clock = Clock()
    batches, name = waiting(clock, 200)
    clock.now += 100
    found = await asyncio.gather(*(batches.look(name) for _ in range(5)))
    assert len({one["output_file_id"] for one in found}) == 1


@pytest.mark.parametrize(
    ("kind", "status", "code"), [("429", 429, None), ("503", 503, None), ("timeout", None, "batch_expired")]
)
async def test_a_line_may_fail(kind: Fault, status: int | None, code: str | None) -> None:
    llm = ScriptedLLM(SCRIPT, faults=Faults(share=0.3, kinds=(kind,)))
    found = await batch_in(llm, 30)
    failed = found["request_counts"]["failed"]
    assert 3 < failed < 17
    assert llm.stats()["faults"] == {kind: failed}
    for row in llm.batches.files.get(found["error_file_id"]).content.splitlines():
        told = json.loads(row)
        assert (told["response"] and told["response"]["status_code"]) == status
        assert (told["error"] and told["error"]["code"]) == code


@pytest.mark.parametrize("kind", ["no-choices", "wrong-format"])
async def test_an_answer_in_a_batch_may_be_of_no_use(kind: Fault) -> None:
    llm = ScriptedLLM(SCRIPT, faults=Faults(share=0.3, kinds=(kind,)))
    found = await batch_in(llm, 30)
    bodies = [
        json.loads(row)["response"]["body"]
        for row in llm.batches.files.get(found["output_file_id"]).content.splitlines()
    ]
    good = [body for body in bodies if body["choices"] and body["choices"][0]["message"]["content"].startswith("fine")]
    assert (len(bodies), len(good)) == (30, 30 - llm.stats()["faults"][kind])
    assert len(good) == llm.stats()["answered"] < 27


async def batch_in(llm: ScriptedLLM, count: int) -> dict[str, Any]:
    asked = content(*(line(str(number), f"Car {number}") for number in range(count)))
    file = llm.batches.upload("calls.jsonl", asked, "batch")
    made = llm.batches.create({"input_file_id": file["id"], "endpoint": ENDPOINT, "completion_window": "24h"})
    return await llm.batches.look(made["id"])


@pytest.mark.parametrize(
    ("kind", "error", "batches"),
    [
        ("429", RateLimitError, 0),
        ("500", InternalServerError, 0),
        ("timeout", APITimeoutError, 0),
        ("reset", APIConnectionError, 1),
        ("truncated", ValueError, 1),
        ("straggler", None, 1),
        ("wrong-format", None, 1),
    ],
)
def test_a_batch_may_have_begun_though_the_client_learns_nothing_of_it(
    kind: Fault, error: type[Exception] | None, batches: int
) -> None:
    faults = Faults(share=1.0, kinds=(kind,), straggle=0.01)
    with scripted_llm(SCRIPT, faults=faults) as llm, client_of(llm, timeout=0.5) as client:
        file = llm.llm.batches.upload("calls.jsonl", content(line("a", "Car 1")), "batch")
        with pytest.raises(error) if error else nullcontext():
            client.batches.create(input_file_id=file["id"], endpoint=ENDPOINT, completion_window="24h")
        assert llm.stats()["batches"] == batches
        assert llm.stats()["faults"] == ({} if kind == "wrong-format" else {kind: 1})


@pytest.mark.parametrize("kind", ["429", "timeout", "truncated", "straggler"])
def test_an_upload_may_fail(kind: Fault) -> None:
    faults = Faults(share=1.0, kinds=(kind,), straggle=0.01)
    with scripted_llm(SCRIPT, faults=faults) as llm, client_of(llm, timeout=0.5) as client:
        with nullcontext() if kind == "straggler" else pytest.raises((APIError, ValueError)):
            file = client.files.create(file=("calls.jsonl", b" " * 1_000_000), purpose="batch")
            assert file.bytes == 1_000_000
        assert llm.stats()["faults"] == {kind: 1}


def test_an_upload_whose_client_goes_away_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()

    async def watched(*args: Any) -> Any:
        try:
            return await fail(*args)
        finally:
            over.set()

    monkeypatch.setattr("rasa_ft_ext.llm.scripted.api.fail", watched)
    with (
        scripted_llm(SCRIPT, faults=Faults(share=1.0, kinds=("timeout",))) as llm,
        client_of(llm, timeout=0.3) as client,
    ):
        with pytest.raises(APITimeoutError):
            client.files.create(file=("calls.jsonl", b" " * 10_000_000), purpose="batch")
        assert over.wait(10)
