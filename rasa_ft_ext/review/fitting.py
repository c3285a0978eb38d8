"""Which message or rephrasing each decision is about; and which decisions are about nothing that is there any more."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from rasa_ft_ext import commands as language
from rasa_ft_ext.commands import Command, Syntax
from rasa_ft_ext.conversation import AnnotatedFile, Conversation, RephrasedConversation, RephrasedFile, Rephrasing
from rasa_ft_ext.errors import ConfigError, WorkspaceError
from rasa_ft_ext.records import AnyRecord, read_record, record_path
from rasa_ft_ext.review.decisions import Decision, Decisions
from rasa_ft_ext.review.labels import Labels
from rasa_ft_ext.steps import lines_of

_FILES = 16  # that are kept in memory

Place = tuple[str, int, str | None]
"""A test's id, the index of a turn, and the text of a rephrasing; None is the turn's own message."""


@dataclass(frozen=True)
class Wording:
    """A message or one of its rephrasings: what a decision is about; `commands` are those it would be kept with."""

    place: Place
    message: str
    commands: tuple[Command, ...]
    syntax: Syntax

    @property
    def text(self) -> str:
        return self.message if self.place[2] is None else self.place[2]

    @property
    def lines(self) -> str:
        """Its commands, one a line, as the assistant's LLM writes them."""
        return "\n".join(lines_of(self.commands, self.syntax))


@dataclass(frozen=True)
class Fitted:
    """The decisions by their places, the labels that edits give, and the decisions that do not fit, with the reason."""

    placed: Mapping[Place, Decision] = field(default_factory=dict)
    labels: Mapping[Place, tuple[Command, ...]] = field(default_factory=dict)
    misfits: tuple[tuple[Decision, str], ...] = ()

    @property
    def told(self) -> tuple[str, ...]:
        """Those that do not fit, a sentence each."""
        return tuple(f"{decision.name}: {reason}" for decision, reason in self.misfits)


class Wordings:
    """All that can be decided about, found by name."""

    def __init__(self, annotated: Iterable[AnnotatedFile], rephrased: Iterable[RephrasedFile]) -> None:
        found = {entry.id: entry for file in rephrased for entry in file.conversations}
        self._tests = {
            of.id: {entry.place: entry for entry in _wordings(of, found.get(of.id))}
            for file in annotated
            for of in file.conversations
        }

    def find(self, decision: Decision) -> tuple[Wording | None, str]:
        """What a decision is about, or why there is no such thing.

        A message that has moved in its test is found as long as the test has it once.
        """
        test = self._of(decision.test)
        if test is None:
            return None, "there is no such test."
        turns = [index for _, index, other in test if other is None]
        same = [index for index in turns if test[decision.test, index, None].message == decision.message]
        index = decision.turn - 1 if decision.turn - 1 in same else same[0] if len(same) == 1 else None
        if index is None:
            why = "the test has it several times, and elsewhere." if same else "the test has no such message to learn."
            return None, why
        found = test.get((decision.test, index, decision.rephrasing))
        return found, "" if found else "the message has no such rephrasing."

    def _of(self, test: str) -> Mapping[Place, Wording] | None:
        return self._tests.get(test)


class StoredWordings(Wordings):
    """The same of records on disk: a test's file is read when it is asked for, and the last few files are kept.

    Args:
        annotations: The folder of the annotations.
        rephrasings: That of the rephrasings; None where there are none.
    """

    def __init__(self, annotations: Path, rephrasings: Path | None) -> None:
        super().__init__((), ())
        self._annotations = annotations
        self._rephrasings = rephrasings
        self._read = lru_cache(maxsize=_FILES)(self._wordings_of)

    def _of(self, test: str) -> Mapping[Place, Wording] | None:
        return self._read(test.partition("::")[0])._of(test)

    def _wordings_of(self, file: str) -> Wordings:
        annotated = _record(self._annotations, file, AnnotatedFile)
        rephrased = _record(self._rephrasings, file, RephrasedFile) if self._rephrasings else None
        return Wordings([annotated] if annotated else (), [rephrased] if rephrased else ())


