"""Rows of fine-tuning data, as `split` writes them or as a user gives them: what is asked, and what is to be answered.

    rows = read_rows(Path("output/4_train_test_split/ft_splits/val.jsonl"))
    rows[0].prompt, rows[0].completion

Every row of a file is read, or all that cannot be are named.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rasa_ft_ext.errors import ConfigError

TRAIN_ROWS, VALIDATION_ROWS = "ft_splits/train.jsonl", "ft_splits/val.jsonl"
"""Where `split` puts the rows of both sides, in its folder."""

_SHOWN = 20
_MARK = b"\xef\xbb\xbf"  # of UTF-8, at the beginning of a file
_ROLES = ("system", "user", "assistant")


@dataclass(frozen=True)
class Row:
    """One row of a file: the messages that the model is given, and the answer that it shall give.

    `name` says where it stands, such as `train.jsonl line 12`.
    """

    name: str
    messages: tuple[dict[str, str], ...]
    completion: str

    @property
    def prompt(self) -> str:
        """The last message of the user: the prompt that the command generator sends."""
        return self.messages[-1]["content"]


def read_rows(file: Path, *, may_be_empty: bool = False) -> list[Row]:
    """Read a file of rows: `prompt` and `completion`, or `messages` of which the last is the answer.

    Raises:
        ConfigError: the file or rows of it cannot be read, or there are none; names every line.
    """
    return [row for _, row in stored_rows(file, may_be_empty=may_be_empty)]


def stored_rows(file: Path, *, may_be_empty: bool = False) -> Iterator[tuple[int, Row]]:
    """The rows of a file one after the other, each with its place: where its line begins, in bytes.

    Raises:
        ConfigError: as for `read_rows`; at the end, when all lines have been looked at.
    """
    reading = _Reading(file.name)
    found, place = False, 0
    try:
        with file.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                row = reading.row(number, line) if line.removeprefix(_MARK).strip() else None
                if row is not None:
                    found = True
                    yield place, row
                place += len(line)
    except OSError as error:
        raise ConfigError(str(file), [f"It cannot be read: {error.strerror or error}."]) from error
    if not found and not reading.problems and not may_be_empty:
        reading.problems.append(
            "There are no rows to train on. Look at the summaries of the stages that made the file, or give another."
        )
    if reading.problems:
        raise ConfigError(str(file), shortened(reading.problems))


def row_at(file: Path, place: int) -> Row:
    """The row at a place that `stored_rows` gave; the name that it has says nothing of its line.

    Raises:
        ConfigError: it cannot be read any more.
    """
    reading = _Reading(file.name)
    try:
        with file.open("rb") as lines:
            lines.seek(place)
            row = reading.row(0, lines.readline())
    except OSError as error:
        raise ConfigError(str(file), [f"It cannot be read: {error.strerror or error}."]) from error
    if row is None:
        raise ConfigError(str(file), ["It was changed while it was read."])
    return row


def shortened(problems: Sequence[str]) -> list[str]:
    """As many problems as a person reads, and how many more there are."""
    more = len(problems) - _SHOWN
    return [*problems[:_SHOWN], f"... and {more} more."] if more > 0 else [*problems]


class _Problem(Exception):
    """What is wrong with a row, as the end of a sentence that begins with the line."""


class _Reading:
    """Reads the rows of one file, and collects the problems of all lines."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._format: tuple[str, int] | None = None
        self.problems: list[str] = []

    def row(self, number: int, line: bytes) -> Row | None:
        """The row in a line; None where there is none, and what is wrong is noted."""
        try:
            value = _parsed(line.removeprefix(_MARK) if number < 2 else line)
            found = _format(value)
            if self._format is None:
                self._format = (found, number)
            elif self._format[0] != found:
                raise _Problem(f"has {found}, but line {self._format[1]} has {self._format[0]}: one format for a file")
            messages, completion = _of_messages(value) if found == "messages" else _of_prompt(value)
        except _Problem as problem:
            self.problems.append(f"Line {number} {problem}.")
            return None
        return Row(f"{self._name} line {number}", messages, completion)


def _parsed(line: bytes) -> dict[str, Any]:
    try:
        value = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise _Problem(f"is not UTF-8 (byte {error.start + 1})") from error
    except json.JSONDecodeError as error:
        raise _Problem(f"is not JSON: {error.msg} at character {error.pos + 1}") from error
    except RecursionError as error:
        raise _Problem("is nested too deeply") from error
    if not isinstance(value, dict):
        raise _Problem(f"is {_kind(value)}, not an object with prompt and completion or with messages")
    return value


def _format(value: Mapping[str, Any]) -> Literal["messages", "prompt and completion"]:
    if "messages" in value:
        if "prompt" in value or "completion" in value:
            raise _Problem("has messages as well as prompt or completion; one of both is meant")
        return "messages"
    missing = [key for key in ("prompt", "completion") if key not in value]
    if missing:
        has = ", ".join(map(str, value)) or "nothing"
        raise _Problem(f"has no {' and no '.join(missing)} (it has {has})")
    return "prompt and completion"


def _of_prompt(value: Mapping[str, Any]) -> tuple[tuple[dict[str, str], ...], str]:
    prompt, completion = _text(value["prompt"], "the prompt"), _text(value["completion"], "the completion")
    return ({"role": "user", "content": prompt},), completion


def _of_messages(value: Mapping[str, Any]) -> tuple[tuple[dict[str, str], ...], str]:
    messages = value["messages"]
    if not isinstance(messages, list) or not all(isinstance(message, dict) for message in messages):
        raise _Problem("has messages that are no list of objects with role and content")
    read = [_message(message, number) for number, message in enumerate(messages, 1)]
    if len(read) < 2 or read[-1]["role"] != "assistant" or read[-2]["role"] != "user":
        roles = ", ".join(message["role"] for message in read) or "nobody"
        raise _Problem(f"has messages of {roles}; the last two must be of user and assistant")
    return tuple(read[:-1]), read[-1]["content"]


def _message(message: Mapping[str, Any], number: int) -> dict[str, str]:
    if message.get("role") not in _ROLES:
        raise _Problem(f"has message {number} with role {message.get('role')!r}; it must be {', '.join(_ROLES)}")
    return {"role": message["role"], "content": _text(message.get("content"), f"the content of message {number}")}


def _text(value: object, what: str) -> str:
    if not isinstance(value, str):
        raise _Problem(f"is wrong: {what} is {_kind(value)}, not a text")
    if not value.strip():
        raise _Problem(f"is wrong: {what} is empty")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise _Problem(f"is wrong: {what} has half a character (a lone surrogate)") from error
    return value


def _kind(value: object) -> str:
    if value is None:
        return "null"
    names = {
        bool: "true or false",
        int: "a number",
        float: "a number",
        str: "a text",
        list: "a list",
        dict: "an object",
    }
    return names[type(value)]
