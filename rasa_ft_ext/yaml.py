"""Write YAML from which Rasa, or any other reader, gets back exactly what was given.

Rasa replaces `${NAME}` by an environment variable wherever it stands unquoted; and YAML itself changes line ends and
unusual blanks unless they are escaped. Strings of several lines stay readable as literal blocks where that is exact.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.scalarstring import DoubleQuotedScalarString, LiteralScalarString

_BOOLEANS = {"y", "n", "yes", "no", "on", "off"}  # to readers of YAML 1.1


def write_yaml(path: Path, value: Any) -> None:
    """Write plain data, as JSON knows it; folders are made as needed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(to_yaml(value), encoding="utf-8", newline="\n")


def to_yaml(value: Any) -> str:
    """Block style, long lines left whole."""
    yaml = YAML()
    yaml.default_flow_style = False
    yaml.width = 1_000_000
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.representer.ignore_aliases = lambda _: True
    stream = io.StringIO()
    yaml.dump(_exact(value), stream)
    return stream.getvalue()


def _exact(value: Any) -> Any:
    if isinstance(value, str):
        return _exact_text(value)
    if isinstance(value, Mapping):
        return {_exact(name): _exact(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_exact(entry) for entry in value]
    return value


def _exact_text(text: str) -> Any:
    lines = text.split("\n")
    if not all(line.isprintable() for line in lines):
        return DoubleQuotedScalarString(text)
    if len(lines) > 1:
        is_exact = bool(lines[0]) and not any(line[:1] == " " or line[-1:] == " " for line in lines)
        return LiteralScalarString(text) if is_exact else DoubleQuotedScalarString(text)
    return DoubleQuotedScalarString(text) if "${" in text or text.lower() in _BOOLEANS else text
