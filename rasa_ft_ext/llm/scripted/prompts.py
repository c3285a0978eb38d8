"""What a prompt asks the scripted LLM for: the commands to a message, or rephrasings of messages.

A prompt for commands shows the conversation in lines that begin with `USER: ` and `AI: ` (or a sub-agent's name); most
of Rasa's templates give the last message once more between three quotes. A prompt for rephrasings has a line such as
`3 rephrasings for the following messages`, and below it one line for each message, which begins with `- `.

This module knows neither the script nor HTTP.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from rasa_ft_ext.commands import Syntax

_REPHRASINGS = re.compile(r"(\d+)\s+(?:\w+\s+)?rephrasings\b", re.IGNORECASE)
_QUOTED = re.compile(r'"""(.*)"""')
_SPEAKER = re.compile(r"[\w-]+: ")
_USER = "USER: "
_SAID = ("USER: ", "AI: ")


@dataclass(frozen=True)
class ForCommands:
    """A command generator's prompt: the user's message, what the assistant said before it, and how to answer.

    `syntax` is None where the prompt does not show it.
    """

    message: str
    said: str
    syntax: Syntax | None


@dataclass(frozen=True)
class ForRephrasings:
    """A rephraser's prompt: the messages, and how many rephrasings of each it wants at most."""

    messages: tuple[str, ...]
    count: int


def understand(prompt: str) -> ForCommands | ForRephrasings | None:
    """Say what a prompt asks for; None where it is of neither kind."""
    lines = prompt.split("\n")
    return _for_rephrasings(lines) or _for_commands(lines)


def _for_rephrasings(lines: list[str]) -> ForRephrasings | None:
    for index in range(len(lines) - 1, -1, -1):
        line = lines[index]
        wanted = _REPHRASINGS.search(line)
        if wanted and not line.startswith(("- ", *_SAID)) and not _QUOTED.search(line):
            messages = _items(lines[index + 1 :])
            return ForRephrasings(messages, int(wanted[1])) if messages else None
    return None


def _items(lines: list[str]) -> tuple[str, ...]:
    """The items of a list up to the blank line behind it; lines without a dash belong to the item above them."""
    items: list[str] = []
    for line in lines:
        if line.startswith("- "):
            items.append(line[2:].strip())
        elif items and not line.strip():
            break
        elif items:
            items[-1] = f"{items[-1]} {line.strip()}"
    return tuple(item for item in items if item)


def _for_commands(lines: list[str]) -> ForCommands | None:
    last = next((index for index in range(len(lines) - 1, -1, -1) if lines[index].startswith(_USER)), None)
    behind = lines if last is None else lines[last + 1 :]
    quoted = [match[1] for line in behind if (match := _QUOTED.search(line))]
    if last is None and not quoted:
        return None
    message = quoted[-1] if quoted else lines[last or 0].removeprefix(_USER)
    said: list[str] = []
    for line in reversed(lines[:last] if last is not None else []):
        speaker = _SPEAKER.match(line)
        if not speaker or line.startswith(_USER):
            break
        said.insert(0, line[speaker.end() :])
    return ForCommands(message.strip(), " ".join(said), _syntax(lines))


def _syntax(lines: list[str]) -> Syntax | None:
    """The syntax in which the prompt shows its actions; what was said in the conversation does not count."""
    shown = "\n".join(line for line in lines if not line.startswith(_SAID) and not _QUOTED.search(line))
    if re.search(r"\b(SetSlot|StartFlow)\(", shown):
        return "v1"
    if re.search(r"\b(set slot|start flow)\b", shown):
        return "v3" if "search and reply" in shown.lower() and "provide info" not in shown else "v2"
    return None
