"""The script of the scripted LLM: a file of answers, and how the answer to a message is found in it.

    answers:
      - user: I'd like to book a car             # a user's message
        commands: [StartFlow(book_car)]          # what to answer, in the v1 notation; may be []
        paraphrases:                             # what the rephraser answers for this message, in order
          - I need to reserve a car.             # the same meaning: gets the same commands
          - user: A car in Zürich, please        # has commands of its own
            commands: [StartFlow(book_car), SetSlot(city, Zürich)]
          - {user: Something odd, error: 500}    # asking for its commands gives this HTTP status
      - user: "Yes"
        asked: Shall I book                      # only where this is part of what the assistant said last
        commands: [SetSlot(confirm, True)]
      - user: Tell me a joke
        text: an answer that is given as it is

With `lenient: true` beside `answers`, a message that is not in the file is answered like the one that it is like: the
same with slips, or with another of the values that the file gives a slot (see `likeness`).

Messages are compared with white space collapsed and with regard to case; `asked` without regard to case. Within
`[...]` YAML cuts at every comma; the parts of one command are put together again with `, `. A value with a comma of
its own that has no blank behind it belongs in quotes or in a list of its own lines.

This module knows neither prompts nor HTTP.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, ValidationError, model_validator
from ruamel.yaml.error import YAMLError

from rasa_ft_ext.commands import Command, read
from rasa_ft_ext.conversation import Record
from rasa_ft_ext.errors import ConfigError
from rasa_ft_ext.llm.scripted.likeness import Exchange, Likeness
from rasa_ft_ext.yaml_reading import load_yaml, read_text, told

_COMMAND = re.compile(r"[A-Za-z]+\(.*\)", re.DOTALL)
_COMMAND_BEGINS = re.compile(r"[A-Za-z]+\(")


def collapse(text: str) -> str:
    """A text with every run of white space as one blank."""
    return " ".join(text.split())


def _joined(parts: Sequence[str]) -> Iterator[str]:
    """Put together what YAML cut at the commas within a command's parentheses."""
    whole = ""
    for part in parts:
        is_rest = whole.count("(") > whole.count(")") and not _COMMAND_BEGINS.match(part)
        if whole and not is_rest:
            yield whole
        whole = f"{whole}, {part}" if is_rest else part
    if whole:
        yield whole


def _read_commands(value: Any) -> Any:
    """Read a list of commands in the v1 notation; what is none is left to pydantic to complain about."""
    if not isinstance(value, list) or not all(isinstance(part, str) for part in value):
        return value
    commands: list[Command] = []
    for line in _joined(value):
        found = read(line, "v1") if _COMMAND.fullmatch(line.strip()) else ()
        if len(found) != 1:
            raise ValueError(f"'{line}' is not one command in the notation of v1, such as SetSlot(city, Basel)")
        commands += found
    return commands


