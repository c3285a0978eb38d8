"""Small records for tests: say what matters for a test, the rest is a car booking.

    conversation(said("I'd like to book a car", "StartFlow(book_car)"), said("to Basel", "SetSlot(city, Basel)"))

Commands are given in the v1 notation, one a line. The prompt of a turn is `TEMPLATE`, rendered with what was said up to
it; a conversation's steps and events go user, bot, user, bot and so on, and its test case starts with a step of another
kind, so that a turn's index, step and event are three different numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rasa_ft_ext import commands as language
from rasa_ft_ext.assistant import Answer, Assistant, Simulation
from rasa_ft_ext.commands import Command, Syntax
from rasa_ft_ext.conversation import (
    AnnotatedFile,
    Annotation,
    AssistantCard,
    Conversation,
    FailedTest,
    RephrasedConversation,
    RephrasedFile,
    RephrasedTurn,
    Rephrasing,
    TestFile,
    Turn,
)
from rasa_ft_ext.prompts import one_line, placeholder, render, template_id
from rasa_ft_ext.workspace import (
    ANNOTATIONS,
    ASSISTANT_CARD,
    REPHRASINGS,
    Workspace,
    record_path,
    write_record,
)

FILE = "cars.yml"
TEMPLATE = "{{ history }}\nThe user says: {{ message }}"
FLOWS = {"book_car": "Book a car", "book_hotel": "Book a hotel"}


def commands(text: str) -> tuple[Command, ...]:
    """Commands from their v1 notation, one a line."""
    return language.read(text, "v1")


def prompt(*messages: str) -> str:
    """The prompt for the last of these messages, as `TEMPLATE` gives it."""
    said = [one_line(message) for message in messages]
    return "\n".join(f"USER: {message}" for message in said) + f"\nThe user says: {said[-1]}"


def annotation(says: str, messages: Sequence[str], *, renders: bool = True, syntax: Syntax = "v1") -> Annotation:
    """What the command generator did with the last of `messages`; one that does not render has a clock in it."""
    last = len(messages) - 1
    variables: dict[str, Any] = {
        "history": "\n".join(f"USER: {placeholder(index)}" for index in range(len(messages))),
        "message": placeholder(last),
    }
    said = render(TEMPLATE, variables, messages)
    return Annotation(
        generator="CompactLLMCommandGenerator",
        syntax=syntax,
        prompt=said if renders else f"It is 13:45.\n{said}",
        template=template_id(TEMPLATE),
        variables=variables,
        renders=renders,
        answer=language.write(commands(says), syntax),
        commands=commands(says),
        model="teacher",
    )


@dataclass(frozen=True)
class Said:
    """One user message of a conversation to be built; `says` is None where the LLM was not asked."""

    message: str
    says: str | None = None
    bot: str = "OK."
    renders: bool = True
    echoed: bool = False
    typed: bool = True
    dropped: str = ""
    unannotated: str = "answered without the LLM"


def said(message: str, says: str | None = None, **more: Any) -> Said:
    return Said(message, says, **more)


def turn(entry: Said, messages: Sequence[str], syntax: Syntax = "v1") -> Turn:
    """The turn of the last of `messages`."""
    index = len(messages) - 1
    annotated = None
    if entry.says is not None:
        annotated = annotation(entry.says, messages, renders=entry.renders, syntax=syntax)
        annotated = annotated.model_copy(update={"dropped": commands(entry.dropped)})
    return Turn(
        step=1 + 2 * index,
        message=entry.message,
        events_before=2 + 2 * index,
        annotation=annotated,
        unannotated=entry.unannotated if annotated is None else None,
        typed=entry.typed,
        echoed=entry.echoed,
    )


def conversation(
    *entries: Said, name: str = "books a car", file: str = FILE, bot_steps: bool = True, syntax: Syntax = "v1"
) -> Conversation:
    """A passing test; without `bot_steps` its user steps have assertions instead."""
    entries = entries or (said("I'd like to book a car", "StartFlow(book_car)"),)
    messages = [entry.message for entry in entries]
    steps: list[dict[str, Any]] = [{"slot_was_not_set": ["city"]}]
    events: list[dict[str, Any]] = [{"event": "action", "name": "action_session_start"}, {"event": "session_started"}]
    for entry in entries:
        steps += [{"user": entry.message}, {"bot": entry.bot}]
        events += [{"event": "user", "text": entry.message}, {"event": "bot", "text": entry.bot}]
    if not bot_steps:
        steps = [{**step, "assertions": [{"flow_started": "book_car"}]} for step in steps if "user" in step]
    turns = [turn(entry, messages[: index + 1], syntax) for index, entry in enumerate(entries)]
    if not bot_steps:
        turns = [entry.model_copy(update={"step": index}) for index, entry in enumerate(turns)]
    return Conversation(
        id=f"{file}::{name}",
        file=file,
        name=name,
        test_case={"test_case": name, "steps": steps},
        turns=tuple(turns),
        events=tuple(events),
    )


def failed(reason: str, *, name: str = "books a car", file: str = FILE) -> FailedTest:
    return FailedTest(id=f"{file}::{name}", reason=reason)


def annotated_file(
    *conversations: Conversation, file: str | None = None, failed: Sequence[FailedTest] = ()
) -> AnnotatedFile:
    name = file or (conversations[0].file if conversations else FILE)
    return AnnotatedFile(source=TestFile(file=name), conversations=conversations, failed=tuple(failed))


def assistant_card(**changes: Any) -> AssistantCard:
    card = AssistantCard(
        rasa_version="3.21.0",
        model="model.tar.gz",
        generator="CompactLLMCommandGenerator",
        syntax="v1",
        llm={"model": "teacher", "provider": "openai"},
        flows=FLOWS,
        slots=("city",),
        templates={template_id(TEMPLATE): TEMPLATE},
    )
    return card.model_copy(update=changes)


def rephrasing(text: str, says: str, *, passed: bool = True, differs: bool = False) -> Rephrasing:
    """A rephrasing that is labelled with what the LLM said to it."""
    return Rephrasing(
        text=text,
        passed=passed,
        commands=commands(says),
        label=commands(says),
        differs=differs,
        answer=says,
        reason=None if passed else "no command could be read",
    )


def rephrased(source: Conversation, found: Mapping[int, Sequence[Rephrasing]]) -> RephrasedConversation:
    """What `rephrase` found for the turns with these indices."""
    return RephrasedConversation(
        id=source.id,
        turns=tuple(
            RephrasedTurn(turn=index, message=source.turns[index].message, rephrasings=tuple(rephrasings))
            for index, rephrasings in found.items()
        ),
    )


@dataclass(frozen=True)
class Simulated:
    """What a `FakeAssistant` was asked to run."""

    source: TestFile
    conversation: str
    messages: tuple[str, ...]
    labels: tuple[tuple[Command, ...] | None, ...]
    template: str | None = None


class FakeAssistant(Assistant):
    """Runs conversations again by looking up what a test gives; without anything given it cannot simulate.

    Args:
        simulation: What running a conversation gives, or a function of the conversation and its messages.
        card: What it says of itself.
        reads: Reads completions; by default in the card's syntax.
    """

    def __init__(
        self,
        simulation: Simulation | Callable[[Conversation, Sequence[str]], Simulation] | None = None,
        *,
        card: AssistantCard | None = None,
        reads: Callable[[str], tuple[Command, ...]] | None = None,
    ) -> None:
        self.can_simulate = simulation is not None
        self.simulated: list[Simulated] = []
        self._simulation = simulation
        self._card = card or assistant_card()
        self._reads = reads

    @property
    def card(self) -> AssistantCard:
        return self._card

    async def ask(self, conversation: Conversation, turn: int, message: str, *, sample: int = 0) -> Answer:
        raise AssertionError("nothing is to be asked here")

    async def simulate(
        self,
        source: TestFile,
        conversation: Conversation,
        messages: Sequence[str],
        labels: Sequence[tuple[Command, ...] | None],
        start: int = 0,
        template: str | None = None,
    ) -> Simulation:
        assert self._simulation is not None, "this assistant cannot run a conversation again"
        self.simulated.append(Simulated(source, conversation.id, tuple(messages), tuple(labels), template))
        return (
            self._simulation if isinstance(self._simulation, Simulation) else self._simulation(conversation, messages)
        )

    def read(self, completion: str) -> tuple[Command, ...]:
        return self._reads(completion) if self._reads else language.read(completion, self.card.syntax)


def annotated_workspace(root: Path, *files: AnnotatedFile, card: AssistantCard | None = None) -> Workspace:
    """An output folder in which `annotate` is done."""
    workspace = Workspace(root)
    with workspace.writing(ANNOTATIONS, {"tests": "a"}) as folder:
        for file in files:
            write_record(record_path(folder, file.source.file), file)
        write_record(folder / ASSISTANT_CARD, card or assistant_card())
    return workspace


def rephrased_workspace(root: Path, files: Sequence[AnnotatedFile], *found: RephrasedConversation) -> Workspace:
    """An output folder in which `annotate` and `rephrase` are done."""
    workspace = annotated_workspace(root, *files)
    by_id = {entry.id: entry for entry in found}
    with workspace.writing(REPHRASINGS, {"seed": 1}) as folder:
        for file in files:
            own = tuple(by_id[entry.id] for entry in file.conversations if entry.id in by_id)
            record = RephrasedFile(file=file.source.file, conversations=own)
            write_record(record_path(folder, file.source.file), record)
    return workspace


def contents(folder: Path, *, without: Sequence[str] = ()) -> dict[str, bytes]:
    """Every file under a folder, by its path in it."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in without
    }
