"""`--rephrase-config FILE`: the rephraser's prompt template and LLM.

    prompt_template: my_prompt.jinja2      # beside this file, or in the project
    llm:
      provider: openai
      model: gpt-4.1-mini-2025-04-14

Both keys may be left out. The default template is `prompt.jinja2` beside this module; it names the variables that a
template can use. Where the default LLM has no key, the assistant's own LLM rephrases.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from rasa_ft_ext.errors import ConfigError, PromptError
from rasa_ft_ext.llm.settings import LLMSettings, ModelGroups, has_key, resolve
from rasa_ft_ext.prompts import compiled, variables_of
from rasa_ft_ext.yaml_reading import read_yaml

DEFAULT_LLM = {"provider": "openai", "model": "gpt-4.1-mini-2025-04-14"}

VARIABLES = (
    "test_case_name",
    "transcript",
    "number_of_rephrasings",
    "user_prefix",
    "number_of_user_messages",
    "user_messages",
)
"""What a template can use: texts, but for the two numbers and `user_messages`, a list of texts."""

_KEYS = ("prompt_template", "llm")
_FOR_COMMANDS_ONLY = {
    *("max_tokens", "max_completion_tokens", "timeout", "temperature"),
    *("top_p", "top_k", "stop", "logit_bias", "response_format"),
}


@dataclass(frozen=True)
class RephraseConfig:
    """What the rephraser is asked with, and which LLM is asked."""

    template: str
    """The jinja2 source of the prompt."""
    llm: LLMSettings
    """How the LLM is reached."""
    notes: tuple[str, ...] = ()
    """What a person should know of how the configuration was read."""


def default_template() -> str:
    """The jinja2 source of the prompt that is used where a configuration names none."""
    return resources.files(__package__).joinpath("prompt.jinja2").read_text(encoding="utf-8")


def read_config(
    path: Path | None,
    *,
    project: Path = Path(),
    model_groups: ModelGroups | None = None,
    assistant_llm: Mapping[str, Any] | None = None,
) -> RephraseConfig:
    """Read a rephraser's configuration.

    Args:
        path: The file; None for the default.
        project: The folder in which a template is looked for that is not beside the file.
        model_groups: The groups that `llm` can name, from `llm.settings.read_model_groups`.
        assistant_llm: The configuration of the assistant's own LLM, which steps in where the default has no key.

    Raises:
        ConfigError: it cannot work; names every problem of the file.
    """
    problems: list[str] = []
    notes: list[str] = []
    content = _content(path) if path else {}
    problems += [
        f"`{key}` is not known here; the keys are {' and '.join(_KEYS)}" for key in content if key not in _KEYS
    ]
    template = _template(content.get("prompt_template"), path, project, problems, notes)
    llm = None
    try:
        if content.get("llm") is None:
            llm = _default_llm(assistant_llm, model_groups or {})
        else:
            llm = resolve(content["llm"], model_groups or {}, "llm")
    except ConfigError as error:
        problems += [f"llm: {problem}" for problem in error.problems]
    if problems or llm is None:
        raise ConfigError(str(path or "the default rephraser"), problems)
    return RephraseConfig(template=template, llm=llm, notes=(*notes, *llm.notes))


def _content(path: Path) -> dict[str, Any]:
    content = read_yaml(path)
    if content is not None and not isinstance(content, dict):
        raise ConfigError(str(path), [f"it must be a mapping with the keys {' and '.join(_KEYS)}"])
    return content or {}


def _template(name: Any, path: Path | None, project: Path, problems: list[str], notes: list[str]) -> str:
    if name is None or path is None:
        return default_template()
    if not isinstance(name, str) or not name.strip():
        problems.append("prompt_template: it must be the path of a file")
        return ""
    places = list(dict.fromkeys([path.parent / name, project / name]))
    file = next((place for place in places if place.is_file()), None)
    if file is None:
        problems.append(f"prompt_template: there is no {' and no '.join(map(str, places))}")
        return ""
    try:
        source = file.read_text(encoding="utf-8")
        compiled(source)
        used = variables_of(source)
    except PromptError as error:
        problems.append(f"prompt_template: {file}: {str(error)[:1].lower()}{str(error)[1:]}")
    except (OSError, UnicodeDecodeError) as error:
        problems.append(f"prompt_template: {file} cannot be read: {error}")
    else:
        if "user_messages" not in used:
            problems.append(f"prompt_template: {file} does not use user_messages, the messages to be rephrased")
        if "number_of_rephrasings" not in used:
            notes.append(f"{file} does not use number_of_rephrasings, so --num-rephrases only cuts the answers")
        notes += [f"{file} uses {name}, which has no value" for name in sorted(used - {*VARIABLES})]
        return source
    return ""


def _default_llm(assistant_llm: Mapping[str, Any] | None, model_groups: ModelGroups) -> LLMSettings:
    """The default LLM; where it has no key, the assistant's, without what suits only the generation of commands."""
    default = resolve(DEFAULT_LLM, {}, "llm")
    if has_key(default) or not assistant_llm:
        return default
    try:
        own = resolve(assistant_llm, model_groups, "llm")
    except ConfigError as error:
        reason = "OPENAI_API_KEY is not set, and the assistant's own LLM cannot step in"
        raise ConfigError(error.where, [f"{reason}: {problem}" for problem in error.problems]) from error
    note = (
        f"OPENAI_API_KEY is not set, so the assistant's own LLM ({own.provider}, {own.model}) rephrases and not "
        f"{default.model}; --rephrase-config can name another one"
    )
    return dataclasses.replace(
        own,
        arguments={key: value for key, value in own.arguments.items() if key not in _FOR_COMMANDS_ONLY},
        public={key: value for key, value in own.public.items() if key not in _FOR_COMMANDS_ONLY},
        notes=(note, *own.notes),
    )
