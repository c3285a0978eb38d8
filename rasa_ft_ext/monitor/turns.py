"""What a tracker's events say of each message of a user.

What Rasa 3.14 to 3.21 writes, and what is read from it:

    parse_data.flows_in_prompt      there if, and only if, the command generator made a prompt: the LLM was asked
    parse_data.commands             `cannot handle` (cannot_handle_default) where no command could be read from the
                                    answer; `error` where the call failed; otherwise the commands
    parse_data.prompts              the LLM's own words and the time of the call, and
    parse_data.predicted_commands   what was read from them: only with RASA_RECORD_COMMANDS_AND_PROMPTS=true
    flow_started pattern_...        the way that the assistant went
    bot metadata.execution_times    how long the turn took
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rasa_ft_ext.errors import ConfigError

Event = Mapping[str, Any]

_NEW_BEGINNINGS = {"session_started", "restart"}
_NOT_READ = "cannot_handle_default"
_YEAR_10000 = 253402300800
# What a person reads for each command as Rasa stores it: the names that the command language has for them.
_TYPES = {
    "set slot": "SetSlot",
    "correct slot": "SetSlot",
    "start flow": "StartFlow",
    "cancel flow": "CancelFlow",
    "clarify": "Clarify",
    "chitchat": "ChitChat",
    "knowledge": "SearchAndReply",
    "skip question": "SkipQuestion",
    "repeat": "RepeatLastBotMessages",
    "continue agent": "ContinueAgent",
    "restart agent": "RestartAgent",
    "human handoff": "HumanHandoff",
}


@dataclass
class Turn:
    """One message of a user and what came of it, filled in while the events are read.

    `before` are the steps of the conversation up to the message, as an E2E test has them. `commands` are the types of
    the commands that were read from the LLM's answer, `flows` those that it starts. `llm_ms` is None where the call's
    time was not recorded, `turn_ms` where the assistant said nothing.
    """

    text: str
    timestamp: float
    before: tuple[dict[str, str], ...]
    asked: bool = False
    failed: bool = False
    unparsed: bool = False
    recorded: bool = False
    commands: tuple[str, ...] = ()
    flows: tuple[str, ...] = ()
    answer: str | None = None
    llm_ms: float | None = None
    turn_ms: float | None = None
    kinds: set[str] = field(default_factory=set)

    @property
    def typed(self) -> bool:
        """Whether a person wrote it: not empty, and not what a click sends."""
        return bool(self.text.strip()) and not self.text.startswith("/")

    @property
    def answered(self) -> bool:
        return self.asked and not self.failed

    def went(self, kind: str, pattern: str) -> bool:
        """Whether the commands have a kind, or the assistant started the pattern that it leads to."""
        return kind in self.kinds or pattern in self.kinds

    @property
    def reading(self) -> str:
        """What the LLM answered: its words where they were recorded, otherwise what was read from them."""
        if self.answer is not None:
            return self.answer
        if self.unparsed:
            return "nothing that a command could be read from"
        return ", ".join([*self.commands, *(f"flow {flow}" for flow in self.flows)]) or "no command"


def turns_of(events: Iterable[Event]) -> Iterator[Turn]:
    """The turns of one conversation, in order; a session that starts anew has nothing before it.

    Raises:
        ConfigError: it is not known when a message was sent.
    """
    steps: list[dict[str, str]] = []
    turn: Turn | None = None
    for event in events:
        kind = event.get("event")
        if kind == "user":
            if turn:
                yield turn
            turn = _turn(event, tuple(steps))
            if turn.text.strip():
                steps.append({"user": turn.text})
        elif kind == "bot":
            _add_reply(steps, event)
            if turn:
                turn.turn_ms = _processing(event) or turn.turn_ms
        elif kind == "flow_started" and turn:
            turn.kinds.add(str(event.get("flow_id")))
        elif kind in _NEW_BEGINNINGS:
            steps = []
    if turn:
        yield turn


def _turn(event: Event, before: tuple[dict[str, str], ...]) -> Turn:
    data = event.get("parse_data") or {}
    turn = Turn(_text(event.get("text")), _time(event), before)
    stored = [entry for entry in data.get("commands") or () if isinstance(entry, Mapping)]
    turn.kinds = {str(entry.get("command")) for entry in stored}
    turn.asked = "flows_in_prompt" in data or bool(data.get("prompts"))
    if not turn.asked:
        return turn
    turn.failed = "error" in turn.kinds
    turn.commands = tuple(type_ for entry in stored for type_ in _types(entry))
    turn.flows = tuple(str(entry.get("flow")) for entry in stored if entry.get("command") == "start flow")
    turn.unparsed = any(entry.get("reason") == _NOT_READ for entry in stored) and not turn.commands
    _add_recorded(turn, data)
    return turn


def _time(event: Event) -> float:
    given = event.get("timestamp")
    if isinstance(given, int | float) and 0 < given < _YEAR_10000:
        return float(given)
    raise ConfigError(
        "conversations",
        [
            f"A user's message has the timestamp {given!r}, which is no time in seconds since 1970. Give the events as "
            "Rasa writes them."
        ],
    )


def _types(entry: Mapping[str, Any]) -> list[str]:
    """The types of the commands behind a stored one: Rasa makes a single one of all slots that are corrected."""
    name = str(entry.get("command"))
    return [_TYPES[name]] * max(1, len(entry.get("corrected_slots") or ())) if name in _TYPES else []


def _add_recorded(turn: Turn, data: Mapping[str, Any]) -> None:
    """What is there only where prompts were recorded: then it is known what was read, before anything was dropped."""
    prompts = [entry for entry in data.get("prompts") or () if isinstance(entry, Mapping)]
    responses = [entry.get("llm_response_metadata") or {} for entry in prompts]
    if not any(response.get("choices") for response in responses):
        return
    turn.recorded = True
    turn.answer = "\n".join(_text(response["choices"][0]) for response in responses if response.get("choices"))
    times = [float(response["latency_ms"]) for response in responses if response.get("latency_ms") is not None]
    turn.llm_ms = sum(times) if times else None
    predicted = data.get("predicted_commands")
    if isinstance(predicted, Mapping):
        asked = {str(entry.get("component_name")) for entry in prompts}
        turn.unparsed = not any(predicted.get(name) for name in asked)


def _add_reply(steps: list[dict[str, str]], event: Event) -> None:
    """What the assistant said, as a step: the name of the response where it has one."""
    response = (event.get("metadata") or {}).get("utter_action")
    text = _text(event.get("text"))
    if response:
        steps.append({"utter": _text(response)})
    elif text.strip():
        steps.append({"bot": text})


def _text(value: Any) -> str:
    """A text that can be written: half of a pair of surrogates, as of a torn emoji, becomes a question mark."""
    return str(value or "").encode("utf-8", "replace").decode("utf-8")


def _processing(event: Event) -> float | None:
    """From the message to this reply, in ms."""
    times: Mapping[str, Any] = (event.get("metadata") or {}).get("execution_times") or {}
    if "rasa_processing_ms" in times:
        return float(times["rasa_processing_ms"])
    parts: Sequence[Any] = [times[name] for name in ("command_processor", "prediction_loop") if name in times]
    return float(sum(parts)) if parts else None
