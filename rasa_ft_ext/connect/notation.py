"""Write small YAML values in the two notations: a block with a line for each entry, or a flow on one line.

Only what a model's configuration holds: texts, numbers, booleans, null, and lists and mappings of these. `${VAR}` stays
bare in a block, since Rasa replaces it there by the environment variable; in a flow its braces must be quoted.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import date
from typing import Any

_BARE = re.compile(r"[A-Za-z_./][\w./@+-]*(:[\w/][\w./@+-]*)*")
_VARIABLE = re.compile(r"[\w./:@+-]*\$\{\w+\}[\w./:@+-]*")
_OTHER_TYPES = re.compile(r"(y|n|yes|no|on|off|true|false|null|~|[-+]?\.(inf|nan)|[-+]?[\d.][\d._]*(e[-+]?\d+)?)", re.I)


def scalar(value: Any, *, flow: bool = False, quote: str | None = None) -> str:
    """One value on one line.

    Args:
        value: A text, a number, a boolean, a date or None.
        flow: Whether it stands between brackets or braces.
        quote: The quotation mark that stood there before; it is kept for texts.
    """
    if value is None or isinstance(value, bool | int | float):
        return json.dumps(value)
    if isinstance(value, date):
        return value.isoformat()
    text = str(value)
    bare = bool(_BARE.fullmatch(text)) and not _OTHER_TYPES.fullmatch(text)
    if quote is None and (bare or (not flow and _VARIABLE.fullmatch(text))):
        return text
    if quote == "'" and text.isprintable():
        return "'" + text.replace("'", "''") + "'"
    return json.dumps(text, ensure_ascii=False)


def flow(value: Any) -> str:
    """A value between braces or brackets, on one line."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{scalar(key, flow=True)}: {flow(entry)}" for key, entry in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(flow, value)) + "]"
    return scalar(value, flow=True)


def block(key: str, value: Any, *, dash: int = 2) -> list[str]:
    """An entry of a mapping, a line for each of its parts, the first one at the margin.

    Args:
        key: The entry's name.
        value: Its value; within the items of a list, what is nested deeper stands in flow notation.
        dash: By how many blanks the items of a list are moved to the right of their key.
    """
    if isinstance(value, Mapping) and value:
        return [f"{key}:", *(f"  {line}" for name, entry in value.items() for line in block(name, entry, dash=dash))]
    if isinstance(value, list) and value and all(isinstance(item, Mapping) and item for item in value):
        items = [line for item in value for line in listed(item, dash=dash)]
        return [f"{key}:", *(" " * dash + line for line in items)]
    return [f"{key}: {flow(value) if isinstance(value, Mapping | list) else scalar(value)}"]


def listed(item: Mapping[str, Any], *, dash: int = 2) -> list[str]:
    """An item of a list, its dash at the margin."""
    lines = [line for key, value in item.items() for line in block(key, value, dash=dash)]
    return [f"{'- ' if number == 0 else '  '}{line}" for number, line in enumerate(lines)]