def _record(folder: Path, file: str, kind: type[AnyRecord]) -> AnyRecord | None:
    """The record of a test file; None where there is no such file in the folder."""
    try:
        path = record_path(folder, file)
    except WorkspaceError:  # the name is none of ours
        return None
    return read_record(path, kind) if path.is_file() else None


def fit(decisions: Decisions, wordings: Wordings, labels: Labels, where: str) -> Fitted:
    """Find what the decisions are about, and read the labels that were written.

    Args:
        decisions: What was decided.
        wordings: What there is.
        labels: Reads the labels.
        where: The file, for errors.

    Raises:
        ConfigError: labels are not in the assistant's language; names all of them with their lines.
    """
    placed: dict[Place, Decision] = {}
    read: dict[Place, tuple[Command, ...]] = {}
    misfits: list[tuple[Decision, str]] = []
    problems: list[str] = []
    entries = zip(decisions.entries, decisions.lines, strict=True)
    for decision, line in sorted(entries, key=lambda at: _is_moved(at[0], wordings)):  # those in their place first
        found, why = wordings.find(decision)
        why = _objection(decision, found, placed, labels) if found else why
        if found is None or why:
            misfits.append((decision, why))
            continue
        if decision.commands is not None and decision.decision == "edit":
            label = labels.read(decision.commands, found.syntax, decision.text or found.text)
            problems += [f"line {line}: {decision.name}: {problem}" for problem in label.problems]
            read[found.place] = label.commands
        placed[found.place] = decision
    if problems:
        raise ConfigError(where, problems)
    return Fitted(placed, read, tuple(sorted(misfits, key=lambda at: at[0].order)))


def _is_moved(decision: Decision, wordings: Wordings) -> bool:
    found, _ = wordings.find(decision)
    return found is not None and found.place[1] != decision.turn - 1


def _objection(decision: Decision, found: Wording, placed: Mapping[Place, Decision], labels: Labels) -> str:
    """Why a decision cannot be followed although what it is about is there."""
    if found.place in placed:
        return f"message {placed[found.place].turn} is the same, and decided as well."
    if decision.decision == "edit":
        if decision.commands is not None:
            return ""
        return unfit_commands(found, labels) if found.commands else "it has no commands; the edit must give some."
    if decision.commands is not None and not _same(decision.commands, found):
        return f"its commands are now {'; '.join(lines_of(found.commands, found.syntax)) or 'none'}; decide again."
    if decision.decision == "accept" and not found.commands:
        return "it has no commands to accept; edit it, and give some."
    return unfit_commands(found, labels) if decision.decision == "accept" else ""


def unfit_commands(found: Wording, labels: Labels) -> str:
    """Why a rephrasing cannot be kept with what the LLM said to it, which may name what the assistant does not have.

    The commands of a message are not looked at: the assistant has run them.
    """
    problems = labels.read(found.lines, found.syntax, found.text).problems if found.place[2] is not None else ()
    return " ".join([*problems, "Edit it, and give other commands."]) if problems else ""


def _same(lines: str, found: Wording) -> bool:
    if lines.split() == found.lines.split():
        return True
    return language.read(lines, found.syntax) == language.read(found.lines, found.syntax) != ()


def _wordings(conversation: Conversation, rephrased: RephrasedConversation | None) -> Iterator[Wording]:
    rephrasings = {entry.turn: entry.rephrasings for entry in rephrased.turns} if rephrased else {}
    for index, turn in conversation.annotated:
        assert turn.annotation is not None
        syntax = turn.annotation.syntax
        yield Wording((conversation.id, index, None), turn.message, turn.annotation.labels, syntax)
        for found in rephrasings.get(index, ()):
            yield Wording((conversation.id, index, found.text), turn.message, kept_with(found), syntax)


def kept_with(found: Rephrasing) -> tuple[Command, ...]:
    """The label of a rephrasing that passes; of one that fails, what the LLM said to it."""
    return found.label if found.passed else found.commands
