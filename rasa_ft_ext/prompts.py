"""Prompt templates without Rasa: render one from recorded variables, with other user messages filled in.

The wording of every user message is cut out of the recorded variables and replaced by a placeholder, `@@USER-0@@`
for the conversation's first user message and so on. Filling in the original messages gives the original prompt;
filling in others gives the prompt that the assistant would have rendered for them in the same state.

Templates run in jinja2's sandbox, with the one filter that Rasa registers. A point in time is recorded as
`{"@@datetime@@": "2024-04-27T18:13:47+00:00"}`.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any

from jinja2 import Template, TemplateSyntaxError, meta
from jinja2.sandbox import SandboxedEnvironment

_PLACEHOLDER = re.compile(r"@@USER-(\d+)@@")
_DATETIME = "@@datetime@@"
_CLOCK = re.compile(r"^\W*current (?:date|time|day)\b.*$|\b\d{1,2}:\d{2}:\d{2}\b", re.IGNORECASE | re.MULTILINE)

# What Rasa's command generators render a prompt with; the agents only where the assistant has some, the date and time
# only where it is included.
RASA_VARIABLES = frozenset(
    {
        *("available_flows", "current_conversation", "flow_slots", "current_flow", "current_slot", "user_message"),
        *("current_slot_description", "current_slot_type", "current_slot_allowed_values"),
        *("active_agent", "completed_agents", "current_datetime"),
    }
)


def placeholder(index: int) -> str:
    """What stands for the wording of the conversation's user message number `index`."""
    return f"@@USER-{index}@@"


def template_id(source: str) -> str:
    """A short name of a template: the first 12 hex digits of the SHA-256 of its source."""
    return hashlib.sha256(source.encode()).hexdigest()[:12]


def to_json(value: Any) -> Any:
    """Turn a template variable into what JSON can hold.

    Raises:
        TypeError: the value is of a kind that cannot be brought back (an object of the assistant's own).
    """
    if value is None or isinstance(value, str | int | float | bool):
        return value
    if isinstance(value, datetime):
        return {_DATETIME: value.isoformat()}
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {key: to_json(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(entry) for entry in value]
    raise TypeError(f"a template variable of type {type(value).__name__} cannot be recorded")


def fill(value: Any, messages: Sequence[str]) -> Any:
    """Put `messages` in the places of the placeholders, anywhere within a recorded variable."""
    if isinstance(value, str):
        return _PLACEHOLDER.sub(lambda match: _message(match, messages), value)
    if isinstance(value, dict):
        if value.keys() == {_DATETIME}:
            return datetime.fromisoformat(value[_DATETIME])
        return {key: fill(entry, messages) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [fill(entry, messages) for entry in value]
    return value


def _message(match: re.Match[str], messages: Sequence[str]) -> str:
    index = int(match[1])
    return one_line(messages[index]) if index < len(messages) else match[0]


def without_clock(prompt: str) -> str:
    """A prompt without what a clock said: two that are the same then differ in nothing that a model can learn from."""
    return _CLOCK.sub("", prompt)


def one_line(message: str) -> str:
    """A user message as a transcript shows it: Rasa replaces its line feeds by blanks."""
    return message.replace("\n", " ")


def render(template: str, variables: dict[str, Any], messages: Sequence[str]) -> str:
    """Render a template from recorded variables.

    Args:
        template: The template's jinja2 source.
        variables: Recorded variables, with placeholders.
        messages: The user messages of the conversation in order, at least up to the turn the prompt is for.

    Raises:
        jinja2.TemplateError: the template is broken, or does what the sandbox forbids.
    """
    return _compiled(template).render(**fill(variables, messages))


def syntax_problem(template: str) -> str | None:
    """What keeps a template from being compiled, as a sentence; None where nothing does."""
    try:
        _compiled(template)
    except TemplateSyntaxError as error:
        return f"Line {error.lineno} is no jinja2: {(error.message or '').rstrip('.')}."
    return None


def variables_of(template: str) -> frozenset[str]:
    """The variables that a template must be given."""
    return frozenset(meta.find_undeclared_variables(_environment().parse(template)))


@lru_cache(maxsize=64)
def _compiled(source: str) -> Template:
    return _environment().from_string(source)


@lru_cache(maxsize=1)
def _environment() -> SandboxedEnvironment:
    environment = SandboxedEnvironment(autoescape=False)
    environment.filters["to_json_escaped_string"] = lambda value: json.dumps(value, ensure_ascii=False)
    return environment
