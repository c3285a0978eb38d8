"""The conditions of flows, as far as slots decide them: read one, say which slots it names, say whether it holds.

    condition = read('slots.card is "lost" and not slots.stolen')
    condition.slots                                        # {"card", "stolen"}
    condition.holds({"card": "lost", "stolen": False})     # True

Rasa leaves them to pypred, whose everyday part this is: comparisons with `=`, `==`, `is`, `is not`, `!=`, `<`, `<=`,
`>`, `>=`, `contains` and `matches`, and `and`, `or`, `not`. What else there may be (`context.x`, sets) is not read.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Value = str | float | bool | None

_TOKEN = re.compile(
    r"""\s*(?:
        (?P<text>"[^"]*"|'[^']*') |
        (?P<number>-?\d+(?:\.\d+)?(?![\w.])) |
        (?P<sign>==|!=|<=|>=|&&|\|\||[=<>()!]) |
        (?P<word>[A-Za-z_][\w.-]*)
    )""",
    re.VERBOSE,
)
_CONSTANTS: Mapping[str, Value] = {"true": True, "false": False, "null": None}
_SIGNS = {"==": "is", "=": "is", "!=": "is not", "&&": "and", "||": "or", "!": "not"}
_COMPARED = {"is", "is not", "<", "<=", ">", ">=", "contains", "matches"}

Holds = Callable[[Mapping[str, Value]], bool]


@dataclass(frozen=True)
class Condition:
    """`slots` are those that it names, `constants` what they are compared with.

    `matches` says that a pattern is among these.
    """

    slots: frozenset[str]
    constants: tuple[Value, ...]
    matches: bool
    holds: Holds


def read(text: str) -> Condition | None:
    """Read one; None where it is of another kind, or where anything but slots decides it."""
    try:
        return _Reader(text).whole()
    except _NotRead:
        return None


def unique(values: Iterable[Value]) -> tuple[Value, ...]:
    """Each value once, in order; to Python, True and 1 are the same."""
    return tuple({(type(value), value): value for value in values}.values())


class _NotRead(Exception):
    """The text has another form."""


class _Undefined:
    """What a word without quotes is, also `undefined` and `None`: no slot has it, not even one without a value."""

    def __eq__(self, other: object) -> bool:
        return False

    def __bool__(self) -> bool:
        return False

    __hash__ = None  # type: ignore[assignment]


class _Reader:
    """Reads one condition, from left to right."""

    def __init__(self, text: str) -> None:
        self._tokens = list(_tokens(text))
        self._slots: set[str] = set()
        self._constants: list[Value] = []
        self._matches = False

    def whole(self) -> Condition:
        holds = self._chain()
        if self._tokens:
            raise _NotRead
        return Condition(frozenset(self._slots), unique(self._constants), self._matches, holds)

    def _chain(self) -> Holds:
        """To pypred, neither of `and` and `or` binds tighter: `a and b or c` is `a and (b or c)`."""
        first = self._one()
        if self._taken("and"):
            rest = self._chain()
            return lambda slots: first(slots) and rest(slots)
        if self._taken("or"):
            rest = self._chain()
            return lambda slots: first(slots) or rest(slots)
        return first

    def _one(self) -> Holds:
        if self._taken("not"):
            denied = self._one()
            return lambda slots: not denied(slots)
        if self._taken("("):
            inner = self._chain()
            if not self._taken(")"):
                raise _NotRead
            return inner
        left = self._operand()
        sign = self._comparison()
        if sign is None:
            return lambda slots: bool(left(slots))
        if sign in ("is", "is not") and self._taken("empty"):
            return lambda slots: (left(slots) == "") == (sign == "is")  # to Rasa, a slot without a value is not empty
        self._matches = self._matches or sign == "matches"
        right = self._operand()
        return lambda slots: _compare(left(slots), sign, right(slots))

    def _comparison(self) -> str | None:
        sign = self._tokens[0][1] if self._tokens and self._tokens[0][0] != "text" else None
        if sign not in _COMPARED:
            return None
        self._tokens.pop(0)
        return "is not" if sign == "is" and self._taken("not") else sign

    def _operand(self) -> Callable[[Mapping[str, Value]], Value]:
        if not self._tokens:
            raise _NotRead
        kind, text = self._tokens.pop(0)
        name = text.removeprefix("slots.")
        if kind == "word" and name != text and "." not in name:
            self._slots.add(name)
            return lambda slots: slots.get(name)
        if kind == "word" and "." not in text and text.lower() not in _CONSTANTS:
            undefined: Any = _Undefined()
            return lambda _: undefined
        value = _constant(kind, text)
        self._constants.append(value)
        return lambda _: value

    def _taken(self, word: str) -> bool:
        if self._tokens and self._tokens[0] == ("sign", word):
            self._tokens.pop(0)
            return True
        return False


def _tokens(text: str) -> Iterator[tuple[str, str]]:
    position, text = 0, text.strip()
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise _NotRead
        position = match.end()
        kind, found = str(match.lastgroup), match[str(match.lastgroup)]
        if kind == "sign":
            found = _SIGNS.get(found, found)
        elif kind == "word" and found.lower() in _COMPARED | {"and", "or", "not", "empty"}:
            kind, found = "sign", found.lower()
        yield kind, found


def _constant(kind: str, text: str) -> Value:
    if kind == "text":
        return text[1:-1]
    if kind == "number":
        return float(text)
    if kind != "word" or "." in text:
        raise _NotRead
    return _CONSTANTS[text.lower()]


def _compare(left: Any, sign: str, right: Any) -> bool:
    if sign in ("is", "is not"):
        return bool(left == right) == (sign == "is")  # to Rasa as well, true is 1
    if left is None or right is None:
        return False
    try:
        return _ORDER[sign](left, right)
    except (TypeError, re.error):
        return False


_ORDER: Mapping[str, Callable[[Any, Any], bool]] = {
    "<": lambda left, right: bool(left < right),
    "<=": lambda left, right: bool(left <= right),
    ">": lambda left, right: bool(left > right),
    ">=": lambda left, right: bool(left >= right),
    "contains": lambda left, right: right in left,
    "matches": lambda left, right: re.search(right, left) is not None,
}
