"""Exported conversations, in every form that Rasa writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rasa_ft_ext.errors import ConfigError
from rasa_ft_ext.monitor.conversations import ConversationFiles

A = [{"event": "user", "text": "a1"}, {"event": "bot", "text": "a2"}]
B = [{"event": "user", "text": "b1"}, {"event": "user", "text": "b2"}]
TRACKERS = [{"sender_id": "a", "slots": {}, "events": A}, {"sender_id": "b", "slots": {}, "events": B}]
MIXED = [
    {"sender_id": name, **event} for pair in zip(A, B, strict=True) for name, event in zip("ab", pair, strict=True)
]


def lines(values: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(value) + "\n" for value in values)


def texts(files: ConversationFiles) -> dict[str, list[str]]:
    return {sender: [event["text"] for event in events] for sender, events in files}


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(TRACKERS),
        json.dumps(TRACKERS, indent=2),
        lines(TRACKERS),
        json.dumps(MIXED, indent=1),
        lines(MIXED),
        "\n" + lines(MIXED).replace("\n", "\r\n\r\n"),
    ],
    ids=["trackers", "trackers, indented", "a tracker a line", "events", "an event a line", "empty lines"],
)
def test_events_come_back_by_conversation(text: str, tmp_path: Path) -> None:
    path = tmp_path / "export.json"
    path.write_bytes(text.encode())
    assert texts(ConversationFiles(path)) == {"a": ["a1", "a2"], "b": ["b1", "b2"]}


def test_a_folder_holds_a_tracker_a_file(tmp_path: Path) -> None:
    for tracker in TRACKERS:
        (tmp_path / f"{tracker['sender_id']}.json").write_text(json.dumps(tracker, indent=1))
    (tmp_path / "notes.md").write_text("no conversation")
    assert list(texts(ConversationFiles(tmp_path))) == ["a", "b"]


def test_lines_that_cannot_be_read_are_counted_and_left_out(tmp_path: Path) -> None:
    path = tmp_path / "events.log"
    path.write_text(lines(MIXED) + '{"sender_id": "a", "ev')
    files = ConversationFiles(path)
    assert texts(files) == {"a": ["a1", "a2"], "b": ["b1", "b2"]}
    assert "1 lines" in files.notes[0]


@pytest.mark.parametrize(
    "text", ["[1, 2]", '{"sender_id": "a"}', '{"event": "user"}\n{"event": "bot"}\n', "a,b\n1,2\n"]
)
def test_a_file_of_something_else_is_named(text: str, tmp_path: Path) -> None:
    path = tmp_path / "export.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"export\.json"):
        list(ConversationFiles(path))


def test_a_place_without_conversations_is_named(tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "nothing.json"):
        with pytest.raises(ConfigError, match=str(place)):
            ConversationFiles(place)


def test_a_log_that_nothing_was_written_to_yet_holds_no_conversation(tmp_path: Path) -> None:
    (tmp_path / "events.log").touch()
    assert list(ConversationFiles(tmp_path)) == []
