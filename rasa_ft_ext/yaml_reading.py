"""Read YAML that somebody else wrote: safely, and within limits.

    read_yaml(Path("endpoints.yml"))        # plain data; whatever is wrong with the file is a ConfigError
    load_yaml(text, typ="rt")               # with places and comments; whatever is wrong is a YAMLError
    check_yaml(text)                        # for text that another reader is going to load

Every file of a user's is read here. A file can hold more than it seems to: a few hundred letters are enough for a
structure that exhausts Python's stack (`[[[[...`) or the memory (lists of aliases of lists of aliases). So files are
refused that are too long, too deep, that repeat too much by aliases, or that hold what no text can be. The limits are
far above what a person writes. Only plain data come out: no tag makes an object.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TypeVar

from ruamel.yaml import YAML
from ruamel.yaml.composer import Composer
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import AliasEvent, ScalarEvent
from ruamel.yaml.nodes import Node

from rasa_ft_ext.errors import ConfigError

MOST_BYTES = 10_000_000
"""Of one file with settings: a person writes kilobytes, and ruamel.yaml needs four seconds for a megabyte."""
MOST_LEVELS = 100
"""Of lists and mappings in each other: Rasa's deepest files have about 20; ruamel.yaml needs 5 calls for each, and
Python allows 1,000 in all."""
MOST_REPEATED = 1_000_000
"""Characters that aliases may repeat: what is read may be written out again, where an alias becomes what it stands
for."""

_ALIAS_OR_ESCAPE = re.compile(r"(?:^|[\s,\[{:?-])\*|\\[0xuU]")
_BEFORE_CONTENT = re.compile(r"^[\s?:-]+", re.MULTILINE)

Kind = Literal["safe", "rt"]
_Read = TypeVar("_Read")


class LimitError(MarkedYAMLError):  # type: ignore[misc]
    """The YAML may be right, but it is not read: it is beyond a limit."""


def read_yaml(path: Path, *, most_bytes: int = MOST_BYTES) -> Any:
    """Read a file as plain data.

    Raises:
        ConfigError: it cannot be read, is no YAML or beyond a limit; its one problem begins with "it".
    """
    text = read_text(path, most_bytes=most_bytes)
    try:
        return load_yaml(text)
    except YAMLError as error:
        raise ConfigError(str(path), [f"it is not YAML: {told(error)}"]) from None  # its text has lines of the file


def told(error: YAMLError) -> str:
    """What is wrong with a text and in which line, without a part of the text: there may be a key in it."""
    if not isinstance(error, MarkedYAMLError):
        return str(error)
    problem = str(error.problem or error.context or "it cannot be understood")
    problem = re.sub(r" with value .*|(?<=undefined alias) .*", "", problem, flags=re.DOTALL)
    return f"line {error.problem_mark.line + 1}: {problem}" if error.problem_mark else problem


def read_text(path: Path, *, most_bytes: int = MOST_BYTES) -> str:
    """Read a file's text; never more of it than the limit.

    Raises:
        ConfigError: as `read_yaml`.
    """
    try:
        with path.open("rb") as stream:
            raw = stream.read(most_bytes + 1)
        if len(raw) > most_bytes:
            raise ConfigError(str(path), [too_long(path, most_bytes)])
        return raw.decode("utf-8").replace("\r\n", "\n").replace("\r", "\n")
    except (OSError, ValueError) as error:
        reason = "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else getattr(error, "strerror", None)
        raise ConfigError(str(path), [f"it cannot be read: {reason or error}"]) from error


def too_long(path: Path, most_bytes: int) -> str:
    """What is wrong with a file that is longer than that, as a problem for an error."""
    size = path.stat().st_size if path.is_file() else 0
    has = f"it has {size / 1e6:,.1f} MB" if size else "it does not end"
    return f"it cannot be read: {has}, and at most {most_bytes / 1e6:,.0f} MB are. Divide it, or give another file"


def load_yaml(text: str, *, typ: Kind = "safe") -> Any:
    """Load one document.

    Args:
        text: The YAML.
        typ: `safe` for plain data, `rt` for data that know their places and comments.

    Raises:
        YAMLError: it is no YAML; a `LimitError`, it is beyond a limit.
    """
    return _guarded(lambda: _reader(typ).load(text))


def compose_yaml(text: str) -> Node | None:
    """The nodes of one document, whose marks are places in the text; None for an empty one.

    Raises:
        YAMLError: as `load_yaml`.
    """
    return _guarded(lambda: _reader("rt").compose(text))


def check_yaml(text: str) -> None:
    """Refuse what is beyond a limit, before another reader loads it; what is no YAML is left for that one to tell.

    Raises:
        LimitError: it is beyond a limit.
    """
    if _is_plain(text):
        return
    try:
        compose_yaml(text)
    except LimitError:
        raise
    except YAMLError:
        return


def _is_plain(text: str) -> bool:
    """Whether a look is enough to see that a text is within the limits: to take it apart takes minutes for a large one.

    A block begins further right than the one that it is in, a list perhaps right below its key; only brackets go
    deeper without.
    """
    if _ALIAS_OR_ESCAPE.search(text):
        return False
    furthest = max((len(match[0]) for match in _BEFORE_CONTENT.finditer(text)), default=0)
    return 2 * (furthest + 2) + text.count("[") + text.count("{") <= MOST_LEVELS


def _reader(typ: Kind) -> YAML:
    yaml = YAML(typ=typ, pure=True)
    yaml.Composer = _Composer
    return yaml


def _guarded(read: Callable[[], _Read]) -> _Read:
    """Make one kind of error of the many that ruamel.yaml raises: `2024-99-99` is a ValueError of datetime's."""
    try:
        return read()
    except YAMLError:
        raise
    except Exception as error:  # only ruamel.yaml runs in here
        what = f"a value is not what it looks like, such as a date or a number ({type(error).__name__})"
        raise YAMLError(what) from None