class Answer(Record):
    """What is answered to one message: its commands, a text, or an error. A paraphrase may have none of them."""

    user: str = Field(min_length=1)
    asked: str | None = Field(default=None, min_length=1)
    commands: Annotated[tuple[Command, ...] | None, BeforeValidator(_read_commands)] = None
    text: str | None = None
    error: int | None = Field(default=None, ge=400, le=599)

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        return {"user": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _says_one_thing(self) -> Self:
        if sum(said is not None for said in self.said) > 1:
            raise ValueError("it can have only one of 'commands', 'text' and 'error'")
        if self.asked is not None and self.is_alias:
            raise ValueError("'asked' needs 'commands', 'text' or 'error' beside it")
        return self

    @property
    def said(self) -> tuple[tuple[Command, ...] | None, str | None, int | None]:
        """The answer proper: two answers with the same one do not contradict each other."""
        return self.commands, self.text, self.error

    @property
    def is_alias(self) -> bool:
        """True where the message is only another wording and has no answer of its own."""
        return self.said == (None, None, None)


class Entry(Answer):
    """One message of the script with its paraphrases."""

    paraphrases: tuple[Answer, ...] = ()

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.said == (None, None, None):
            raise ValueError("it needs one of 'commands', 'text' and 'error'")
        return self


class AnswersFile(Record):
    """The whole file."""

    answers: tuple[Entry, ...]
    lenient: bool = False


class Script:
    """The answers of one file, to be looked up.

    `name` is what the file is called in messages to a person.
    """

    def __init__(self, content: AnswersFile, name: str = "answers.yml", lines: Sequence[int] = ()) -> None:
        """Put the answers in order.

        Args:
            content: The answers.
            name: The file's name.
            lines: The line that each entry begins on, where known.

        Raises:
            ConfigError: a message has two answers in the same situation.
        """
        self.name = name
        self._answers: dict[str, dict[str | None, Answer]] = {}  # message -> asked -> answer
        self._paraphrases: dict[str, dict[str, None]] = {}  # message -> paraphrases, each once, in order
        self._originals: dict[str, dict[str, None]] = {}  # paraphrase -> messages it is another wording of
        problems: list[str] = []
        for index, entry in enumerate(content.answers):
            where = f"line {lines[index]}: " if index < len(lines) else f"answer {index + 1}: "
            problems += [where + problem for problem in self._add(entry)]
        problems += self._ambiguous()
        if problems:
            raise ConfigError(name, problems)
        self._likeness = Likeness(self._labels()) if content.lenient else None

    @classmethod
    def load(cls, path: Path) -> Script:
        """Read a file of answers.

        Raises:
            ConfigError: the file is missing or cannot work; all problems at once, with their lines.
        """
        try:
            raw = load_yaml(read_text(path), typ="rt")
        except YAMLError as error:
            raise ConfigError(str(path), [f"This is not YAML: {told(error)}"]) from error
        try:
            content = AnswersFile.model_validate(raw)
        except ValidationError as error:
            raise ConfigError(str(path), [_problem(raw, found) for found in error.errors()]) from error
        return cls(content, str(path), [_line(raw, ("answers", index)) for index in range(len(content.answers))])

    @classmethod
    def of(cls, *answers: dict[str, Any]) -> Script:
        """A script made of entries as the file has them."""
        return cls(AnswersFile.model_validate({"answers": answers}))

    def find(self, message: str, said: str = "") -> Answer | None:
        """Find the answer to a message.

        The answer with the longest fitting `asked` is taken, then one without; among equals the message's own comes
        before those of the messages that it paraphrases. A lenient script answers what it does not hold like what it is
        like.

        Args:
            message: The user's message, or a paraphrase of one.
            said: What the assistant said last.
        """
        said = collapse(said).casefold()
        message = collapse(message)
        found = list(self._fitting(message, said))
        if found or self._likeness is None:
            return max(found, key=lambda candidate: candidate[0])[1] if found else None
        return _clearest(
            candidate for like, exchange in self._likeness.of(message) for candidate in self._like(like, exchange, said)
        )

    def _fitting(self, message: str, said: str) -> Iterator[tuple[int, Answer]]:
        """The answers to a message in this situation, each with the length of its `asked`."""
        for wording in (message, *self._originals.get(message, ())):
            for asked, answer in self._answers.get(wording, {}).items():
                if asked is None or asked in said:
                    yield len(asked or ""), answer

    def _like(self, message: str, exchange: Exchange | None, said: str) -> Iterator[tuple[int, Answer]]:
        """The same of a message that another one is like, with that one's value."""
        for length, answer in self._fitting(message, said):
            if exchange is None:
                yield length, answer
            elif answer.commands is not None and exchange.applied(answer.commands) != answer.commands:
                yield length, answer.model_copy(update={"commands": exchange.applied(answer.commands)})

    def _labels(self) -> dict[str, list[tuple[Command, ...]]]:
        """What each message and paraphrase may be answered with."""
        return {
            wording: [
                answer.commands
                for own in (wording, *self._originals.get(wording, ()))
                for answer in self._answers.get(own, {}).values()
                if answer.commands is not None
            ]
            for wording in (*self._answers, *self._originals)
        }

    def paraphrases(self, message: str) -> tuple[str, ...]:
        """The paraphrases of a message, over all the situations it has answers for; none for an unknown one."""
        return tuple(self._paraphrases.get(collapse(message), ()))

    def _add(self, entry: Entry) -> Iterator[str]:
        message = collapse(entry.user)
        yield from self._put(entry)
        for paraphrase in entry.paraphrases:
            wording = collapse(paraphrase.user)
            self._paraphrases.setdefault(message, {})[wording] = None
            if not paraphrase.is_alias:
                yield from self._put(paraphrase)
            elif wording != message:
                self._originals.setdefault(wording, {})[message] = None

    def _put(self, answer: Answer) -> Iterator[str]:
        message, asked = collapse(answer.user), collapse(answer.asked).casefold() if answer.asked else None
        before = self._answers.setdefault(message, {}).setdefault(asked, answer)
        if before.said != answer.said:
            situation = f" where the assistant asked '{answer.asked}'" if answer.asked else ""
            yield f"'{message}' has another answer already{situation}. Tell the two apart by 'asked', or drop one."

    def _ambiguous(self) -> Iterator[str]:
        """Paraphrases that stand for messages with different answers in the same situation."""
        for wording, originals in self._originals.items():
            first: dict[str | None, str] = {}
            own = self._answers.get(wording, {})
            for original in originals:
                for asked, answer in self._answers[original].items():
                    other = first.setdefault(asked, original)
                    if asked not in own and self._answers[other][asked].said != answer.said:
                        yield (
                            f"'{wording}' paraphrases both '{other}' and '{original}', whose answers differ. "
                            "Give it commands of its own, or tell the two apart by 'asked'."
                        )


def _clearest(candidates: Iterable[tuple[int, Answer]]) -> Answer | None:
    """The answer with the longest `asked`; None where several of them differ: nothing is guessed."""
    found = list(candidates)
    longest = max((length for length, _ in found), default=0)
    best = [answer for length, answer in found if length == longest]
    return best[0] if best and all(answer.said == best[0].said for answer in best) else None


def _problem(raw: Any, found: Any) -> str:
    """One of pydantic's findings as a sentence with its line."""
    path = found["loc"]
    name = ".".join(str(part) for part in path) or "the file"
    message = str(found["msg"]).removeprefix("Value error, ")
    if found["type"] == "string_type":
        message = "this must be a text; put it in quotes"
    return f"line {_line(raw, path)}: {name}: {message}"


def _line(raw: Any, path: Sequence[str | int]) -> int:
    """The line on which the value at `path` begins, as far as the path leads to something."""
    line = 1
    for part in path:
        try:
            position = raw.lc.key(part) if hasattr(raw, "keys") else raw.lc.item(part)
            raw, line = raw[part], position[0] + 1
        except (AttributeError, KeyError, IndexError, TypeError):
            break
    return line
