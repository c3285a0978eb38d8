"""The answers that were paid for, on disk, so that none is paid for twice.

    cache = Cache(Path("output"))                       # output/llm_cache.sqlite
    kept = await cache.get(request.key)
    kept = await cache.put(request.key, request, completion)    # on disk when it returns
    cache.close()

The first answer to a request is the answer: who comes second, from another process, is given the first. An answer is
kept as it came, under its request's key; the messages, the address and the credentials are not kept.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rasa_ft_ext.conversation import Record, Usage
from rasa_ft_ext.errors import WorkspaceError
from rasa_ft_ext.llm.base import Completion
from rasa_ft_ext.llm.database import Database, is_in_use
from rasa_ft_ext.llm.request import Request

FILE = "llm_cache.sqlite"
LOCK = ".llm_batch.lock"
"""Held by the process that is sending a batch."""

# `staged` are the answers of batches that nobody has looked at yet, see `rasa_ft_ext.llm.batch.state`.
_ANSWER = """
    text TEXT NOT NULL, prompt_tokens INTEGER NOT NULL, completion_tokens INTEGER NOT NULL, answered_by TEXT NOT NULL,
    seconds REAL NOT NULL, batch INTEGER NOT NULL
"""
_SCHEMA = f"""
CREATE TABLE answers (
    key BLOB PRIMARY KEY, provider TEXT NOT NULL, model TEXT NOT NULL, created REAL NOT NULL, {_ANSWER}
);
CREATE TABLE staged (key BLOB PRIMARY KEY, {_ANSWER});
CREATE TABLE batches (
    id TEXT PRIMARY KEY, server TEXT NOT NULL, requests INTEGER NOT NULL, created REAL NOT NULL, file TEXT, batch TEXT
);
CREATE TABLE batch_requests (key BLOB PRIMARY KEY, batch TEXT NOT NULL) WITHOUT ROWID
"""
ANSWER_COLUMNS = "text, prompt_tokens, completion_tokens, answered_by, seconds, batch"
_SELECT = f"SELECT {ANSWER_COLUMNS} FROM answers WHERE key = ?"
_INSERT = f"INSERT OR IGNORE INTO answers (key, provider, model, created, {ANSWER_COLUMNS}) VALUES (?{', ?' * 9})"
_INFO = """
SELECT provider, model, count(*), sum(prompt_tokens), sum(completion_tokens), sum(batch), min(created), max(created)
FROM answers GROUP BY provider, model ORDER BY provider, model
"""


class ModelAnswers(Record):
    """The kept answers of one model; `batch` of them came from batches."""

    provider: str
    model: str
    answers: int
    prompt_tokens: int
    completion_tokens: int
    batch: int


class CacheInfo(Record):
    """What a cache holds. `size` is in bytes, `oldest` and `newest` are points in time in UTC.

    `waiting` are requests in batches that are still at the provider.
    """

    path: str
    size: int
    answers: int
    waiting: int
    oldest: datetime | None
    newest: datetime | None
    models: tuple[ModelAnswers, ...]


class Cache:
    """See the module.

    Args:
        folder: The folder of its file; it is made where there is none.

    Raises:
        WorkspaceError: the file cannot be opened, is damaged, or is of another version.
    """

    def __init__(self, folder: Path) -> None:
        self.database = Database(folder / FILE, _SCHEMA)

    async def get(self, key: str) -> Completion | None:
        """The answer that is kept under a key.

        Raises:
            WorkspaceError: the file cannot be read.
        """
        rows = self.database.read(_SELECT, (bytes.fromhex(key),))
        return completion_of(rows[0]) if rows else None

    async def put(self, key: str, request: Request, completion: Completion) -> Completion:
        """Keep an answer, and return the one that is kept: this one, or the one that was there first.

        Raises:
            WorkspaceError: it cannot be written, as on a full disk; the answers that were kept before stay.
        """
        wanted = bytes.fromhex(key)
        asked = (str(request.model.get("provider", "")), str(request.model.get("model", "")), time.time())
        values = (wanted, *asked, *values_of(completion))

        def insert(connection: sqlite3.Connection) -> Completion:
            connection.execute("DELETE FROM staged WHERE key = ?", (wanted,))
            if connection.execute(_INSERT, values).rowcount:
                return completion
            return completion_of(connection.execute(_SELECT, (wanted,)).fetchone())

        return await self.database.write(insert)

    def info(self) -> CacheInfo:
        """What is kept.

        Raises:
            WorkspaceError: the file cannot be read.
        """
        rows = self.database.read(_INFO)
        [(waiting,)] = self.database.read("SELECT count(*) FROM batch_requests")
        fields = tuple(ModelAnswers.model_fields)
        return CacheInfo(
            path=str(self.database.path),
            size=self.database.size,
            answers=sum(row[2] for row in rows),
            waiting=waiting,
            oldest=min((_point_in_time(row[6]) for row in rows), default=None),
            newest=max((_point_in_time(row[7]) for row in rows), default=None),
            models=tuple(ModelAnswers(**dict(zip(fields, row[:6], strict=True))) for row in rows),
        )

    def close(self) -> None:
        """Close the file; what was handed over is kept."""
        self.database.close()


def read_info(folder: Path) -> CacheInfo:
    """What the cache in a folder holds.

    Raises:
        WorkspaceError: there is none, or it cannot be read.
    """
    if not (folder / FILE).is_file():
        raise WorkspaceError(
            f"{folder} holds no kept answers (there is no {FILE}). Give the output folder of a run, or --cache with "
            "the folder that the run had."
        )
    cache = Cache(folder)
    try:
        return cache.info()
    finally:
        cache.close()


def clear(folder: Path) -> bool:
    """Remove the cache in a folder, also a damaged one; return whether there was one.

    Raises:
        WorkspaceError: it cannot be removed, or a process is using it.
    """
    found = _files(folder)
    if is_in_use(folder / FILE):
        raise WorkspaceError(f"{folder / FILE} is being used by another process. Wait until it has ended.")
    try:
        for path in found:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise WorkspaceError(f"{path} cannot be removed: {error.strerror or error}.") from error
    return bool(found)


def completion_of(row: Sequence[Any]) -> Completion:
    """The answer in the six columns that every table of answers has."""
    text, prompt_tokens, completion_tokens, model, seconds, batch = row
    usage = Usage.model_construct(prompt_tokens=prompt_tokens, completion_tokens=completion_tokens)
    return Completion(text=text, usage=usage, model=model, seconds=seconds, batch=bool(batch))


def values_of(completion: Completion) -> tuple[Any, ...]:
    """An answer as the six columns that every table of answers has."""
    usage = completion.usage
    return (
        completion.text,
        usage.prompt_tokens,
        usage.completion_tokens,
        completion.model,
        completion.seconds,
        int(completion.batch),
    )


def _files(folder: Path) -> list[Path]:
    """The database, what SQLite puts beside it while it is in use, and the lock of batches."""
    return [path for name in (FILE, f"{FILE}-wal", f"{FILE}-shm", LOCK) if (path := folder / name).is_file()]


def _point_in_time(seconds: float) -> datetime:
    return datetime.fromtimestamp(round(seconds), UTC)
