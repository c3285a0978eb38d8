"""One SQLite file that several processes read and write at the same time, and that keeps what it has said it keeps.

    database = Database(folder / "llm_cache.sqlite", SCHEMA)
    rows = database.read("SELECT text FROM answers WHERE key = ?", (key,))
    await database.write(lambda connection: connection.execute("INSERT ..."))     # returns when it is on disk

The file is in WAL mode, where nobody who reads waits for one who writes. One thread writes: all that waits for it at a
moment goes into one transaction, so that many callers share one fsync. A process that was forked must not use it.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from rasa_ft_ext.errors import WorkspaceError

T = TypeVar("T")
Write = Callable[[sqlite3.Connection], T]

APPLICATION = 0x52465445  # "RFTE": tells our files from other people's
VERSION = 1

_PATIENCE = 60.0  # seconds to wait for another process that writes
_MOST_AT_ONCE = 1000  # writes in one transaction
_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT}
_TAKEN = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_CLEAR = "`rasa-ft cache clear` removes it; the answers in it are then asked for, and paid for, again."


@dataclass
class _Job:
    write: Write[Any]
    done: Future[Any]


class Database:
    """See the module.

    Args:
        path: The file; it is made where there is none.
        schema: The statements that make its tables.

    Raises:
        WorkspaceError: it cannot be opened, is damaged, or is not of this version.
    """

    def __init__(self, path: Path, schema: str) -> None:
        self.path = path
        self._pid = os.getpid()
        with in_our_words(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._reader = _opened(path, schema)
            self._writer = _connect(path)
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="llm-cache", daemon=True)
        self._thread.start()
        atexit.register(self.close)  # what was handed over is written also where nobody closes

    @property
    def size(self) -> int:
        """The bytes of what is kept, not yet copied from the log into the file included."""
        log = self.path.with_name(f"{self.path.name}-wal")
        return sum(path.stat().st_size for path in (self.path, log) if path.exists())

    def read(self, statement: str, values: Sequence[Any] = ()) -> list[Any]:
        """All rows of a query. It may be called in an event loop: a look-up by key takes some 10 microseconds.

        Raises:
            WorkspaceError: the file cannot be read.
        """
        self._check_process()
        with in_our_words(self.path):
            return self._reader.execute(statement, values).fetchall()

    async def write(self, write: Write[T]) -> T:
        """Run `write` within the next transaction, and return what it returned when that is on disk.

        It is run and kept also where the caller is cancelled.

        Raises:
            WorkspaceError: it cannot be written; nothing of it was.
        """
        return await asyncio.wrap_future(self._hand_over(write))

    def write_now(self, write: Write[T]) -> T:
        """`write` for callers without an event loop."""
        return self._hand_over(write).result()

    def _hand_over(self, write: Write[T]) -> Future[T]:
        self._check_process()
        if not self._thread.is_alive():
            raise RuntimeError(f"{self.path} is closed")
        done: Future[T] = Future()
        done.set_running_or_notify_cancel()  # from here on nobody can cancel it
        self._jobs.put(_Job(write, done))
        return done

    def close(self) -> None:
        """Write what was handed over, and close the file. A second time, it does nothing."""
        atexit.unregister(self.close)
        if self._pid != os.getpid() or not self._thread.is_alive():
            return
        self._jobs.put(None)
        self._thread.join()
        self._reader.close()
        self._writer.close()

    def _check_process(self) -> None:
        if self._pid != os.getpid():
            raise RuntimeError(f"{self.path} was opened by another process; only that one may use it")

    def _work(self) -> None:
        going_on = True
        while going_on:
            jobs = [self._jobs.get()]
            with suppress(queue.Empty):
                while len(jobs) < _MOST_AT_ONCE:
                    jobs.append(self._jobs.get_nowait())
            going_on = None not in jobs
            self._commit([job for job in jobs if job is not None])

    def _commit(self, jobs: list[_Job]) -> None:
        """Run the jobs in one transaction; where one fails, none of them has happened."""
        if not jobs:
            return
        try:
            with in_our_words(self.path), _transaction(self._writer):
                results = [job.write(self._writer) for job in jobs]
        except Exception as error:
            for job in jobs:
                job.done.set_exception(error)
        else:
            for job, result in zip(jobs, results, strict=True):
                job.done.set_result(result)


def is_in_use(path: Path) -> bool:
    """Whether a process has the file open; one that died has not."""
    if not path.is_file():
        return False
    connection = sqlite3.connect(path, timeout=0.0, isolation_level=None)
    try:
        connection.execute("PRAGMA journal_mode = DELETE")  # only the last one who uses a file may leave WAL
    except sqlite3.Error as error:
        return _code(error) in _TAKEN
    finally:
        connection.close()
    return False


@contextmanager
def in_our_words(path: Path) -> Iterator[None]:
    """Say what is wrong with the file, and what to do, where SQLite or the system refuses.

    Raises:
        WorkspaceError: it did.
    """
    try:
        yield
    except sqlite3.Error as error:
        code = _code(error)
        if code == sqlite3.SQLITE_ERROR:
            raise  # a statement of ours is wrong
        if code in _DAMAGED:
            raise WorkspaceError(f"{path} is damaged ({error}). {_CLEAR}") from error
        if code in _TAKEN:
            raise WorkspaceError(
                f"{path} has been held by another process for {_PATIENCE:.0f} seconds. End that process, or give "
                "another folder with --cache."
            ) from error
        raise _no_access(path, error) from error
    except OSError as error:
        raise _no_access(path, error) from error


def _code(error: sqlite3.Error) -> int:
    """SQLite's primary result code."""
    return (getattr(error, "sqlite_errorcode", None) or sqlite3.SQLITE_ERROR) & 0xFF


