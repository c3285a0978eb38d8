"""A prompt template for the student: shorter than the teacher's, and with what changes at its end.

A fine-tuned model needs no instructions and no examples: it has learned them. So the labels come from the teacher, who
was shown the assistant's whole prompt, and the student is trained on another prompt of the same state. Two templates
ship, `compact.jinja2` and `minimal.jinja2` beside this module; any file will do. A template is looked at before any
work: first for itself, then beside the assistant whose variables it is to be rendered with, then on every recording.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

from rasa_ft_ext.conversation import AnnotatedFile, AssistantCard
from rasa_ft_ext.errors import ConfigError, PromptError
from rasa_ft_ext.prompts import RASA_VARIABLES, one_line, render, syntax_problem, variables_of
from rasa_ft_ext.rows import shortened

SHIPPED = ("compact", "minimal")
_MESSAGE = ("user_message", "current_conversation")  # the conversation ends with the message


@dataclass(frozen=True)
class StudentPrompt:
    """A template that can be compiled; `name` is how it was asked for."""

    name: str
    source: str


@cache
def shipped(name: str) -> StudentPrompt:
    """One of the templates that ship."""
    source = files("rasa_ft_ext.dataset").joinpath(f"{name}.jinja2").read_text(encoding="utf-8")
    return StudentPrompt(name, source)


def read_student_prompt(given: str | Path, project: Path = Path()) -> StudentPrompt:
    """Read the template with this name that ships, or the one in this file; a relative path starts from `project`.

    Raises:
        ConfigError: there is no such file, it is no template, or it shows the LLM neither message nor flows.
    """
    if str(given) in SHIPPED:
        return shipped(str(given))
    path = project / given
    try:
        source = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else error.strerror or error
        raise ConfigError(
            f"prompt template {given}",
            [f"{path} cannot be read: {reason}. Give a file, or one of those that ship: {', '.join(SHIPPED)}."],
        ) from error
    problems = _problems_of(source)
    if problems:
        raise ConfigError(f"prompt template {given}", problems)
    return StudentPrompt(str(given), source)


def _problems_of(source: str) -> list[str]:
    problem = syntax_problem(source)
    if problem is not None:
        return [problem]
    used = variables_of(source)
    problems = []
    if not used.intersection(_MESSAGE):
        problems.append(
            "It does not show the user's message. Put {{ user_message }} or {{ current_conversation }}, which ends "
            "with it, where the message is to stand."
        )
    if "available_flows" not in used:
        problems.append(
            "It does not show the flows that can be started. Loop over available_flows and show at least their names."
        )
    return problems


def check_variables(student: StudentPrompt, card: AssistantCard) -> None:
    """Refuse a template with variables that nobody fills in: the prompt would be silent about them.

    An assistant's generator may have variables of its own; those of its own template are known.

    Raises:
        ConfigError: names them.
    """
    known = RASA_VARIABLES.union(*(variables_of(source) for source in card.templates.values()))
    unknown = sorted(variables_of(student.source) - known)
    if unknown:
        raise ConfigError(
            f"prompt template {student.name}",
            [f"{{{{ {name} }}}} is unknown. A template may use: {', '.join(sorted(known))}." for name in unknown],
        )


def check_recordings(student: StudentPrompt, annotated: Iterable[AnnotatedFile]) -> None:
    """Render a template for every recorded user message.

    Raises:
        ConfigError: it cannot be rendered, or the message does not stand in the prompt; says where first.
    """
    found: dict[str, list[str]] = {}
    for file in annotated:
        for conversation in file.conversations:
            messages = [turn.message for turn in conversation.turns]
            for index, turn in conversation.annotated:
                if turn.annotation is not None and turn.annotation.renders:
                    problem = _problem_with(student, turn.annotation.variables, messages[: index + 1])
                    if problem is not None:
                        found.setdefault(problem, []).append(f"{conversation.id}, user message {index + 1}")
    if found:
        problems = [f"{problem} First at {places[0]}; {len(places)} in all." for problem, places in found.items()]
        raise ConfigError(f"prompt template {student.name}", shortened(problems))


def _problem_with(student: StudentPrompt, variables: dict[str, object], messages: Sequence[str]) -> str | None:
    try:
        prompt = render(student.source, variables, messages)
    except PromptError as error:
        return f"It cannot be rendered: {error}."
    if one_line(messages[-1]) not in prompt:
        return "The prompt does not show the user's message."
    return None
