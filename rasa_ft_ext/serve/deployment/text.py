"""Text that each format reads back as it was meant: YAML with comments, templates, and the quoting of systemd."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from ruamel.yaml.scalarstring import DoubleQuotedScalarString

from rasa_ft_ext.yaml import to_yaml

_NOTE = re.compile(r"^( *)(['\"])(# .*)\2: null$", re.MULTILINE)
_HEADER = "# Written by `rasa-ft serve --write {kind}`; yours to change."


def yaml_with_notes(kind: str, *documents: Mapping[str, Any]) -> str:
    """YAML of some documents; a key that begins with '# ' becomes a comment above the key after it."""
    texts = [_NOTE.sub(r"\1\3", to_yaml(document)) for document in documents]
    return header(kind) + "\n" + "---\n".join(texts)


def header(kind: str) -> str:
    return _HEADER.format(kind=kind)


def quoted(text: str) -> str:
    """A string that no version of YAML takes for a number, a date or a truth."""
    return DoubleQuotedScalarString(text)  # type: ignore[no-any-return]


def dollars(text: str) -> str:
    """The same for Compose and Kubernetes, which replace names after a dollar sign."""
    return quoted(text.replace("$", "$$"))


def systemd_word(text: str) -> str:
    """One word of a command line in a unit: neither split, nor with specifiers or variables replaced."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return escaped if re.fullmatch(r"[\w./:=,@%$+-]+", escaped) else f'"{escaped}"'


def shell_word(value: object) -> str:
    """One word of a script. Unlike `shlex.quote` in double quotes, so that no checker asks whether a $ is meant."""
    text = str(value)
    return text if re.fullmatch(r"[\w./:=,@%+-]+", text) else '"' + re.sub(r'([\\"$`])', r"\\\1", text) + '"'


def render(template: str, **values: Any) -> str:
    return _templates().get_template(f"{template}.jinja2").render(**values)


@cache
def _templates() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "shell": shell_word,
        "json": lambda value: json.dumps(value, ensure_ascii=False),
        "systemd": systemd_word,
    }
    return environment
