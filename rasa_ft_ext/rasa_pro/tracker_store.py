"""Read the conversations in an assistant's tracker store: through Rasa's own class, and without changing anything.

Rasa's class knows how to connect (addresses, credentials, certificates, drivers) and how the tables look. The events
are read from them in one query, conversation by conversation, and are not made into trackers: that would replay every
conversation and take a domain that fits.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import Any

from rasa.core.tracker_stores.sql_tracker_store import SQLTrackerStore
from rasa.core.tracker_stores.tracker_store import TrackerStore
from rasa.shared.exceptions import RasaException
from rasa.utils.endpoints import EndpointConfig, read_endpoint_config
from sqlalchemy.exc import SQLAlchemyError

from rasa_ft_ext.errors import AssistantError, ConfigError

_ROWS_AT_ONCE = 1000


class TrackerStoreConversations:
    """The conversations in a SQL tracker store with a message in a time, in the order of their sender ids.

    Args:
        endpoints: The endpoints file whose `tracker_store` is read.
        since: Seconds since 1970; conversations without a message from then on are left out.
        until: Seconds since 1970; conversations without a message before are left out.

    Raises:
        ConfigError: the file cannot be read, or names no SQL tracker store.
        AssistantError: the store cannot be reached.
    """

    def __init__(self, endpoints: Path, since: float | None = None, until: float | None = None) -> None:
        self._store = _open(endpoints)
        event = self._store.SQLEvent
        self._condition = [event.type_name == "user"]
        if since is not None:
            self._condition.append(event.timestamp >= since)
        if until is not None:
            self._condition.append(event.timestamp < until)

    def __len__(self) -> int:
        with _told(), self._store.session_scope() as session:
            query = session.query(self._store.SQLEvent.sender_id).filter(*self._condition)
            return int(query.distinct().count())

    def __iter__(self) -> Iterator[tuple[str, list[dict[str, Any]]]]:
        event = self._store.SQLEvent
        with _told(), self._store.session_scope() as session:
            senders = session.query(event.sender_id).filter(*self._condition).distinct()
            rows = session.query(event.sender_id, event.data).filter(event.sender_id.in_(senders))
            ordered = rows.order_by(event.sender_id, event.id).yield_per(_ROWS_AT_ONCE)
            for sender, found in groupby(ordered, key=lambda row: row[0]):
                yield str(sender), [json.loads(row[1]) for row in found]


def _open(endpoints: Path) -> SQLTrackerStore:
    config = _config(endpoints)
    config.kwargs.pop("login_db", None)  # with it, Rasa makes the database if it is not there, and waits for it
    if config.kwargs.get("dialect", "sqlite") == "sqlite":
        _check_file(config.kwargs.get("db", "rasa.db"), config.url)
    try:
        store: Any = TrackerStore.create(config)
    except (SQLAlchemyError, RasaException, ImportError, ValueError, TypeError) as error:
        raise _unreachable(error) from error
    store = getattr(store, "_tracker_store", store)  # the one with credentials that change wraps the store itself
    if not isinstance(store, SQLTrackerStore):
        raise ConfigError(
            str(endpoints),
            [
                f"The tracker store is of the type {config.type!r}; only SQL stores can be read. Export the "
                "conversations, and give them with --conversations."
            ],
        )
    return store


def _config(endpoints: Path) -> EndpointConfig:
    if not endpoints.is_file():
        raise ConfigError(str(endpoints), ["There is no such file. Give the assistant's endpoints file."])
    try:
        config = read_endpoint_config(str(endpoints), "tracker_store")
    except (RasaException, AttributeError, TypeError) as error:
        raise ConfigError(str(endpoints), [f"It cannot be read: {error}"]) from error
    if config is None or config.type is None:
        raise ConfigError(
            str(endpoints),
            ["It names no tracker store: conversations are in the memory of the running assistant only."],
        )
    return copy.deepcopy(config)


def _check_file(database: str | None, host: str | None) -> None:
    """Refuse a database file that is not there: connecting would make it."""
    if not host and database and not Path(database).is_file():
        raise AssistantError(
            f"The tracker store's database {Path(database).resolve()} is not there. A relative path starts from the "
            "folder that the command runs in: run it in the assistant's folder."
        )


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except SQLAlchemyError as error:
        raise _unreachable(error) from error


def _unreachable(error: Exception) -> AssistantError:
    """One line of what went wrong; SQLAlchemy's first line has the driver's message and no password."""
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    return AssistantError(
        f"The tracker store cannot be read: {reason.rstrip('.')}. Look at `tracker_store` in the endpoints file, and "
        "whether its database can be reached from here."
    )
