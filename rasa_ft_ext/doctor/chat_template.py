"""What a model's own tokenizer and chat template make of a prompt, without transformers.

The folder of a model has both: `tokenizer.json`, which the library tokenizers reads, and the chat template, a jinja2
program that runs here in the sandbox and with the functions that transformers gives it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from jinja2 import TemplateError
from jinja2.ext import Extension
from jinja2.nodes import Node
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from rasa_ft_ext.doctor.findings import Unknown

_CONFIG, _TEMPLATE, _TOKENIZER = "tokenizer_config.json", "chat_template.jinja", "tokenizer.json"


def prompt_tokens(model: Path, prompt: str) -> list[int]:
    """The tokens of a prompt with the chat template around it and the beginning of the answer's turn.

    Args:
        model: The folder of a whole model.
        prompt: One user message.

    Raises:
        Unknown: the folder lacks a file, or something in it cannot be used here.
    """
    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        raise Unknown("the library tokenizers is not installed here") from error
    file = model / _TOKENIZER
    if not file.is_file():
        raise Unknown(f"there is no {file}")
    text = _render(model, prompt)
    try:
        ids: list[int] = Tokenizer.from_file(str(file)).encode(text, add_special_tokens=False).ids
    except Exception as error:  # the library raises nothing more special
        raise Unknown(f"{file} cannot be used ({error})") from error
    return ids


def _render(model: Path, prompt: str) -> str:
    config = _config(model)
    try:
        template = _environment().from_string(_source(model, config))
        return template.render(
            messages=[{"role": "user", "content": prompt}],
            tools=None,
            documents=None,
            add_generation_prompt=True,
            **_special_tokens(config),
        )
    except (TemplateError, TypeError, ValueError, AttributeError, KeyError) as error:
        raise Unknown(f"the chat template in {model} cannot be rendered here ({error})") from error


def _source(model: Path, config: Mapping[str, Any]) -> str:
    file = model / _TEMPLATE
    if file.is_file():
        return file.read_text(encoding="utf-8")
    found = config.get("chat_template")
    if isinstance(found, list):  # several, each with its name
        found = next((entry.get("template") for entry in found if entry.get("name") == "default"), None)
    if not isinstance(found, str):
        raise Unknown(f"{model} has no chat template")
    return found


def _config(model: Path) -> Mapping[str, Any]:
    try:
        found = json.loads((model / _CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise Unknown(f"{model / _CONFIG} cannot be read") from error
    return found if isinstance(found, Mapping) else {}


def _special_tokens(config: Mapping[str, Any]) -> dict[str, str]:
    """`bos_token` and the like, which are texts, or objects with a text in them."""
    texts = {name: entry.get("content") if isinstance(entry, Mapping) else entry for name, entry in config.items()}
    return {name: text for name, text in texts.items() if name.endswith("_token") and isinstance(text, str)}


def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols", _Generation]
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _refuse
    environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
    return environment


class _Generation(Extension):
    """`{% generation %}`, which marks the answers in templates; of the text, it changes nothing."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Parser) -> list[Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _to_json(value: Any, ensure_ascii: bool = False, indent: int | None = None, **more: Any) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, **more)


def _refuse(message: str) -> None:
    raise TemplateError(message)
