"""One run at a time in an output folder: a lock that ends with its process, however that ends."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout

from rasa_ft_ext.errors import WorkspaceError

LOCK = ".rasa-ft.lock"
_PATIENCE = 2.0  # seconds: processes of a run that was killed may need a moment to end


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder, which is there.

    Where the file system has no locks, a file stands for it, with the process that made it in it.

    Raises:
        WorkspaceError: another run holds it; says which.
        OSError: the folder cannot be written.
    """
    path = folder / LOCK
    lock = FileLock(path, timeout=_PATIENCE, thread_local=False)
    try:
        lock.acquire()
    except Timeout as error:
        raise WorkspaceError(
            f"Another run is writing into {folder}{_holder(path)}. Wait until it has ended, stop it, or give another "
            "output folder with --out."
        ) from error
    try:
        with suppress(OSError):  # what it says is a courtesy
            path.write_text(f"process {os.getpid()} on {socket.gethostname()} since {datetime.now():%Y-%m-%d %H:%M}\n")
        yield
    finally:
        with suppress(OSError):  # while it is held, so that nobody else's is removed
            path.unlink()
        lock.release()


def _holder(path: Path) -> str:
    try:
        told = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return ""
    return f" ({told})" if told.startswith("process ") else ""
