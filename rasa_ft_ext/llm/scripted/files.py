"""The files that clients of the scripted LLM upload and fetch, and the requests in one that is a batch's input.

This module knows no HTTP, and not how a batch is answered.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from rasa_ft_ext.llm.scripted.openai import INVALID, Refusal

ENDPOINT: Final = "/v1/chat/completions"
MOST_LINES = 50_000
LARGEST_FILE = 200 * 1024 * 1024  # bytes


@dataclass(frozen=True)
class File:
    """A file as OpenAI's API keeps it."""

    id: str
    name: str
    purpose: str
    content: bytes
    created_at: int

    @property
    def shown(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "object": "file",
            "bytes": len(self.content),
            "created_at": self.created_at,
            "filename": self.name,
            "purpose": self.purpose,
            "status": "processed",
        }


class Files:
    """All files, for as long as the server runs."""

    def __init__(self) -> None:
        self._files: dict[str, File] = {}

    def add(self, name: str, content: bytes, *, purpose: str, now: float) -> File:
        file = File(f"file-{secrets.token_hex(12)}", name, purpose, content, int(now))
        self._files[file.id] = file
        return file

    def get(self, name: str) -> File:
        """The file with this id.

        Raises:
            Refusal: there is none.
        """
        if name not in self._files:
            raise Refusal(404, INVALID, f"No such File object: {name}")
        return self._files[name]

    def remove(self, name: str) -> None:
        """Forget a file.

        Raises:
            Refusal: there is none.
        """
        del self._files[self.get(name).id]


@dataclass(frozen=True)
class Line:
    """One request of a batch."""

    custom_id: str
    body: dict[str, Any]


@dataclass(frozen=True)
class Problem:
    """Why a file cannot be a batch's input; `line` counts from 1."""

    code: str
    message: str
    line: int | None = None

    @property
    def shown(self) -> dict[str, Any]:
        return {"code": self.code, "message": self.message, "param": None, "line": self.line}


def read_lines(content: bytes) -> tuple[list[Line], list[Problem]]:
    """The requests in a batch's input, and what is wrong with it; where something is, none of them is answered."""
    lines: list[Line] = []
    problems: list[Problem] = []
    seen: set[str] = set()
    for number, raw in enumerate(content.splitlines(), start=1):
        wrong = [Problem(code, message, number) for code, message in _wrong(raw, seen)]
        problems += wrong
        if not wrong:
            found = json.loads(raw)
            seen.add(found["custom_id"])
            lines.append(Line(found["custom_id"], found["body"]))
    if not lines and not problems:
        problems.append(Problem("empty_file", "The input file is empty. Please ensure that the batch has requests."))
    if len(lines) > MOST_LINES:
        problems.append(Problem("too_many_tasks", f"The batch has {len(lines)} requests; {MOST_LINES} are allowed."))
    if len({json.dumps(line.body.get("model")) for line in lines}) > 1:
        problems.append(Problem("mismatched_model", "All requests of a batch must be made to the same model."))
    return lines, problems


def _wrong(raw: bytes, seen: set[str]) -> Iterator[tuple[str, str]]:
    try:
        found = json.loads(raw)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        yield "invalid_json_line", "This line is not parseable as valid JSON."
        return
    if not isinstance(found.get("custom_id"), str) or not isinstance(found.get("body"), dict):
        yield "missing_required_parameter", "A line needs custom_id, method, url and body."
    elif found["custom_id"] in seen:
        yield "duplicate_custom_id", f"The custom_id {found['custom_id']!r} is used by another line already."
    if found.get("method") != "POST":
        yield "invalid_method", "The method must be POST."
    if found.get("url") != ENDPOINT:
        yield "invalid_url", f"The url must be that of the batch, {ENDPOINT}."
