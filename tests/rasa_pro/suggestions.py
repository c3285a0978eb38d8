"""Answer the messages of suggested tests as the suggestions themselves say: the scripted LLM's answers, from a file.

Of the text of a file, only what a person reads is used: the comment above each message, and the response before it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from rasa_ft_ext.commands import Syntax, read
from rasa_ft_ext.yaml import write_yaml

_COMMANDS = "# commands: "


def answers_with(answers: Path, suggested: Path, project: Path, to: Path, syntax: Syntax = "v2") -> Path:
    """A file of answers: those there are, and those that the suggestions in a folder name."""
    texts = _responses(project)
    more = [entry for file in sorted(suggested.glob("*.yml")) for entry in _answers(file.read_text(), texts, syntax)]
    known = YAML(typ="safe").load(answers.read_text(encoding="utf-8"))["answers"]
    unique = {(entry["user"], entry.get("asked")): entry for entry in more}
    taken = {(entry["user"], entry.get("asked")) for entry in known}
    write_yaml(to, {"answers": [*known, *(entry for place, entry in unique.items() if place not in taken)]})
    return to


def _answers(text: str, texts: dict[str, list[str]], syntax: Syntax) -> Iterator[dict[str, Any]]:
    questions: list[str] = []
    commands: list[str] = []
    for line in text.splitlines():
        stripped = line.strip()
        if stripped.startswith(_COMMANDS):
            commands = [str(command) for command in read(stripped.removeprefix(_COMMANDS), syntax)]
        elif stripped.startswith("- utter: "):
            questions = texts.get(stripped.removeprefix("- utter: "), [])
        elif stripped.startswith("- user: "):
            entry = {"user": YAML(typ="safe").load(stripped)[0]["user"], "commands": commands}
            yield from [entry | {"asked": question} for question in questions] or [entry]
            questions = []


def _responses(project: Path) -> dict[str, list[str]]:
    """What the assistant says, each variation up to the first value that is filled in."""
    found: dict[str, list[str]] = {}
    for file in sorted((project / "domain").rglob("*.yml")):
        domain = YAML(typ="safe").load(file.read_text(encoding="utf-8")) or {}
        responses = domain.get("responses") or {}
        for name, variations in responses.items():
            texts = [re.split(r"[{]", entry.get("text", ""))[0].strip() for entry in variations]
            found[name] = [text for text in dict.fromkeys(texts) if text]
    return found
