"""The batches of the scripted LLM, as OpenAI's API has them: they go on while their clients are away.

    batches = Batches(answer, seconds=60)
    file = batches.files.add("calls.jsonl", content, purpose="batch", now=0)      # one request a line
    batch = batches.create({"input_file_id": file.id, "endpoint": ENDPOINT, "completion_window": "24h"})
    await batches.look(batch["id"])         # its status: validating, in_progress, finalizing, completed

The requests are answered when somebody looks after the time that a batch takes. The answers stand in another order
than the requests. A batch that is cancelled has as many answers as its time was enough for. This module knows no HTTP.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from rasa_ft_ext.llm.scripted.files import ENDPOINT, File, Files, Line, Problem, read_lines
from rasa_ft_ext.llm.scripted.openai import INVALID, Refusal

Answer = Callable[[dict[str, Any]], tuple[int, dict[str, Any]] | None]
"""Answers the body of a request with a status and a body; None where the batch's time is over before."""

_WINDOW = 24 * 3600
_STARTS, _ENDS = 0.1, 0.9  # the parts of a batch's time after which it is validated, and its requests are answered
_AT_A_TIME = 50  # requests, before others are let in
_NOT_DONE = {
    "batch_cancelled": "This request was not executed because the batch was cancelled.",
    "batch_expired": "This request could not be executed before the completion window expired.",
}


@dataclass
class Batch:
    """One batch: what is asked, and what has become of it."""

    id: str
    input_file_id: str
    metadata: dict[str, str] | None
    created_at: float
    seconds: float
    lines: list[Line]
    problems: list[Problem]
    cancelled_at: float | None = None
    output: File | None = None
    errors: File | None = None
    completed: int = 0
    failed: int = 0
    is_finished: bool = False
    working: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def ends_at(self) -> float:
        return self.created_at + self.seconds if self.cancelled_at is None else self.cancelled_at

    def part(self, now: float) -> float:
        """The part of its time that has gone by, from 0 to 1."""
        until = now if self.cancelled_at is None else min(now, self.cancelled_at)
        return min(1.0, (until - self.created_at) / self.seconds) if self.seconds else 1.0

    def executed(self, now: float) -> int:
        """How many requests its time is enough for."""
        return int(len(self.lines) * min(1.0, max(0.0, (self.part(now) - _STARTS) / (_ENDS - _STARTS))))

    def status(self, now: float) -> str:
        if self.problems:
            return "failed"
        if self.cancelled_at is not None:
            return "cancelled" if self.is_finished else "cancelling"
        if self.is_finished:
            return "completed"
        return "validating" if self.part(now) < _STARTS else "in_progress" if self.part(now) < _ENDS else "finalizing"

    def shown(self, now: float, status: str | None = None) -> dict[str, Any]:
        """The batch as the API shows it; `status` where another one is to be shown than that of the moment."""
        status = status or self.status(now)
        starts, ends = (self.created_at + part * self.seconds for part in (_STARTS, _ENDS))
        running = status in ("in_progress", "finalizing", "completed")
        done = self.completed if self.is_finished else self.executed(now) if running else 0
        return {
            "id": self.id,
            "object": "batch",
            "endpoint": ENDPOINT,
            "errors": {"object": "list", "data": [entry.shown for entry in self.problems]} if self.problems else None,
            "input_file_id": self.input_file_id,
            "completion_window": "24h",
            "status": status,
            "output_file_id": self.output.id if self.output else None,
            "error_file_id": self.errors.id if self.errors else None,
            "created_at": int(self.created_at),
            "in_progress_at": int(starts) if running else None,
            "expires_at": int(self.created_at) + _WINDOW,
            "finalizing_at": int(ends) if status in ("finalizing", "completed") else None,
            "completed_at": int(self.ends_at) if status == "completed" else None,
            "failed_at": int(self.created_at) if status == "failed" else None,
            "expired_at": None,
            "cancelling_at": int(self.cancelled_at) if self.cancelled_at is not None else None,
            "cancelled_at": int(self.ends_at) if status == "cancelled" else None,
            "request_counts": {"total": len(self.lines), "completed": done, "failed": self.failed},
            "metadata": self.metadata,
        }