class _Composer(Composer):  # type: ignore[misc]
    """Counts levels, and the characters that aliases stand for, while the nodes are put together."""

    def __init__(self, loader: Any = None) -> None:
        super().__init__(loader)
        self.warn_double_anchors = False  # using a name again is allowed
        self._open = [0]  # characters within each of the nodes that are not complete
        self._sizes: dict[int, int] = {}  # characters of complete nodes, by their id
        self._repeated = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.parser.peek_event()
        if len(self._open) > MOST_LEVELS:
            raise _beyond(event, f"it is nested deeper than {MOST_LEVELS} levels")
        if isinstance(event, ScalarEvent):
            _check_text(event)
        self._open.append(0)
        node = super().compose_node(parent, index)
        inside = self._open.pop()
        if isinstance(event, AliasEvent):
            size = self._sizes.get(id(node), 0)
            if not size:
                raise _beyond(event, f"the alias *{event.anchor} stands within what it stands for")
            self._repeated += size
            if self._repeated > MOST_REPEATED:
                raise _beyond(event, f"its aliases stand for more than {MOST_REPEATED:,} characters")
        else:
            size = 1 + inside + (len(node.value) if isinstance(event, ScalarEvent) else 0)
            self._sizes[id(node)] = size
        self._open[-1] += size
        return node


def _check_text(event: Any) -> None:
    """Refuse what only an escape can write and no file can hold: half a character, and the end of a C string."""
    if "\0" in event.value:
        raise _beyond(event, "it has a NUL character")
    if not event.value.isascii():
        try:
            event.value.encode()
        except UnicodeEncodeError:
            raise _beyond(event, "it has half a character (a surrogate without the other)") from None


def _beyond(event: Any, problem: str) -> LimitError:
    return LimitError(problem=problem, problem_mark=event.start_mark)
