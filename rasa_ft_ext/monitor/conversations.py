"""Read exported conversations: the events of each, from files of the forms that Rasa writes.

    a tracker       {"sender_id": ..., "events": [...]}     `GET /conversations/ID/tracker`
    trackers        a list of them, or one a line (JSONL)
    events          {"sender_id": ..., "event": ..., ...}   one a line, as the event broker `file` writes them and
                                                            `rasa export` publishes them, or a list of them

A file of lines is read twice and never as a whole: first for where each conversation's lines stand, then one
conversation after the other. A file that is one JSON document is read as a whole.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from rasa_ft_ext.errors import ConfigError

SUFFIXES = (".json", ".jsonl", ".ndjson", ".log", ".txt")

Conversation = tuple[str, Sequence[dict[str, Any]]]


class ConversationFiles:
    """The conversations in a file, or in all files of a folder, in the order of their names.

    `notes` are added to while they are read: lines that are no JSON, say.

    Raises:
        ConfigError: there is no such file, or none in the folder.
    """

    def __init__(self, place: Path) -> None:
        self.notes: list[str] = []
        if place.is_dir():
            self._files = sorted(path for path in place.rglob("*") if path.suffix in SUFFIXES and path.is_file())
        else:
            self._files = [place] if place.is_file() else []
        if not self._files:
            what = f"no file that ends in {', '.join(SUFFIXES)} in it" if place.is_dir() else "no such file or folder"
            raise ConfigError("--conversations", [f"There are no conversations at {place}: {what}."])

    def __iter__(self) -> Iterator[Conversation]:
        for path in self._files:
            yield from self._read(path)

    def _read(self, path: Path) -> Iterator[Conversation]:
        try:
            found = _lines_of(path)
            if found is None:
                yield from _conversations(_document(path), path)
                return
            offsets, unreadable = found
            if unreadable:
                self.notes.append(f"{path}: {unreadable} lines are no JSON objects and were left out.")
            yield from _from_lines(path, offsets)
        except OSError as error:
            raise ConfigError("--conversations", [f"{path} cannot be read: {error.strerror or error}."]) from error


def _lines_of(path: Path) -> tuple[dict[str, array[int]], int] | None:
    """Where the lines of each conversation begin, and how many lines cannot be read; None for a single document."""
    offsets: dict[str, array[int]] = {}
    unreadable = 0
    with path.open("rb") as lines:
        at = 0
        for line in lines:
            entry = _object(line)
            if entry is not None:
                offsets.setdefault(_sender(entry, path), array("q")).append(at)
            elif not offsets and line.strip():
                return None  # the first line is no object of its own
            elif line.strip():
                unreadable += 1
            at += len(line)
    return offsets, unreadable


def _from_lines(path: Path, offsets: dict[str, array[int]]) -> Iterator[Conversation]:
    with path.open("rb") as lines:
        for sender, places in offsets.items():
            entries = []
            for place in places:
                lines.seek(place)
                entries.append(json.loads(lines.readline()))
            yield from _conversations(entries, path, sender)


def _conversations(value: Any, path: Path, sender: str | None = None) -> Iterator[Conversation]:
    """The conversations in a tracker, or in a list of trackers or of events."""
    entries: Iterable[Any] = value if isinstance(value, list) else [value]
    events: dict[str, list[dict[str, Any]]] = {}
    for entry in entries:
        if not isinstance(entry, dict):
            raise _foreign(path)
        name = sender if sender is not None else _sender(entry, path)
        if isinstance(entry.get("events"), list):
            events.setdefault(name, []).extend(event for event in entry["events"] if isinstance(event, dict))
        else:
            events.setdefault(name, []).append(entry)
    yield from events.items()


def _sender(entry: dict[str, Any], path: Path) -> str:
    if "sender_id" not in entry or not ("event" in entry or isinstance(entry.get("events"), list)):
        raise _foreign(path)
    return str(entry["sender_id"])


def _object(line: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(line)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _document(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except ValueError as error:
        raise ConfigError("--conversations", [f"{path} holds no JSON: {error}."]) from error


def _foreign(path: Path) -> ConfigError:
    return ConfigError(
        "--conversations",
        [
            f"{path} holds something else than Rasa's conversations. Give trackers (`sender_id` and `events`, as GET "
            "/conversations/ID/tracker answers) or events with `sender_id` and `event`, as an event broker gets them."
        ],
    )