class Batches:
    """All batches and their files, for as long as the server runs.

    Args:
        answer: Answers one request.
        seconds: How long a batch takes.
        clock: The time in seconds since 1970; tests give one that they set.
    """

    def __init__(self, answer: Answer, *, seconds: float = 0.0, clock: Callable[[], float] = time.time) -> None:
        self.files = Files()
        self.clock = clock
        self._answer = answer
        self._seconds = seconds
        self._batches: dict[str, Batch] = {}

    def upload(self, name: str, content: bytes, purpose: str) -> dict[str, Any]:
        """Keep a file."""
        return self.files.add(name, content, purpose=purpose, now=self.clock()).shown

    def create(self, body: dict[str, Any]) -> dict[str, Any]:
        """Begin a batch.

        Raises:
            Refusal: the request is not valid. A file with faults is not told here: the batch has the status `failed`.
        """
        if body.get("endpoint") != ENDPOINT:
            raise Refusal(400, INVALID, f"The scripted LLM has batches for {ENDPOINT} only.")
        if body.get("completion_window") != "24h":
            raise Refusal(400, INVALID, "The 'completion_window' must be 24h.")
        file = self.files.get(str(body.get("input_file_id")))
        if file.purpose != "batch":
            raise Refusal(400, INVALID, f"The file {file.id} was uploaded for {file.purpose}, not for batch.")
        metadata = _metadata(body.get("metadata"))
        lines, problems = read_lines(file.content)
        name = f"batch_{secrets.token_hex(12)}"
        batch = Batch(name, file.id, metadata, self.clock(), self._seconds, [] if problems else lines, problems)
        self._batches[name] = batch
        return batch.shown(self.clock(), "validating")

    async def look(self, name: str) -> dict[str, Any]:
        """A batch as it stands now.

        Raises:
            Refusal: there is none with this id.
        """
        batch = self._get(name)
        now = self.clock()
        if not batch.problems and now >= batch.ends_at:
            async with batch.working:
                await self._finish(batch)
        return batch.shown(now)

    async def listed(self, limit: int, after: str | None) -> dict[str, Any]:
        """The batches, the newest first.

        Raises:
            Refusal: there is none with the id `after`.
        """
        names = list(reversed(self._batches))
        start = names.index(self._get(after).id) + 1 if after else 0
        data = [await self.look(name) for name in names[start : start + limit]]
        ends = {"first_id": data[0]["id"] if data else None, "last_id": data[-1]["id"] if data else None}
        return {"object": "list", "data": data, **ends, "has_more": len(names) > start + limit}

    def cancel(self, name: str) -> dict[str, Any]:
        """Cancel a batch.

        Raises:
            Refusal: there is none with this id, or it has ended.
        """
        batch, now = self._get(name), self.clock()
        if batch.problems or batch.is_finished or batch.cancelled_at is not None:
            raise Refusal(409, INVALID, f"Cannot cancel a batch with status '{batch.status(now)}'.")
        batch.cancelled_at = now
        return batch.shown(now)

    def _get(self, name: str) -> Batch:
        if name not in self._batches:
            raise Refusal(404, INVALID, f"No batch found with id '{name}'.")
        return self._batches[name]

    async def _finish(self, batch: Batch) -> None:
        """Answer the requests of a batch whose time is over, unless it is done already."""
        if batch.is_finished:
            return
        answered = batch.executed(batch.ends_at)
        written: dict[bool, list[str]] = {True: [], False: []}
        for place, line in enumerate(batch.lines):
            well, text = self._line(batch, line) if place < answered else (False, _not_done(line, "batch_cancelled"))
            written[well].append(text)
            if place % _AT_A_TIME == 0:
                await asyncio.sleep(0)
        batch.completed, batch.failed = len(written[True]), len(written[False])
        batch.output, batch.errors = (self._file(batch, kind, written[kind]) for kind in (True, False))
        batch.is_finished = True

    def _line(self, batch: Batch, line: Line) -> tuple[bool, str]:
        """Whether a request went well, and what the file says of it."""
        found = self._answer(line.body)
        if found is None:
            return False, _not_done(line, "batch_expired")
        status, body = found
        response = {"status_code": status, "request_id": _digest(batch.id + line.custom_id), "body": body}
        return status == 200, _written(line, response, None)

    def _file(self, batch: Batch, well: bool, lines: list[str]) -> File | None:
        if not lines:
            return None
        name = f"{batch.id}_{'output' if well else 'error'}.jsonl"
        content = "".join(f"{line}\n" for line in sorted(lines, key=_digest)).encode()
        return self.files.add(name, content, purpose="batch_output", now=batch.ends_at)


def _metadata(given: Any) -> dict[str, str] | None:
    if given is None:
        return None
    wrong = Refusal(400, INVALID, "'metadata' has at most 16 texts of 512 letters, under names of 64 letters.")
    if not isinstance(given, dict) or len(given) > 16:
        raise wrong
    for name, text in given.items():
        if not isinstance(text, str) or len(name) > 64 or len(text) > 512:
            raise wrong
    return dict(given)


def _not_done(line: Line, code: str) -> str:
    return _written(line, None, {"code": code, "message": _NOT_DONE[code]})


def _written(line: Line, response: dict[str, Any] | None, error: dict[str, str] | None) -> str:
    return json.dumps(
        {
            "id": f"batch_req_{_digest(line.custom_id)[:24]}",
            "custom_id": line.custom_id,
            "response": response,
            "error": error,
        }
    )


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
