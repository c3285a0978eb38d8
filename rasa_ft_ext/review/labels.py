"""Whether what a person wrote as a label is one: every line a command, and nothing that the assistant does not have."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from rasa_ft_ext import commands as language
from rasa_ft_ext.checks.known import Known, known_of
from rasa_ft_ext.checks.names import unknown_names
from rasa_ft_ext.commands import Command, Syntax
from rasa_ft_ext.conversation import AnnotatedFile, AssistantCard, RephrasedFile
from rasa_ft_ext.flow_map import FlowMap
from rasa_ft_ext.steps import lines_of


@dataclass(frozen=True)
class Label:
    """What was read, and what is wrong with it, a sentence each."""

    commands: tuple[Command, ...]
    problems: tuple[str, ...] = ()


@dataclass(frozen=True)
class Labels:
    """Reads labels of one assistant.

    `custom` are its own commands, by their lines: only the assistant knows their form, so only those are read that it
    has used.
    """

    known: Known
    custom: Mapping[str, Command] = field(default_factory=dict)

    def read(self, text: str, syntax: Syntax, message: str) -> Label:
        """Read the lines of a label for a message.

        Args:
            text: One command a line.
            syntax: The syntax that the assistant's LLM answers in.
            message: What the user says: it may ask for a value that there is not.
        """
        commands: list[Command] = []
        problems: list[str] = []
        for line in filter(None, map(str.strip, text.splitlines())):
            found = [self.custom[line]] if line in self.custom else list(language.read(line, syntax))
            commands += found
            problems += self._problems(line, found, syntax)
        if not commands and not problems:
            problems.append("There is no command. To have no example of it, reject it.")
        problems += [text for severity, text in unknown_names(commands, message, self.known) if severity == "problem"]
        return Label(tuple(commands), tuple(problems))

    def _problems(self, line: str, found: Sequence[Command], syntax: Syntax) -> Iterator[str]:
        if not found:
            examples = " or ".join(f"`{example}`" for example in _EXAMPLES[syntax])
            yield f"`{line}` is no command of the assistant's language; write such as {examples}."
            return
        again = "; ".join(lines_of(found, syntax))
        if line not in self.custom and _words(again) != _words(line):
            yield f"`{line}` would be read as `{again}`."


_EXAMPLES: dict[Syntax, tuple[str, str]] = {
    "v1": ("StartFlow(flow)", "SetSlot(slot, value)"),
    "v2": ("start flow FLOW", "set slot SLOT VALUE"),
    "v3": ("start flow FLOW", "set slot SLOT VALUE"),
}


def labels_of(
    card: AssistantCard,
    annotated: Iterable[AnnotatedFile],
    rephrased: Iterable[RephrasedFile],
    flow_map: FlowMap | None,
) -> Labels:
    """What reads the labels of the assistant that these were recorded of."""
    custom = {command.text: command for command in _commands(annotated, rephrased) if command.type == "Custom"}
    return Labels(known_of(card, annotated, flow_map), {line: entry for line, entry in custom.items() if line})


def _commands(annotated: Iterable[AnnotatedFile], rephrased: Iterable[RephrasedFile]) -> Iterator[Command]:
    for file in annotated:
        for entry in file.conversations:
            yield from (one for _, turn in entry.annotated if turn.annotation for one in turn.annotation.commands)
    for other in rephrased:
        for found in other.conversations:
            yield from (one for turn in found.turns for wording in turn.rephrasings for one in wording.commands)


def _words(line: str) -> list[str]:
    """The words of a line in alphabetical order: blanks, quotes and the order of options do not matter."""
    return sorted(re.findall(r"[^\s'\"`,()]+", line))
