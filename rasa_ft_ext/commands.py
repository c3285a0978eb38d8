"""The command language that a CALM assistant's LLM answers in: read, write, compare.

Rasa has three syntaxes of it, named v1 (`StartFlow(f)`), v2 and v3 (`start flow f`). This module reads an answer as
Rasa's own parser does, writes commands back, and says in which way two answers differ. It needs no Rasa.

    commands = read("start flow book_car\\nset slot city Basel", "v2", flows={"book_car"})
    write(commands, "v1")                   # "StartFlow(book_car)\\nSetSlot(city, Basel)"
    difference(commands, other)             # None, or a reason such as "sets slot date as well"

Reading what was written may lose something, because Rasa's parser does: in v2 and v3 a value ends at its last letter,
digit or underscore (`100%` is read as `100`), and no value can have a line break. Custom commands are not read: only
the assistant knows their form.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable
from typing import Literal

from pydantic import BaseModel, ConfigDict

Syntax = Literal["v1", "v2", "v3"]


class Command(BaseModel):
    """One command. `type` is the v1 name, such as `SetSlot`; `args` are its arguments in order.

    `SetSlot` has the slot's name and value (None: the slot is emptied), `StartFlow` the flow, `Clarify` the options
    in alphabetical order, `RestartAgent` the agent; the others have none. A command that only the assistant knows has
    the type `Custom` and its line as `text`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    type: str
    args: tuple[str | None, ...] = ()
    text: str | None = None

    def __str__(self) -> str:
        """The command in the v1 notation, for a person."""
        if self.type == "Custom":
            return self.text or ""
        return f"{self.type}({', '.join(str(arg) for arg in self.args)})"


# What v2 says for each type; the order is the one in which a line is searched for commands.
_PHRASES = {
    "SetSlot": "set slot",
    "StartFlow": "start flow",
    "CancelFlow": "cancel flow",
    "ChitChat": "offtopic reply",
    "SkipQuestion": "skip question",
    "SearchAndReply": "provide info",
    "Clarify": "disambiguate flows",
    "RepeatLastBotMessages": "repeat message",
    "ContinueAgent": "continue agent",
    "RestartAgent": "restart agent",
    "HumanHandoff": "hand over",
    "CannotHandle": "cannot handle",
    "ChangeFlow": "change",
}
_OTHER_PHRASES_IN_V3 = {"SearchAndReply": "search and reply", "ChangeFlow": "ChangeFlow()"}
_WITH_ARGUMENTS = {"SetSlot", "StartFlow", "Clarify", "RestartAgent"}
_WRITTEN_ONLY = {"HumanHandoff", "CannotHandle", "ChangeFlow"}  # no line is read as one of these

_ID = "[a-zA-Z0-9_-]+"
_SLOT = "[a-zA-Z_][a-zA-Z0-9_-]*"
_OPTIONS = r"""[a-zA-Z0-9_"', -]*"""
_NULLS = {"", "None", "null", "undefined", "[missing]", "[missing information]"}


def _phrase(kind: str, syntax: Syntax) -> str:
    return _OTHER_PHRASES_IN_V3.get(kind, _PHRASES[kind]) if syntax == "v3" else _PHRASES[kind]


def _call(kind: str) -> re.Pattern[str]:
    """What a command looks like in v1: a call, anywhere in the line."""
    inside = {
        "SetSlot": rf"""['"]?({_SLOT})['"]?,(.*)""",
        "StartFlow": rf"""['"]?({_ID})['"]?""",
        "RestartAgent": rf"""['"]?({_ID})['"]?""",
        "Clarify": f"({_OPTIONS})",
    }
    return re.compile(rf"{kind}\({inside.get(kind, '')}\)")


def _words(kind: str, syntax: Syntax) -> re.Pattern[str]:
    """What a command looks like in v2 and v3: words at the line's beginning, behind bullets and numbers."""
    after = {
        "SetSlot": rf""" ['"`]?({_SLOT})['"`]? (.+)""",
        "StartFlow": rf""" ['"`]?({_ID})""",
        "RestartAgent": rf""" ['"`]?({_ID})""",
        "Clarify": rf"\s*+({_OPTIONS}+)\W*+$",
    }
    end = r"""['"`]*$"""
    return re.compile(rf"[\W\d]*+{_phrase(kind, syntax)}{after.get(kind, end)}")


_READ = [kind for kind in _PHRASES if kind not in _WRITTEN_ONLY]
_PATTERNS: dict[Syntax, list[tuple[str, re.Pattern[str]]]] = {
    "v1": [(kind, _call(kind)) for kind in _READ],
    "v2": [(kind, _words(kind, "v2")) for kind in _READ],
    "v3": [(kind, _words(kind, "v3")) for kind in _READ],
}


def read(text: str, syntax: Syntax, flows: Collection[str] | None = None) -> tuple[Command, ...]:
    """Read an LLM's answer, line by line, as Rasa's parser does with its default commands.

    Args:
        text: The answer; lines in which there is no command are passed over.
        syntax: The syntax that the assistant's command generator expects.
        flows: The flows that a user can start. Other flows are dropped, as Rasa does; without `flows` none is.

    Returns:
        The commands in order. One line can hold several of them. A `Clarify` that leaves one flow is a `StartFlow`;
        one that leaves none has no options; a flow that is listed twice stays so. Setting the slot `flow_name` is a
        `StartFlow`, too.
    """
    found: list[Command] = []
    for line in (line.strip() for line in text.strip().splitlines()):
        for kind, pattern in _PATTERNS[syntax]:
            match = pattern.search(line) if syntax == "v1" else pattern.match(line)
            command = _command(kind, match, syntax, flows) if match else None
            if command:
                found.append(command)
    return tuple(found)


