"""What a run and its workers say to each other: one pickled message at a time, in both directions.

    run -> worker       Start, then Job, Withdraw (a job), Given (an answer)
    worker -> run       Ready or Unready, then Wanted (an answer), Unwanted, Done

Both are the same program, and nobody else can write into what is between them.
"""

from __future__ import annotations

import pickle
import traceback
from dataclasses import dataclass, field
from typing import Any, Protocol

from rasa_ft_ext.assistant.base import Assistant
from rasa_ft_ext.errors import RasaFtError
from rasa_ft_ext.llm.base import Completion

Prompt = str | list[Any]
"""A text, or messages as in OpenAI's API."""


class Factory(Protocol):
    """Opens a worker's own assistant. It is pickled, so it holds names and paths, and is found by its module."""

    def open(self, llm: Any) -> Assistant:
        """Open it; its LLM is asked through `llm`, a `rasa_ft_ext.workers.serving.Relay`. Not within an event loop."""


@dataclass(frozen=True)
class Start:
    """The first message: where the worker finds modules, where it works, and its assistant's pickled factory."""

    sys_path: list[str]
    folder: str
    factory: bytes


@dataclass(frozen=True)
class Ready:
    """The worker has its assistant, which is the one of this fingerprint."""

    fingerprint: str


@dataclass(frozen=True)
class Unready:
    """The worker cannot open its assistant, and ends."""

    error: BaseException


@dataclass(frozen=True)
class Job:
    """A method of the assistant to call. An argument that comes again and again is a `Parcel`."""

    number: int
    method: str
    arguments: tuple[Any, ...]
    keywords: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Parcel:
    """A pickled object, unpickled once by each worker, so that to its assistant it is one and the same each time."""

    content: bytes


@dataclass(frozen=True)
class Withdraw:
    """A job is not wanted any more."""

    job: int


@dataclass(frozen=True)
class Done:
    """What a job gave, or the error that it raised."""

    job: int
    result: Any = None
    error: BaseException | None = None


@dataclass(frozen=True)
class Wanted:
    """A job waits for the LLM's answer to a prompt."""

    call: int
    prompt: Prompt
    sample: int


@dataclass(frozen=True)
class Unwanted:
    """The job does not wait for that answer any more."""

    call: int


@dataclass(frozen=True)
class Given:
    """The answer, or the error in its place."""

    call: int
    completion: Completion | None = None
    error: BaseException | None = None


def packed(message: Any) -> bytes:
    return pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)


def unpacked(content: bytes) -> Any:
    return pickle.loads(content)


def portable(error: BaseException) -> BaseException:
    """The error as it can be sent. A bug keeps the traceback of the process that it comes from."""
    told = "".join(traceback.format_exception(error))
    if not isinstance(error, RasaFtError):
        error.add_note(f"In a worker:\n{told}")
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # whatever the class of an error does when it is put together again
        return RasaFtError(str(error)) if isinstance(error, RasaFtError) else RuntimeError(told)
    return error
