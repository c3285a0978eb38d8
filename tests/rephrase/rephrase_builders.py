"""Small annotated workspaces, a fake rephraser and a fake assistant."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rasa_ft_ext import commands as language
from rasa_ft_ext.assistant.base import Answer, Assistant
from rasa_ft_ext.commands import Command
from rasa_ft_ext.conversation import AnnotatedFile, Annotation, AssistantCard, Conversation, TestFile, Turn
from rasa_ft_ext.llm.base import LLM, Completion, Readable
from rasa_ft_ext.llm.scripted.prompts import ForRephrasings, understand
from rasa_ft_ext.prompts import placeholder
from rasa_ft_ext.workspace import ANNOTATIONS, ASSISTANT_CARD, Workspace, record_path, write_record

TEMPLATE = 'Actions: set slot, start flow\n{{ conversation }}\nThe user said """{{ message }}""".'
CARD = AssistantCard(
    rasa_version="3.21.0",
    model="gpt",
    generator="CompactLLMCommandGenerator",
    syntax="v2",
    llm={"provider": "openai", "model": "gpt"},
    flows={"car": "rent a car", "hotel": "book a hotel"},
    templates={"t": TEMPLATE},
)

Dialog = Sequence[tuple[str, str | None, str]]
"""What the user says, the commands (None: not annotated), and what the assistant says."""

CAR_DIALOG: Dialog = [
    ("I'd like to book a car", "start flow car", "in which city?"),
    ("to Basel", "set slot city Basel", "booked"),
]


def conversation(file: str, name: str, dialog: Dialog, **turn: Any) -> Conversation:
    turns, steps, events, said = [], [], [], ""
    for index, (message, answer, reply) in enumerate(dialog):
        said += f"USER: {placeholder(index)}\n"
        annotation = answer is not None and Annotation(
            generator="CompactLLMCommandGenerator",
            syntax="v2",
            prompt="",
            template="t",
            variables={"conversation": said, "message": placeholder(index)},
            renders=True,
            answer=answer,
            commands=language.read(answer, "v2"),
        )
        turns.append(
            Turn(step=len(steps), message=message, events_before=len(events), annotation=annotation or None, **turn)
        )
        steps += [{"user": message}, {"bot": reply}]
        events += [{"event": "user", "text": message}, {"event": "bot", "text": reply}]
        said += f"AI: {reply}\n"
    return Conversation(
        id=f"{file}::{name}",
        file=file,
        name=name,
        test_case={"test_case": name, "steps": steps},
        turns=tuple(turns),
        events=tuple(events),
    )


def annotated(root: Path, *conversations: Conversation, force: bool = False) -> Workspace:
    workspace = Workspace(root, force=force)
    by_file: dict[str, list[Conversation]] = {}
    for entry in conversations:
        by_file.setdefault(entry.file, []).append(entry)
    with workspace.writing(ANNOTATIONS, {}) as folder:
        for file, entries in by_file.items():
            record = AnnotatedFile(source=TestFile(file=file), conversations=tuple(entries))
            write_record(record_path(folder, file), record)
        write_record(folder / ASSISTANT_CARD, CARD)
    return workspace


def listed(wordings: Mapping[str, Sequence[str]]) -> str:
    """An answer in the form that the rephraser is asked for."""
    return "\n".join(
        f"USER: {message}\n" + "".join(f"{number}. {text}\n" for number, text in enumerate(texts, start=1))
        for message, texts in wordings.items()
    )


class FakeRephraser(LLM):
    """Answers with `message A`, `message B`, ..., or with what `reply` makes of the prompt."""

    def __init__(self, reply: Callable[[str], str] | None = None, name: str = "fake") -> None:
        self.prompts: list[str] = []
        self._reply = reply or numbered_copies
        self._name = name

    @property
    def settings(self) -> dict[str, Any]:
        return {"model": self._name}

    async def complete(self, prompt: str, *, sample: int = 0, readable: Readable | None = None) -> Completion:
        self.prompts.append(prompt)
        await asyncio.sleep(0)
        return Completion(self._reply(prompt))


def numbered_copies(prompt: str) -> str:
    wanted = understand(prompt)
    assert isinstance(wanted, ForRephrasings)
    return listed({message: [f"{message} {chr(65 + i)}" for i in range(wanted.count)] for message in wanted.messages})


class FakeAssistant(Assistant):
    """Gives the original's commands, or what `reply` says to a message; calls do not come back in order."""

    def __init__(self, reply: Callable[[str], str | None] = lambda message: None) -> None:
        self.asked: list[tuple[str, int, str]] = []
        self.at_once = 0
        self.most_at_once = 0
        self._reply = reply

    @property
    def card(self) -> AssistantCard:
        return CARD

    async def ask(self, conversation: Conversation, turn: int, message: str, *, sample: int = 0) -> Answer:
        self.asked.append((conversation.id, turn, message))
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            for _ in range(1 + len(self.asked) * 3 % 7):
                await asyncio.sleep(0)
            annotation = conversation.turns[turn].annotation
            assert annotation is not None
            text = self._reply(message)
            text = annotation.answer if text is None else text
            return Answer("prompt", text, self.read(text))
        finally:
            self.at_once -= 1

    def read(self, completion: str) -> tuple[Command, ...]:
        return language.read(completion, "v2", self.card.flows)
