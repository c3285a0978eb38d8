"""Every conversation as the page's script and its static list show it: turns, commands, rephrasings, and why they fail.

A test is a mapping of plain values, so that the same goes into the page as JSON and into its template. Commands are
kept once, in a list; wordings name them by their index.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rasa_ft_ext.commands import Command, Syntax
from rasa_ft_ext.conversation import (
    AnnotatedFile,
    Conversation,
    Example,
    RephrasedConversation,
    RephrasedFile,
    Rephrasing,
    Turn,
)
from rasa_ft_ext.redaction import PLACEHOLDER, unnumbered
from rasa_ft_ext.report.reviewed import Marks
from rasa_ft_ext.steps import lines_of, shown_steps


@dataclass(frozen=True)
class Placed:
    """An example, the side it is on, and where its row stands, such as `train.jsonl line 12`."""

    example: Example
    side: str
    row: str


@dataclass
class _Commands:
    """The different commands, each as the assistant's LLM writes it, with its type and what it is about."""

    entries: list[dict[str, str | None]] = field(default_factory=list)
    _places: dict[tuple[Command, Syntax], int] = field(default_factory=dict)

    def indices(self, commands: Iterable[Command], syntax: Syntax) -> list[int]:
        return [self._index(command, syntax) for command in commands]

    def _index(self, command: Command, syntax: Syntax) -> int:
        key = (command, syntax)
        if key not in self._places:
            about = command.args[0] if command.args else None
            entry = {
                "text": lines_of([command], syntax)[0],
                "type": command.type,
                "flow": about if command.type == "StartFlow" else None,
                "slot": about if command.type == "SetSlot" else None,
            }
            self._places[key] = len(self.entries)
            self.entries.append(entry)
        return self._places[key]


def browsable(
    annotated: Sequence[AnnotatedFile],
    rephrased: Sequence[RephrasedFile],
    placed: Iterable[Placed],
    review: Marks | None = None,
) -> dict[str, Any]:
    """The conversations of these files in order: `tests` and the `commands` that they name.

    `placed` may have the examples of other tests as well; `review` is what a person decided of their messages and
    rephrasings.
    """
    commands = _Commands()
    rephrasings = {entry.id: entry for file in rephrased for entry in file.conversations}
    shown = {conversation.id for file in annotated for conversation in file.conversations}
    rows: dict[tuple[str, int, str], list[str]] = {}
    sides: dict[str, str] = {}
    for entry in placed:
        example = entry.example
        sides.update((test, entry.side) for test in (example.test, *example.also_in) if test in shown)
        if example.test not in shown:
            continue
        rows.setdefault((example.test, example.turn, example.message), []).append(entry.row)
        if PLACEHOLDER.search(example.message):  # masked: here the message is as it was said
            rows.setdefault((example.test, example.turn, unnumbered(example.message)), []).append(entry.row)
    tests = [
        _Test(conversation, rephrasings.get(conversation.id), rows, commands, review or Marks()).shown(
            sides.get(conversation.id, "")
        )
        for file in annotated
        for conversation in file.conversations
    ]
    return {"commands": commands.entries, "tests": tests}


@dataclass(frozen=True)
class _Test:
    """One conversation on its way into the page."""

    conversation: Conversation
    rephrased: RephrasedConversation | None
    rows: Mapping[tuple[str, int, str], Sequence[str]]
    commands: _Commands
    review: Marks

    def shown(self, side: str) -> dict[str, Any]:
        said = self._said()
        turns = [self._turn(index, turn, said.get(index, [])) for index, turn in enumerate(self.conversation.turns)]
        shown = {"file": self.conversation.file, "name": self.conversation.name, "side": side, "turns": turns}
        problem = self.rephrased.problem if self.rephrased else None
        return {**shown, "problem": problem} if problem else shown

    def _turn(self, index: int, turn: Turn, said: list[str]) -> dict[str, Any]:
        shown: dict[str, Any] = {"say": turn.message, **self._rows(index, turn.message)}
        if said:
            shown["bot"] = said
        if turn.annotation is None:
            return {**shown, "why": turn.unannotated or "not annotated"}
        syntax = turn.annotation.syntax
        shown |= {"do": self.commands.indices(turn.annotation.labels, syntax), **self._decided(index)}
        entry = next((of for of in (self.rephrased.turns if self.rephrased else ()) if of.turn == index), None)
        if entry is not None:
            shown["re"] = [self._rephrasing(index, found, syntax) for found in entry.rephrasings]
        problems = [of.reason for of in (self.rephrased.contested if self.rephrased else ()) if of.turn == index]
        problems += [entry.problem] if entry is not None and entry.problem else []
        return {**shown, "problem": "; ".join(problems)} if problems else shown

    def _rephrasing(self, index: int, found: Rephrasing, syntax: Syntax) -> dict[str, Any]:
        commands = self.commands.indices(found.label if found.passed else found.commands, syntax)
        decided = self._decided(index, found.text)
        shown = {"say": found.text, "do": commands, **self._rows(index, self._learned(index, found.text)), **decided}
        left_out = self.review.left_out.get((self.conversation.id, index, found.text))
        if left_out is not None:
            shown["left"] = left_out
        if found.origin != "rephraser":
            shown["by"] = found.maker
        return shown if found.passed else {**shown, "why": found.reason or "no reason is known"}

    def _learned(self, index: int, rephrasing: str) -> str:
        """The text that rows have of a rephrasing: that of the person, if there is one."""
        decision = self.review.decisions.get((self.conversation.id, index, rephrasing))
        return decision.text if decision is not None and decision.text is not None else rephrasing

    def _decided(self, index: int, rephrasing: str | None = None) -> dict[str, Any]:
        decision = self.review.decisions.get((self.conversation.id, index, rephrasing))
        names = {"decision", "commands", "text", "note"}
        return {"review": decision.model_dump(mode="json", include=names)} if decision else {}

    def _rows(self, index: int, message: str) -> dict[str, Any]:
        """How many rows have the message at this place, and where the first of them stands."""
        found = self.rows.get((self.conversation.id, index, message), ())
        found = found or self.rows.get((self.conversation.id, index, unnumbered(message)), ())
        return {"rows": len(found), "first": found[0]} if found else {}

    def _said(self) -> dict[int, list[str]]:
        """What the assistant said after each turn."""
        said: dict[int, list[str]] = {}
        at = -1
        for step in shown_steps(self.conversation, lambda index, _: {"turn": index}):
            at = step.get("turn", at)
            said.setdefault(at, [])
            said[at] += [str(step[name]) for name in ("bot", "utter") if name in step]
        return said


def as_json(value: object) -> str:
    """JSON that can stand in a `<script>`: nothing in it is markup."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text
