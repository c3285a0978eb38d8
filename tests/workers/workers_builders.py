"""Assistants for workers: that of the shipped recording, and some that misbehave."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rasa_ft_ext.assistant.base import Answer
from rasa_ft_ext.assistant.recorded import Recorded, RecordedAssistant
from rasa_ft_ext.conversation import AssistantCard, Conversation
from rasa_ft_ext.errors import ConfigError
from rasa_ft_ext.llm.base import LLM, Completion, Readable
from rasa_ft_ext.llm.request import Request
from rasa_ft_ext.workers.assistant import WorkersAssistant, open_workers
from rasa_ft_ext.workers.links import ProcessLink
from rasa_ft_ext.workspace import read_annotations, read_card

RECORDED = Path(__file__).parents[2] / "assistant_example" / "annotations"
CARD = read_card(RECORDED)


def some_conversations(number: int) -> list[Conversation]:
    found = (conversation for file in read_annotations(RECORDED) for conversation in file.conversations)
    return [conversation for conversation, _ in zip(found, range(number), strict=False)]


def questions(conversations: Sequence[Conversation]) -> Iterator[tuple[Conversation, int, str]]:
    """Every annotated message, with what it is asked as."""
    for conversation in conversations:
        for turn, _ in conversation.annotated:
            yield conversation, turn, f"{conversation.turns[turn].message}, please"


class Echo(LLM):
    """Answers each prompt with a command that tells it apart from all others."""

    def __init__(self) -> None:
        self.prompts: list[str] = []

    @property
    def settings(self) -> dict[str, Any]:
        return {}

    async def complete(self, prompt: str, *, sample: int = 0, readable: Readable | None = None) -> Completion:
        self.prompts.append(prompt)
        return Completion(f"set slot sample_{sample} {hash(prompt)}")


class Misbehaving(RecordedAssistant):
    """An assistant with other manners: what its `ask` does is told by the message."""

    async def ask(self, conversation: Conversation, turn: int, message: str, *, sample: int = 0) -> Answer:
        if message == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if message == "break":
            raise ZeroDivisionError("a bug of ours")
        if message == "block":
            block()
        if message == "as Rasa":  # its call goes past `complete`
            said: Completion = await self._llm.ask(Request({}, ({"role": "user", "content": "hi"},), sample), None)  # type: ignore[union-attr]
            return Answer("hi", said.text, ())
        return await super().ask(conversation, turn, message, sample=sample)


def block() -> None:
    """Be busy with something that lets nothing else run."""
    print("blocked", file=sys.stderr, flush=True)
    time.sleep(600)


@dataclass(frozen=True)
class Misbehaves:
    card: AssistantCard

    def open(self, llm: Any) -> Misbehaving:
        return Misbehaving(self.card, llm)


@dataclass(frozen=True)
class CannotOpen:
    def open(self, llm: Any) -> RecordedAssistant:
        raise ConfigError("endpoints.yml", ["`api_base` is missing", "`model` is missing"])


@contextmanager
def workers(number: int, llm: LLM, factory: Any = None) -> Iterator[WorkersAssistant]:
    """Open workers on this machine; they are gone at the end, at the latest."""
    assistant = open_workers(factory or Recorded(CARD), number, inner=lambda: RecordedAssistant(CARD, llm))
    try:
        yield assistant
    finally:
        for worker in assistant._workers:
            worker.link.close()


def pids(assistant: WorkersAssistant) -> list[int]:
    return [worker.link.pid for worker in assistant._workers if isinstance(worker.link, ProcessLink)]


def is_alive(pid: int) -> bool:
    """Whether there is such a process; one that nobody has waited for counts as well."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
