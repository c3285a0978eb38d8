"""What is known on disk of the batches at providers: a run that was killed while it waited finds its batches again.

A batch is written down with its requests before it is sent, and deleted when all its answers are on disk. They are
`staged` until somebody asks for them, since only who asks can say whether an answer can be read; then they move to the
answers of the cache.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from rasa_ft_ext.errors import WorkspaceError
from rasa_ft_ext.llm.base import Completion
from rasa_ft_ext.llm.cache import ANSWER_COLUMNS, LOCK, completion_of, values_of
from rasa_ft_ext.llm.database import Database

_BATCH = "SELECT id, server, requests, created, file, batch FROM batches"
_STAGE = f"INSERT OR REPLACE INTO staged (key, {ANSWER_COLUMNS}) VALUES ({', '.join('?' * 7)})"
_LOCK_AGAIN = 0.2  # seconds until the lock is tried again


@dataclass(frozen=True)
class SentBatch:
    """One batch that is at a provider, or was about to be sent there.

    `id` is ours, `batch` and `file` are the provider's ids, None as long as it has told none. `created` is a point in
    time in seconds since 1970.
    """

    id: str
    server: str
    requests: int
    created: float
    file: str | None
    batch: str | None


class BatchState:
    """The batches in a database, see the module. What is written is on disk when a method returns."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def kept(self, key: str) -> Completion | None:
        """The answer to a request that has come since somebody looked for it: staged, or kept by another process."""
        for table in ("staged", "answers"):
            rows = self._database.read(f"SELECT {ANSWER_COLUMNS} FROM {table} WHERE key = ?", (bytes.fromhex(key),))
            if rows:
                return completion_of(rows[0])
        return None

    def batch_of(self, key: str) -> SentBatch | None:
        """The batch that a request is in."""
        where = "WHERE id = (SELECT batch FROM batch_requests WHERE key = ?)"
        rows = self._database.read(f"{_BATCH} {where}", (bytes.fromhex(key),))
        return SentBatch(*rows[0]) if rows else None

    def unsent(self, server: str) -> list[SentBatch]:
        """The batches of a server of which it is not known whether they were sent."""
        rows = self._database.read(f"{_BATCH} WHERE server = ? AND batch IS NULL ORDER BY created", (server,))
        return [SentBatch(*row) for row in rows]

    async def prepare(self, name: str, server: str, keys: Collection[str]) -> SentBatch:
        """Write down a batch that is about to be sent."""
        batch = SentBatch(name, server, len(keys), time.time(), None, None)
        values = (batch.id, server, batch.requests, batch.created)
        rows = [(bytes.fromhex(key), name) for key in keys]

        def write(connection: sqlite3.Connection) -> None:
            connection.execute("INSERT INTO batches (id, server, requests, created) VALUES (?, ?, ?, ?)", values)
            connection.executemany("INSERT INTO batch_requests (key, batch) VALUES (?, ?)", rows)

        await self._database.write(write)
        return batch

    async def uploaded(self, batch: SentBatch, file: str) -> None:
        """Write down the provider's id of the batch's input."""
        statement = "UPDATE batches SET file = ? WHERE id = ?"
        await self._database.write(lambda connection: connection.execute(statement, (file, batch.id)))

    async def sent(self, batch: SentBatch, name: str) -> None:
        """Write down the provider's id of the batch: from now on it is waited for."""
        statement = "UPDATE batches SET batch = ? WHERE id = ?"
        await self._database.write(lambda connection: connection.execute(statement, (name, batch.id)))

    async def stage(self, answers: Sequence[tuple[str, Completion]]) -> None:
        """Keep answers of a batch, other than those that are kept already."""
        rows = [(bytes.fromhex(key), *values_of(completion)) for key, completion in answers]

        def write(connection: sqlite3.Connection) -> None:
            connection.executemany(_STAGE, rows)
            known = "DELETE FROM staged WHERE key = ? AND key IN (SELECT key FROM answers)"
            connection.executemany(known, [(row[0],) for row in rows])

        await self._database.write(write)

    async def refuse(self, key: str) -> None:
        """Forget the staged answer to a request, which cannot be read."""
        statement = "DELETE FROM staged WHERE key = ?"
        await self._database.write(lambda connection: connection.execute(statement, (bytes.fromhex(key),)))

    async def forget(self, batch: SentBatch) -> None:
        """Delete a batch: its answers are staged, or none will come."""

        def write(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM batch_requests WHERE batch = ?", (batch.id,))
            connection.execute("DELETE FROM batches WHERE id = ?", (batch.id,))

        await self._database.write(write)


@asynccontextmanager
async def sending_alone(folder: Path) -> AsyncIterator[None]:
    """Keep other processes that share the folder from sending a batch meanwhile; one that dies keeps nobody.

    Where the system has no such locks, nobody is kept.

    Raises:
        WorkspaceError: the lock's file cannot be written.
    """
    path = folder / LOCK
    while True:
        handle = _held(path)
        if handle is not None:
            break
        await asyncio.sleep(_LOCK_AGAIN)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(handle)


def _held(path: Path) -> int | None:
    """The open file at the path, which nobody else holds; None where somebody does."""
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise WorkspaceError(f"{path} cannot be written: {error.strerror or error}.") from error
    try:
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(handle), path.stat()):  # and not one that was removed meanwhile
            return handle
    except ImportError:
        return handle
    except (BlockingIOError, FileNotFoundError):
        pass
    except OSError as error:
        os.close(handle)
        raise WorkspaceError(f"{path} cannot be locked: {error.strerror or error}.") from error
    os.close(handle)
    return None
