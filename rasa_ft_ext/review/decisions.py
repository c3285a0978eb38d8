"""The decisions of a review, and the file that they are kept in: `review.yaml`.

    decisions:
      - test: cars/booking.yml::books a car
        turn: 2
        message: to Basel
        rephrasing: to Zurich
        decision: edit
        commands: set slot city Zurich

A decision is named by what it is about, in words, and not by a place in another file; so the file can be kept in git
and edited by hand. How it is changed is the business of `rasa_ft_ext.review.writing`.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

from pydantic import Field, ValidationError
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from rasa_ft_ext.conversation import SparseRecord
from rasa_ft_ext.errors import ConfigError
from rasa_ft_ext.yaml_reading import load_yaml
from rasa_ft_ext.yaml_reading import read_text as read_limited

Verdict = Literal["accept", "reject", "edit"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
KEY = "decisions"

# A file that is laid out as ours: entries begin with a dash in the third column, what is in them stands behind it, and
# between them are empty lines and comments. Anchors and aliases would tie entries together.
_ENTRY = re.compile(r"\n  - ")
_BETWEEN = re.compile(r"(\n| {0,2}#[^\n]*\n)*")
_WITHIN = re.compile(r"[a-z]+: [^\n]*(\n|\n {0,2}#[^\n]*|\n    [^\n]*)*")
_TIED = re.compile(r"(: |- |\n +)[&*]")

Subject = tuple[str, str, str | None, int]
"""What a decision is about: test, message, rephrasing and turn; None as rephrasing is the message itself."""


class Decision(SparseRecord):
    """What a person decided of the label of a test's message, or of one of its rephrasings.

    `test` is its `file::name`, `turn` the number of the user message in it, from 1. `commands` are lines in the
    assistant's own language: the right ones with `edit`; with `accept` and `reject` those that were looked at, and any
    if there are none. `text` is another text for a rephrasing, with `edit`. `note` is for people.
    """

    optional: ClassVar[frozenset[str]] = frozenset({"rephrasing", "commands", "text", "note"})

    test: str = Field(min_length=1)
    turn: int = Field(ge=1)
    message: str
    rephrasing: str | None = None
    decision: Verdict
    commands: str | None = None
    text: str | None = None
    note: str | None = None

    @property
    def subject(self) -> Subject:
        return self.test, self.message, self.rephrasing, self.turn

    @property
    def order(self) -> tuple[str, int, str, bool, str]:
        """Where it stands in the file."""
        return self.test, self.turn, self.message, self.rephrasing is not None, self.rephrasing or ""

    @property
    def name(self) -> str:
        """Such as `cars.yml::a, message 2 'to Basel', rephrasing 'Basel'`."""
        of_rephrasing = f", rephrasing {self.rephrasing!r}" if self.rephrasing is not None else ""
        return f"{self.test}, message {self.turn} {self.message!r}{of_rephrasing}"

    def problems(self) -> Iterator[str]:
        """What does not go together in it."""
        if self.decision == "edit":
            if self.commands is None and self.text is None:
                yield "edit needs `commands`, or `text` for a rephrasing"
            if self.text is not None and self.rephrasing is None:
                yield "`text` is for a rephrasing; the message of a test is changed in the test"
            if self.text is not None and not self.text.strip():
                yield "`text` is empty; to leave the rephrasing out, reject it"
        elif self.text is not None:
            yield "`text` goes with edit only"


@dataclass(frozen=True)
class Decisions:
    """The decisions of a file in its order, the `lines` on which they begin, and the column of their dashes."""

    entries: tuple[Decision, ...] = ()
    lines: tuple[int, ...] = ()
    dash: int = 2

    @property
    def digest(self) -> str | None:
        """The SHA-256 of what they decide, however it is written down; None where nothing is decided."""
        if not self.entries:
            return None
        plain = [entry.model_dump(mode="json", exclude={"note"}) for entry in sorted(self.entries, key=_order)]
        return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()

    def of(self, subject: Subject) -> Decision | None:
        return next((entry for entry in self.entries if entry.subject == subject), None)


def read_decisions(path: Path) -> Decisions:
    """Read the file; one that is not there holds no decisions.

    Raises:
        ConfigError: it cannot be read; names every problem with its line.
    """
    return decisions_of(read_text(path), str(path))


def read_text(path: Path) -> str:
    """The file's text; empty where it is not there.

    Raises:
        ConfigError: it cannot be read.
    """
    return read_limited(path) if path.exists() else ""


def decisions_of(text: str, where: str) -> Decisions:
    """Read the text of such a file.

    Raises:
        ConfigError: as for `read_decisions`.
    """
    blocks = _blocks(text)
    if blocks and sum(block not in _read for _, block in blocks) <= _FEW:
        found = _by_entry(blocks)
        if found is not None:
            return found
    whole = _as_a_whole(text, where)
    if blocks and tuple(line for line, _ in blocks) == whole.lines:
        _read.update(zip((block for _, block in blocks), whole.entries, strict=True))
    return whole


# A file with a thousand decisions takes YAML's reader a second. It is read before and after each change, and all of its
# entries but one are those of before; so entries that were read are known by their text.
_read: dict[str, Decision] = {}
_FEW = 5


def _blocks(text: str) -> list[tuple[int, str]]:
    """The entries of a file that is laid out as ours, from behind their dashes, with their lines; none of another."""
    head, _, rest = text.partition(f"{KEY}:\n")
    before, *blocks = _ENTRY.split("\n" + rest)
    line = head.count("\n") + 2 + before.count("\n")
    found = []
    for block in blocks:
        found.append((line, block))
        line += block.count("\n") + 1
    around = _BETWEEN.fullmatch(head) and _BETWEEN.fullmatch(f"{before}\n")
    is_ours = around and all(_WITHIN.fullmatch(block) and not _TIED.search(block) for block in blocks)
    return found if is_ours else []


def _by_entry(blocks: list[tuple[int, str]]) -> Decisions | None:
    """Put together what is known, and read the few entries that are not; None if anything is wrong with them."""
    found: dict[Subject, tuple[Decision, int]] = {}
    for line, block in blocks:
        entry = _read.get(block) or _entry(block)
        if entry is None or entry.subject in found:
            return None
        found[entry.subject] = (entry, line)
        _read[block] = entry
    return Decisions(tuple(entry for entry, _ in found.values()), tuple(line for _, line in found.values()))


def _entry(block: str) -> Decision | None:
    try:
        entry = Decision.model_validate(load_yaml(f"    {block}", typ="rt"))
    except (YAMLError, ValidationError):
        return None
    return None if any(entry.problems()) else entry


def _as_a_whole(text: str, where: str) -> Decisions:
    content = _loaded(text, where)
    found: dict[Subject, tuple[Decision, int]] = {}
    problems: list[str] = []
    for index, raw in enumerate(content):
        line = int(content.lc.item(index)[0]) + 1
        try:
            entry = Decision.model_validate(raw)
        except ValidationError as error:
            problems += [f"line {line}: {_told(raw)}{part}" for part in _parts(error)]
            continue
        problems += [f"line {line}: {entry.name}: {part}." for part in entry.problems()]
        first, before = found.setdefault(entry.subject, (entry, line))
        if first is not entry:
            problems.append(f"line {line}: {entry.name}: it is decided on line {before} already; take one of them out.")
    if problems:
        raise ConfigError(where, problems)
    dash = max(0, int(content.lc.item(0)[1]) - 2) if found else 2
    return Decisions(tuple(entry for entry, _ in found.values()), tuple(line for _, line in found.values()), dash)


def _loaded(text: str, where: str) -> Any:
    """The list of decisions as ruamel.yaml gives it, with the places of its entries; empty where there are none."""
    try:
        content = load_yaml(text, typ="rt")
    except YAMLError as error:
        mark = error.problem_mark if isinstance(error, MarkedYAMLError) else None
        problem = error.problem if isinstance(error, MarkedYAMLError) else str(error)
        raise ConfigError(where, [f"{f'line {mark.line + 1}: ' if mark else ''}it is no YAML: {problem}."]) from error
    if content is None:
        return []
    if not isinstance(content, dict) or set(content) != {KEY}:
        raise ConfigError(where, [f"It must have the one key `{KEY}`, with a list of decisions."])
    entries = content[KEY]
    if entries is None:
        return []
    if not isinstance(entries, list):
        raise ConfigError(where, [f"`{KEY}` must be a list."])
    return entries


def _order(entry: Decision) -> tuple[str, int, str, bool, str]:
    return entry.order


def _parts(error: ValidationError) -> Iterator[str]:
    for part in error.errors():
        name = ".".join(map(str, part["loc"]))
        if part["type"] == "missing":
            yield f"`{name}` is missing."
        elif part["type"] == "extra_forbidden":
            known = ", ".join(Decision.model_fields)
            yield f"`{name}` is not known; there are {known}."
        elif part["type"] == "string_type":
            yield f"`{name}` is no text; put it in quotes."
        else:
            yield f"{f'`{name}`: ' if name else ''}{part['msg'][:1].lower()}{part['msg'][1:]}."


def _told(raw: Any) -> str:
    """What a broken entry says it is about."""
    about = raw.get("rephrasing", raw.get("message", raw.get("test"))) if isinstance(raw, dict) else None
    return f"{str(about)!r}: " if about is not None else ""
