"""What a stage must remember of its data while it runs, on disk: so memory does not grow with the data.

    with scratch() as database:
        database.execute("CREATE TABLE seen (prompt BLOB, number INTEGER)")

The database is a file of SQLite's own in the system's folder for temporary files (`SQLITE_TMPDIR` names another). It
has no name, so it is gone with the process, however that ends. Only a few MiB of it are in memory.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any, TypeVar

from rasa_ft_ext.errors import WorkspaceError

_CACHE_KIB = 8 * 1024


@contextmanager
def scratch() -> Iterator[sqlite3.Connection]:
    """A database for as long as the block lasts; nothing in it needs to be committed.

    Raises:
        WorkspaceError: the disk is full.
    """
    database = sqlite3.connect("", isolation_level=None)
    try:
        database.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        database.execute("PRAGMA journal_mode = OFF")
        database.execute("PRAGMA temp_store = FILE")
        database.execute("BEGIN")
        yield database
    except sqlite3.OperationalError as error:
        raise WorkspaceError(
            f"The temporary files of this command cannot be written: {error}. Make room in the folder for temporary "
            "files, or name another one with the environment variable SQLITE_TMPDIR, then run the command again."
        ) from error
    finally:
        database.close()


def digest(*texts: str) -> bytes:
    """What stands for texts that are too long to be kept: 16 bytes that no others have."""
    found = hashlib.blake2b(digest_size=16)
    for text in texts:
        encoded = text.encode("utf-8", "surrogatepass")
        found.update(len(encoded).to_bytes(8, "big") + encoded)
    return found.digest()


Key = TypeVar("Key", bound="str | tuple[Any, ...]")


class Shelf(MutableMapping[Key, Any]):
    """A mapping on disk: of texts, or of tuples of texts and numbers, to what JSON can hold.

    Args:
        database: Where it stands, under `name`.
        name: A name that no other table has.
    """

    def __init__(self, database: sqlite3.Connection, name: str) -> None:
        self._database = database
        self._name = name
        database.execute(f"CREATE TABLE {name} (key TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID")

    def __setitem__(self, key: Key, value: Any) -> None:
        entry = (json.dumps(key), json.dumps(value))
        self._database.execute(f"INSERT OR REPLACE INTO {self._name} VALUES (?, ?)", entry)

    def __getitem__(self, key: Key) -> Any:
        query = f"SELECT value FROM {self._name} WHERE key = ?"
        found = self._database.execute(query, (json.dumps(key),)).fetchone()
        if found is None:
            raise KeyError(key)
        return json.loads(found[0])

    def __delitem__(self, key: Key) -> None:
        self._database.execute(f"DELETE FROM {self._name} WHERE key = ?", (json.dumps(key),))

    def __iter__(self) -> Iterator[Key]:
        for (text,) in self._database.execute(f"SELECT key FROM {self._name}"):
            key: Any = json.loads(text)
            found: Any = tuple(key) if isinstance(key, list) else key
            yield found

    def __len__(self) -> int:
        count: int = self._database.execute(f"SELECT COUNT(*) FROM {self._name}").fetchone()[0]
        return count
