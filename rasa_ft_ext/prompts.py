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
import pickle
import re
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

from jinja2 import Template, TemplateError, TemplateSyntaxError, meta

from rasa_ft_ext.errors import PromptError
from rasa_ft_ext.sandbox import LimitedSandbox, render_within_limits

_PLACEHOLDER = re.compile(r"@@USER-(\d+)@@")
_DATETIME = "@@datetime@@"
_CLOCK = re.compile(r"^\W*current (?:date|time|day)\b.*$|\b\d{1,2}:\d{2}:\d{2}\b", re.IGNORECASE | re.MULTILINE)
_SECONDS = re.compile(r":\d{2}:\d{2}")

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
    letters = prompt.lower()
    may_have_date = "current d" in letters or "current t" in letters
    # Looking for the whole pattern takes a hundred times as long, and most prompts have nothing of it.
    return _CLOCK.sub("", prompt) if may_have_date or _SECONDS.search(prompt) else prompt


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
        PromptError: the template is broken, or does what the sandbox forbids.
    """
    return compiled(template).render(**_filled(variables, messages))


@dataclass(frozen=True)
class _Filling:
    """The variables of a recorded prompt: those that are the same whatever is said, as bytes, and the others."""

    variables: dict[str, Any]
    same: bytes
    others: dict[str, Any]


# A recorded prompt is rendered for many wordings, one soon after the other, and most of its variables hold none. To
# unpack these takes a tenth of the time that looking for placeholders does; each template gets values of its own.
_fillings: dict[int, _Filling] = {}
_FILLINGS = 128


def _filled(variables: dict[str, Any], messages: Sequence[str]) -> dict[str, Any]:
    found = _fillings.get(id(variables))
    if found is None or found.variables is not variables:
        others = {name: value for name, value in variables.items() if _varies(value)}
        same = fill({name: value for name, value in variables.items() if name not in others}, ())
        found = _Filling(variables, pickle.dumps(same), others)
        if len(_fillings) >= _FILLINGS:
            _fillings.clear()
        _fillings[id(variables)] = found
    return {**pickle.loads(found.same), **fill(found.others, messages)}


def _varies(value: Any) -> bool:
    """Whether `fill` makes something else of a value."""
    if isinstance(value, str):
        return _PLACEHOLDER.search(value) is not None
    if isinstance(value, dict):
        return value.keys() == {_DATETIME} or any(map(_varies, value.values()))
    return isinstance(value, list | tuple) and any(map(_varies, value))


class Prompt:
    """A compiled template, which renders as often as one likes."""

    def __init__(self, template: Template) -> None:
        self._template = template

    def render(self, **variables: Any) -> str:
        """The text for these variables.

        Raises:
            PromptError: as `render`.
        """
        try:
            return render_within_limits(lambda: self._template.generate(**variables))
        except Exception as error:  # nothing but the template runs in here
            line = _line_of(error)
            where = f" (line {line} of the template)" if line else ""
            raise PromptError(f"{_told(error)}{where}") from error


@lru_cache(maxsize=64)
def compiled(source: str) -> Prompt:
    """The template of a source.

    Raises:
        PromptError: it is none.
    """
    problem = _syntax_problem(source)
    if problem is not None:
        raise PromptError(problem)
    return Prompt(_environment().from_string(source))


def syntax_problem(template: str) -> str | None:
    """What keeps a template from being compiled, as a sentence; None where nothing does."""
    try:
        compiled(template)
    except PromptError as error:
        return str(error)
    return None


def variables_of(template: str) -> frozenset[str]:
    """The variables that a template must be given."""
    environment = _environment()
    return frozenset(meta.find_undeclared_variables(environment.parse(template)) - environment.globals.keys())


def _syntax_problem(source: str) -> str | None:
    try:
        _environment().from_string(source)
    except TemplateSyntaxError as error:
        return f"Line {error.lineno} is no jinja2: {(error.message or '').rstrip('.')}."
    except Exception as error:  # such as brackets or loops in each other that exhaust Python's stack
        return f"It is no jinja2 that can be compiled: {_told(error)}."
    return None


def _told(error: Exception) -> str:
    text = str(error).rstrip(".")
    return text if text and isinstance(error, TemplateError) else f"{type(error).__name__}: {text}".rstrip(": ")


def _line_of(error: Exception) -> int | None:
    """Where in a template an error happened, as jinja2 notes it."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == "<template>"]
    return lines[-1] if lines else None


@lru_cache(maxsize=1)
def _environment() -> LimitedSandbox:
    environment = LimitedSandbox()
    environment.filters["to_json_escaped_string"] = lambda value: json.dumps(value, ensure_ascii=False)
    return environment
