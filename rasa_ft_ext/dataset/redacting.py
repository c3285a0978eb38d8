"""Mask what is personal in the examples of one conversation: the same value is the same placeholder in all of them.

    found = redact(examples, public=[template, ...], read=assistant.read)
    found.examples      # "my number is PHONE_1"  ->  SetSlot(phone, PHONE_1)

What counts as personal is the business of `rasa_ft_ext.redaction`. It is looked for in all that an example holds: the
messages, the whole prompt with what the assistant said and what its slots hold, and the label. A value that was found
once is masked wherever it stands in the conversation, also where it would not be known for one by itself. What the
assistant brings into every prompt, such as the number of its hotline, stays: it is nobody's, and a model sees it again.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from rasa_ft_ext import commands as language
from rasa_ft_ext.commands import Command
from rasa_ft_ext.conversation import Example
from rasa_ft_ext.redaction import PLACEHOLDER, REGIONS, find, one_phone

_FEWEST_DIGITS = 6  # from here on, a label's value with the digits of a masked one is that one, written otherwise


@dataclass(frozen=True)
class Redacted:
    """The examples with placeholders.

    `masked` counts the different values of each kind; `lost` names the labels of which no example is made: they have a
    part of a masked value, which nobody could know from the prompt any more, or cannot be read back.
    """

    examples: list[Example] = field(default_factory=list)
    masked: dict[str, int] = field(default_factory=dict)
    lost: list[str] = field(default_factory=list)


def redact(
    examples: Sequence[Example],
    *,
    public: Iterable[str] = (),
    read: Callable[[str], tuple[Command, ...]],
    regions: Sequence[str] = REGIONS,
) -> Redacted:
    """Mask the examples of one conversation, its recombinations included.

    Args:
        examples: All of them, in their order.
        public: Texts of the assistant's own; the values in them are not masked.
        read: Reads a completion as the assistant does: a label must survive being written and read again.
        regions: The countries whose phone numbers are known without a country code.
    """
    mask = _Mask(examples, public, tuple(regions))
    found = Redacted(masked=mask.counts)
    for example in examples:
        masked = mask.example(example)
        if masked.commands != example.commands and read(masked.completion) != masked.commands:
            found.lost.append(f"{example.test}: {masked.completion!r} cannot be read back")
        elif broken := _no_more_to_be_seen(example, masked):
            found.lost.append(f"{example.test}: {broken}, which is a part of what was masked")
        else:
            found.examples.append(masked)
    return found


class _Mask:
    """The placeholders of one conversation."""

    def __init__(self, examples: Sequence[Example], public: Iterable[str], regions: tuple[str, ...]) -> None:
        kept = {value for text in public for _, value in _found_in(text, regions)}
        self.counts: dict[str, int] = {}
        self._taken = {match[0] for example in examples for match in PLACEHOLDER.finditer(example.prompt)}
        self._names: dict[tuple[str, str], str] = {}
        self._surfaces: dict[str, str] = {}  # each way of writing with its placeholder
        for text in _texts(examples):
            for surface, value in _found_in(text, regions):
                if value not in kept:
                    self._surfaces.setdefault(surface, self._name(value))
        longest_first = sorted(self._surfaces, key=lambda surface: (-len(surface), surface))
        parts = "|".join(map(re.escape, longest_first))
        self._pattern = re.compile(rf"(?<![A-Za-z0-9_])(?:{parts})(?![A-Za-z0-9_])") if parts else None
        digits = ((_digits(surface), name) for surface, name in self._surfaces.items())
        self._by_digits = {number: name for number, name in digits if len(number) >= _FEWEST_DIGITS}

    def text(self, text: str) -> str:
        if self._pattern is None:
            return text
        return self._pattern.sub(lambda match: self._surfaces[match[0]], text)

    def example(self, example: Example) -> Example:
        commands = tuple(map(self._command, example.commands))
        return example.model_copy(
            update={
                "message": self.text(example.message),
                "original_message": self.text(example.original_message),
                "prompt": self.text(example.prompt),
                "commands": commands,
                "completion": language.write(commands, example.syntax),
            }
        )

    def _command(self, command: Command) -> Command:
        if command.text is not None:
            return command.model_copy(update={"text": self.text(command.text)})
        if command.type != "SetSlot" or command.args[1] is None:
            return command
        slot, value = command.args[0], command.args[1]
        masked = self.text(value)
        if masked == value and not any(letter.isalpha() for letter in value):
            masked = self._by_digits.get(_digits(value), value)
        return command.model_copy(update={"args": (slot, masked)})

    def _name(self, value: tuple[str, str]) -> str:
        if value not in self._names and (known := self._same_phone(value)):
            self._names[value] = known
        if value not in self._names:
            kind, number = value[0], 1
            while f"{kind}_{number}" in self._taken:
                number += 1
            self._names[value] = f"{kind}_{number}"
            self._taken.add(self._names[value])
            self.counts[kind] = self.counts.get(kind, 0) + 1
        return self._names[value]

    def _same_phone(self, value: tuple[str, str]) -> str | None:
        """The name of a number that is there already with another country: it was written once, and guessed once."""
        phones = ((known, name) for (kind, known), name in self._names.items() if kind == value[0] == "PHONE")
        return next((name for known, name in phones if one_phone(known, value[1])), None)


def _texts(examples: Sequence[Example]) -> Iterator[str]:
    """All that is looked through, what was said first: the placeholders are numbered in this order."""
    for example in sorted(examples, key=lambda example: (example.turn, example.variant)):
        yield from (example.original_message, example.message)
    for example in examples:
        yield from (str(arg) for command in example.commands for arg in command.args if arg)
        yield from (command.text for command in example.commands if command.text)
        yield example.prompt


def _found_in(text: str, regions: tuple[str, ...]) -> Iterator[tuple[str, tuple[str, str]]]:
    """The values of a text: as they are written there, and as what."""
    for line in text.splitlines():
        yield from _in_line(line, regions)


@lru_cache(maxsize=4_096)  # most lines of a prompt are those of all others
def _in_line(line: str, regions: tuple[str, ...]) -> tuple[tuple[str, tuple[str, str]], ...]:
    return tuple((line[found.start : found.end], (found.kind, found.value)) for found in find(line, regions))


def _no_more_to_be_seen(example: Example, masked: Example) -> Command | None:
    """A command whose value could be read in the prompt, and in the masked one cannot."""
    for before, command in zip(example.commands, masked.commands, strict=True):
        value = command.args[1] if command.type == "SetSlot" else None
        if value and before == command:
            wanted = value.casefold()
            if wanted in example.prompt.casefold() and wanted not in masked.prompt.casefold():
                return command
    return None


def _digits(text: str) -> str:
    return "".join(letter for letter in text if letter.isdigit())