def _no_access(path: Path, error: Exception) -> WorkspaceError:
    reason = getattr(error, "strerror", None) or error
    return WorkspaceError(
        f"{path} cannot be read or written: {reason}. All answers that are in it are kept. Make room or give another "
        "folder with --cache, then run the command again."
    )


def _opened(path: Path, schema: str) -> sqlite3.Connection:
    connection = _connect(path)
    try:
        _prepare(connection, path, schema)
    except BaseException:
        connection.close()
        raise
    return connection


def _connect(path: Path) -> sqlite3.Connection:
    """A connection that may go from thread to thread; transactions are begun by us."""
    connection = sqlite3.connect(path, timeout=_PATIENCE, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA synchronous = FULL")  # a commit is on disk when it returns, power cut or not
    connection.execute("PRAGMA fullfsync = ON")  # the same on macOS
    return connection


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # a full disk may have ended it already
            connection.execute("ROLLBACK")
        raise


def _prepare(connection: sqlite3.Connection, path: Path, schema: str) -> None:
    """Make the tables in a new file, or see that those of an old one are ours; several processes may do so at once."""
    if _is_ours(connection, path):
        return
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            break
        except sqlite3.Error as error:  # SQLite does not wait here for another process that does the same
            if _code(error) not in _TAKEN or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
    with _transaction(connection):
        if not _is_ours(connection, path):
            for statement in filter(str.strip, schema.split(";")):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {VERSION}")
            connection.execute(f"PRAGMA application_id = {APPLICATION}")
    _keep_names(path)


def _is_ours(connection: sqlite3.Connection, path: Path) -> bool:
    """Whether the tables are there; False for a new file.

    Raises:
        WorkspaceError: the file is another program's, or of another version.
    """
    [(application,)] = connection.execute("PRAGMA application_id").fetchall()
    [(version,)] = connection.execute("PRAGMA user_version").fetchall()
    if (application, version) == (APPLICATION, VERSION):
        return True
    [(tables,)] = connection.execute("SELECT count(*) FROM sqlite_schema").fetchall()
    if application == 0 and tables == 0:
        return False
    if application != APPLICATION:
        raise WorkspaceError(f"{path} was not written by rasa-ft. Move it away, or give another folder with --cache.")
    raise WorkspaceError(
        f"{path} was written by another version of rasa-ft-ext (format {version}, here {VERSION}). Use that version, "
        f"or give another folder with --cache. {_CLEAR}"
    )


def _keep_names(path: Path) -> None:
    """Have the file's folder, and the folder's own entry, on disk as well."""
    for folder in (path.parent, path.parent.resolve().parent):
        with suppress(OSError):  # not every system lets one do that with a folder
            handle = os.open(folder, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)
