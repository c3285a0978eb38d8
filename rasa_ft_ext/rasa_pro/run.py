"""One run of one conversation: what is going on in it, kept apart from all others by a context variable.

Rasa handles many conversations at once in one process, each in an asyncio task of its own. Whatever must be known of
the current one deep inside Rasa (its sender id, its stubs, which turn it is at) stands in `current()`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from rasa_ft_ext.conversation import Usage
from rasa_ft_ext.llm.base import LLM


@dataclass
class Call:
    """One time the command generator was asked: filled in while it works.

    `variables` are the template's variables, `blanked` the same with every user message replaced by its placeholder.
    `commands` are Rasa's command objects as parsed from the answer; `kept` are those that the command processor
    left over, None as long as it has not run.
    """

    prompt: str = ""
    template: str = ""
    variables: dict[str, Any] = field(default_factory=dict)
    blanked: dict[str, Any] | None = None
    answer: str = ""
    model: str = ""
    usage: Usage = field(default_factory=Usage)
    latency: float = 0.0
    error: Exception | None = None
    commands: list[Any] = field(default_factory=list)
    kept: list[Any] | None = None


@dataclass
class RunTurn:
    """One message sent to the assistant, and the call that it led to, if any."""

    text: str
    call: Call | None = None


@dataclass
class Run:
    """What is known of one conversation while it runs.

    `name` is the same each time the conversation runs, `sender_id` never is.
    `stubs` stand in for its custom actions, `settings` is what Rasa notes of it in the action endpoint.
    `forced` are the texts that stand in for the LLM's answers, by turn (None: ask the LLM); `times` the points in time
    that the prompts of the turns are to show. `is_over` says that no further turn is wanted; it is asked before each.
    `llm` answers in the place of the assistant's own LLM, and `template` stands in for its prompt template. `known` are
    calls of another run: where one has the same prompt, its answer is taken and nobody is asked. `sample` tells apart
    several answers to the same prompt. `judged` says that the answers are what is looked at, so that each is taken as
    it comes, be it readable or not. `stopped` says that the task was cancelled, which Rasa's test runner does not tell;
    `failure` is what went wrong where answers are kept or counted, of which Rasa would make a failed test.
    """

    sender_id: str
    name: str = ""
    stubs: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    turns: list[RunTurn] = field(default_factory=list)
    blanking: bool = True
    forced: Sequence[str | None] | None = None
    times: Sequence[Any] | None = None
    is_over: Callable[[], bool] = lambda: False
    llm: LLM | None = None
    template: str | None = None
    known: Mapping[str, Call] = field(default_factory=dict)
    sample: int = 0
    judged: bool = False
    stopped: bool = False
    failure: Exception | None = None

    @property
    def call(self) -> Call | None:
        return self.turns[-1].call if self.turns else None


_RUN: ContextVar[Run | None] = ContextVar("rasa_ft_ext_run", default=None)


def current() -> Run | None:
    """The run that the calling task belongs to; None outside of any."""
    return _RUN.get()


@contextmanager
def running(run: Run) -> Iterator[Run]:
    """Make `run` the current one."""
    token = _RUN.set(run)
    try:
        yield run
    finally:
        _RUN.reset(token)