def _command(kind: str, match: re.Match[str], syntax: Syntax, flows: Collection[str] | None) -> Command | None:
    if kind == "SetSlot":
        value = _slot_value(match[2], syntax)
        return _start_flow(value, flows) if match[1] == "flow_name" else Command(type=kind, args=(match[1], value))
    if kind == "StartFlow":
        return _start_flow(match[1], flows)
    if kind == "Clarify":
        return _clarify(match[1], flows)
    return Command(type=kind, args=match.groups())


def _slot_value(raw: str, syntax: Syntax) -> str | None:
    if syntax != "v1":
        raw = raw[1:] if len(raw) > 1 and raw[0] in "'\"`" else raw
        upto_last_letter = re.match(r".*\w", raw)
        raw = upto_last_letter[0] if upto_last_letter else raw[0]
    value = raw.strip("'\" ")
    return None if value in _NULLS else value


def _start_flow(flow: str | None, flows: Collection[str] | None) -> Command | None:
    known = flow is not None and (flows is None or flow in flows)
    return Command(type="StartFlow", args=(flow,)) if known else None


def _clarify(raw: str, flows: Collection[str] | None) -> Command:
    options = sorted(option.strip('"').strip("'") for option in re.split("[ ,]+", raw) if option)
    known = tuple(option for option in options if option and (flows is None or option in flows))
    if len(set(known)) == 1:
        return Command(type="StartFlow", args=known[:1])
    return Command(type="Clarify", args=known)


def write(commands: Iterable[Command], syntax: Syntax) -> str:
    """Write an answer, one command a line, as Rasa writes it in that syntax.

    Raises:
        ValueError: a command is of a type that the language does not have.
    """
    return "\n".join(write_one(command, syntax) for command in commands)


def write_one(command: Command, syntax: Syntax) -> str:
    """Write one command as Rasa writes it in that syntax; a custom command is written as its text.

    Raises:
        ValueError: the command is of a type that the language does not have.
    """
    if command.type == "Custom":
        return command.text or ""
    if command.type not in _PHRASES:
        raise ValueError(f"the command language has no line for {command}")
    if syntax == "v1":
        return str(command)
    phrase = _phrase(command.type, syntax)
    return f"{phrase} {' '.join(str(arg) for arg in command.args)}" if command.type in _WITH_ARGUMENTS else phrase


def mentioned(text: str, syntax: Syntax) -> tuple[str, ...]:
    """The types of the commands that a text names, such as a prompt that says which ones there are.

    Commands that no answer is ever read as are left out.
    """
    ends = "" if syntax == "v1" else r"\b"
    calls = r"\(" if syntax == "v1" else ""
    return tuple(
        kind
        for kind in _READ
        if re.search(rf"\b{re.escape(kind if syntax == 'v1' else _phrase(kind, syntax))}{calls}{ends}", text)
    )


def difference(expected: Iterable[Command], actual: Iterable[Command]) -> str | None:
    """Say in which way two answers differ, slot values aside.

    Returns:
        None where both have the same commands in the same order, not counting those that set slots, and set the same
        slots. Otherwise the reason, such as `expected StartFlow(a), got StartFlow(b); does not set slot y`.
    """
    expected, actual = tuple(expected), tuple(actual)
    if expected and not actual:
        return "no command could be read"
    reasons = []
    wanted, got = _without_slots(expected), _without_slots(actual)
    if wanted != got:
        reasons.append(f"expected {_listed(wanted)}, got {_listed(got)}")
    wanted_slots, got_slots = _slots(expected), _slots(actual)
    reasons += [f"does not set slot {name}" for name in wanted_slots if name not in got_slots]
    reasons += [f"sets slot {name} as well" for name in got_slots if name not in wanted_slots]
    return "; ".join(reasons) or None


def value_difference(expected: Iterable[Command], actual: Iterable[Command]) -> str | None:
    """Say which slots two answers set to different values; slots that only one of them sets are left out.

    Returns:
        None where there is none, otherwise such as `SetSlot trip_destination: 'Zurich' instead of 'Basel'`.
    """
    wanted, got = _slots(expected), _slots(actual)
    return (
        "; ".join(
            f"SetSlot {name}: {_values(got[name])} instead of {_values(values)}"
            for name, values in wanted.items()
            if name in got and got[name] != values
        )
        or None
    )


def same_commands(one: Iterable[Command], other: Iterable[Command]) -> bool:
    """Whether Rasa would do the same for both: the place of a `SetSlot` among the others does not matter."""
    one, other = tuple(one), tuple(other)
    return difference(one, other) is None and value_difference(one, other) is None


def effect(commands: Iterable[Command]) -> str:
    """What Rasa would do for an answer, as a text to be compared: two are equal just where `same_commands` holds."""
    commands = tuple(commands)
    others = [command.model_dump() for command in _without_slots(commands)]
    return json.dumps([others, sorted(_slots(commands).items())])


def _without_slots(commands: Iterable[Command]) -> list[Command]:
    return [command for command in commands if command.type != "SetSlot"]


def _slots(commands: Iterable[Command]) -> dict[str, list[str | None]]:
    """The values that each slot is set to, in order."""
    slots: dict[str, list[str | None]] = {}
    for command in commands:
        if command.type == "SetSlot":
            slots.setdefault(str(command.args[0]), []).append(command.args[1])
    return slots


def _listed(commands: Iterable[Command]) -> str:
    return ", ".join(str(command) for command in commands) or "no other command"


def _values(values: Iterable[str | None]) -> str:
    return ", ".join(repr(value) for value in values)
