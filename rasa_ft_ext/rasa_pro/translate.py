"""Between Rasa's objects and ours: commands, and tracker events without what differs from run to run."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from typing import Any

from rasa.dialogue_understanding.commands import Command as RasaCommand
from rasa.shared.core.constants import FLOW_HASHES_SLOT
from rasa.shared.core.events import BotUttered, Event, SlotSet, UserUttered

from rasa_ft_ext.commands import Command

_PLAIN = {
    "cancel flow": "CancelFlow",
    "chitchat": "ChitChat",
    "knowledge": "SearchAndReply",
    "skip question": "SkipQuestion",
    "repeat": "RepeatLastBotMessages",
    "continue agent": "ContinueAgent",
    "human handoff": "HumanHandoff",
    "cannot handle": "CannotHandle",
    "change_flow": "ChangeFlow",
}
_NO_LABEL = {"error", "cannot handle"}
_VOLATILE = {
    "timestamp",
    "message_id",
    "input_channel",
    "execution_times",
    "latency_breakdown",
    "model_id",
    "model_name",
    "assistant_id",
    "session_id",
}
_FRAME_ID = re.compile(r'"frame_id": "([^"]+)"|"path": "[^"]*/frame_id", "value": "([^"]+)"')


def command(rasa_command: RasaCommand) -> Command:
    """A Rasa command as ours; one of the assistant's own becomes `Custom` with the line it is written as."""
    kind = rasa_command.command()
    if kind == "set slot":
        value = rasa_command.value
        return Command(type="SetSlot", args=(rasa_command.name, None if value is None else str(value)))
    if kind == "start flow":
        return Command(type="StartFlow", args=(rasa_command.flow,))
    if kind == "clarify":
        return Command(type="Clarify", args=tuple(rasa_command.options))
    if kind == "restart agent":
        return Command(type="RestartAgent", args=(rasa_command.agent_id,))
    if kind in _PLAIN:
        return Command(type=_PLAIN[kind])
    return Command(type="Custom", text=rasa_command.to_dsl())


def parsed(commands: Iterable[RasaCommand]) -> tuple[Command, ...]:
    """The commands read from an answer; what Rasa puts in place of an unreadable answer is none."""
    return tuple(command(entry) for entry in commands if entry.command() not in _NO_LABEL)


def dropped(commands: Sequence[RasaCommand], kept: Sequence[RasaCommand] | None) -> tuple[Command, ...]:
    """Which of the commands read from an answer the command processor threw away.

    A slot that is set again counts as kept when it became a correction; so does a message that the assistant has no
    answer for (small talk, say) when it became a "cannot handle".
    """
    if kept is None:
        return ()
    kinds = {entry.command() for entry in kept}
    slots = {entry.name for entry in kept if entry.command() == "set slot"}
    for entry in kept:
        if entry.command() == "correct slot":
            slots |= {slot.name for slot in entry.corrected_slots}
    flows = {entry.flow for entry in kept if entry.command() == "start flow"}

    def survives(entry: RasaCommand) -> bool:
        kind = entry.command()
        if kind == "set slot":
            return entry.name in slots
        if kind == "start flow":
            return entry.flow in flows
        return kind in kinds or (kind in {"chitchat", "knowledge", "clarify"} and "cannot handle" in kinds)

    return tuple(command(entry) for entry in commands if entry.command() not in _NO_LABEL and not survives(entry))


def plain_events(events: Iterable[Event]) -> tuple[dict[str, Any], ...]:
    """Tracker events as JSON, without times and with the random names of stack frames numbered in order."""
    text = json.dumps([_plain(event) for event in events], default=str, ensure_ascii=False)
    names: dict[str, str] = {}
    for whole, patched in _FRAME_ID.findall(text.replace('\\"', '"')):
        names.setdefault(whole or patched, f"FRAME{len(names) + 1:03d}")
    if names:
        pattern = re.compile("|".join(re.escape(name) for name in names))
        text = pattern.sub(lambda match: names[match[0]], text)
    plain: list[dict[str, Any]] = json.loads(text)
    return tuple(plain)


def _plain(event: Event) -> dict[str, Any]:
    values = _without_volatile(event.as_dict())
    if not isinstance(event, UserUttered | BotUttered):
        values.pop("metadata", None)  # what produced the event: nothing that a later state depends on
    if isinstance(event, SlotSet) and event.key == FLOW_HASHES_SLOT:
        values["value"] = {}  # differs with the place where Rasa is installed
    if isinstance(event, UserUttered):
        data = values.get("parse_data") or {}
        values["parse_data"] = {key: data[key] for key in ("text", "intent", "entities", "commands") if key in data}
    result: dict[str, Any] = values
    return result


def _without_volatile(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_volatile(entry) for key, entry in value.items() if key not in _VOLATILE}
    if isinstance(value, list | tuple):
        return [_without_volatile(entry) for entry in value]
    return value


def echoes(message: str, reaction: Iterable[Event], labels: Iterable[Command]) -> bool:
    """Whether what the assistant did after a message repeats or stores its wording, beyond what the commands say."""
    set_by_label = {entry.args[0] for entry in labels if entry.type == "SetSlot"}
    for event in reaction:
        if isinstance(event, SlotSet) and event.key not in set_by_label and event.value == message:
            return True
        if isinstance(event, BotUttered) and len(message) > 3 and message in (event.text or ""):
            return True
    return False


def is_payload(message: str, before: Sequence[Event]) -> bool:
    """Whether a message is what a click sends: a payload that begins with a slash, or one of the last buttons."""
    if message.startswith("/"):
        return True
    for event in reversed(before):
        if isinstance(event, UserUttered):
            return False
        if isinstance(event, BotUttered):
            buttons = (event.data or {}).get("buttons") or []
            if any(message == button.get("payload") for button in buttons):
                return True
    return False
