"""jinja2's sandbox with limits: a prompt template reaches nothing but its variables, and it comes to an end.

jinja2 itself keeps a template from Python's inside (`{{ x.__class__ }}`) and bounds `range`. Here loops and calls are
counted besides, its result has an end, and what makes something small huge in one step (`'a' * 10**10`) is refused
before it is done. The limits are far above what a prompt needs: all flows of a large assistant are some
thousand steps and 100,000 characters.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from jinja2 import nodes
from jinja2.exceptions import SecurityError
from jinja2.runtime import Context
from jinja2.sandbox import SandboxedEnvironment
from jinja2.visitor import NodeTransformer

MOST_CHARACTERS = 5_000_000
"""Of what a template renders: more than any model's context."""
MOST_STEPS = 1_000_000
"""Rounds of loops, for one rendering; a call counts as ten, which it takes the time of."""
_OF_A_CALL = 10
_MOST_BITS = 4_096  # of a number: Python takes minutes for the powers of powers

_COUNTED, _JOINED = "rasa_ft_counted", "rasa_ft_joined"
_WIDE_PERCENT = re.compile(r"%[^a-zA-Z%]*(\d{6}|\*)")
_WIDE_BRACES = re.compile(r"\{[^}]*(\d{6}|\{)")
_GROWING = ("center", "indent", "format", "replace", "wordwrap")
_spent: ContextVar[_Spent | None] = ContextVar("spent", default=None)


@dataclass
class _Spent:
    """What one rendering has used up."""

    steps: int = 0
    characters: int = 0
    """Those printed into variables and macros included."""


class LimitedSandbox(SandboxedEnvironment):
    """The environment; it renders by `render_within_limits`."""

    intercepted_binops = frozenset({"+", "*", "**", "%"})

    def __init__(self) -> None:
        super().__init__(autoescape=False, finalize=_printed)
        self.globals.pop("lipsum")  # makes text, without end
        self.filters |= {_COUNTED: _counted, _JOINED: _joined}
        for name in _GROWING:
            self.filters[name] = _bounded(self.filters[name])

    def _generate(self, source: nodes.Template, *args: Any, **kwargs: Any) -> str:
        """jinja2's own hook, between reading a template and compiling it."""
        return super()._generate(_Counting().visit(source), *args, **kwargs)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        _refuse_growth(operator, left, right)
        return super().call_binop(context, operator, left, right)

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:
        _step(_OF_A_CALL)
        text = getattr(getattr(__obj, "__wrapped__", __obj), "__self__", None)
        if isinstance(text, str):
            _refuse_wide(text, (*args, *kwargs.values()), getattr(__obj, "__name__", ""))
        return super().call(__context, __obj, *args, **kwargs)


class _Counting(NodeTransformer):
    """Has the rounds of loops counted, and the texts that `~` puts together."""

    def visit_For(self, node: nodes.For) -> nodes.Node:
        self.generic_visit(node)
        node.iter = nodes.Filter(node.iter, _COUNTED, [], [], None, None, lineno=node.lineno)
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:
        self.generic_visit(node)
        parts = nodes.List(node.nodes, lineno=node.lineno)
        return nodes.Filter(parts, _JOINED, [], [], None, None, lineno=node.lineno)


def render_within_limits(pieces: Callable[[], Iterable[str]]) -> str:
    """Put the pieces of a template of this environment together (`template.generate(...)`).

    Raises:
        SecurityError: a limit was reached.
    """
    token = _spent.set(_Spent())
    try:
        found: list[str] = []
        length = 0
        for piece in pieces():
            length += len(piece)
            if length > MOST_CHARACTERS:
                raise SecurityError(f"it renders more than {MOST_CHARACTERS:,} characters")
            found.append(piece)
        return "".join(found)
    finally:
        _spent.reset(token)


def _step(steps: int = 1) -> None:
    spent = _spent.get()  # None while constant parts are compiled
    if spent is not None:
        spent.steps += steps
        if spent.steps > MOST_STEPS:
            raise SecurityError(f"it takes more than {MOST_STEPS:,} rounds of loops and calls")


def _printed(value: Any) -> Any:
    spent = _spent.get()
    if spent is not None and isinstance(value, str):
        spent.characters += len(value)
        if spent.characters > 4 * MOST_CHARACTERS:  # a text may be printed into a variable or a macro first
            raise SecurityError(f"it prints more than {4 * MOST_CHARACTERS:,} characters")
    return value


def _joined(parts: list[Any]) -> str:
    """What jinja2 does for `~`."""
    texts = [str(part) for part in parts]
    if sum(map(len, texts)) > MOST_CHARACTERS:
        raise SecurityError(f"~ makes a text of more than {MOST_CHARACTERS:,} characters")
    return "".join(texts)


def _counted(items: Iterable[Any]) -> Iterator[Any]:
    for item in items:
        _step()
        yield item


def _refuse_growth(sign: str, left: Any, right: Any) -> None:
    if sign == "%" and isinstance(left, str):
        _refuse_wide(left, right if isinstance(right, tuple) else (right,), "%")
    elif isinstance(left, int) and isinstance(right, int):
        bits = left.bit_length() * abs(right) if sign == "**" else left.bit_length() + right.bit_length()
        if sign in ("*", "**") and bits > _MOST_BITS:
            raise SecurityError(f"the result of {sign} is a number of more than {_MOST_BITS:,} bits")
    else:
        sizes = [len(part) if hasattr(part, "__len__") else part for part in (left, right)]
        if all(isinstance(size, int) for size in sizes):
            size = sizes[0] + sizes[1] if sign == "+" else sizes[0] * sizes[1]
            if size > MOST_CHARACTERS:
                raise SecurityError(f"{sign} makes more than {MOST_CHARACTERS:,} characters or entries")


def _refuse_wide(text: str, given: tuple[Any, ...], name: str) -> None:
    """Refuse what makes a text of one's own length: a width, a format with one, each place filled with a long text."""
    too_wide = any(isinstance(value, int) and abs(value) > MOST_CHARACTERS for value in given)
    if name in ("%", "format", "format_map"):
        too_wide = too_wide or bool(_WIDE_PERCENT.search(text) or _WIDE_BRACES.search(text))
    if name == "replace" and len(given) > 1:
        old, new = str(given[0]), str(given[1])
        too_wide = too_wide or len(text) + text.count(old) * len(new) > MOST_CHARACTERS
    if too_wide:
        raise SecurityError(f"a text becomes longer than {MOST_CHARACTERS:,} characters")


def _bounded(of_jinja: Callable[..., Any]) -> Callable[..., Any]:
    """The same filter, which refuses to make a text huge."""

    def bounded(*args: Any, **kwargs: Any) -> Any:
        at = 1 if getattr(of_jinja, "jinja_pass_arg", None) else 0  # some are given the environment first
        name = of_jinja.__name__.removeprefix("do_")
        _refuse_wide(str(args[at]), (*args[at + 1 :], *kwargs.values()), name)
        return of_jinja(*args, **kwargs)

    for mark, value in vars(of_jinja).items():
        setattr(bounded, mark, value)
    return bounded
