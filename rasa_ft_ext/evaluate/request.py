"""What `evaluate` is asked to do: which model, which parts, by which thresholds, with what at hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rasa_ft_ext.conversation import AssistantCard
from rasa_ft_ext.errors import ConfigError
from rasa_ft_ext.evaluate.commands import Prices
from rasa_ft_ext.evaluate.conversations import TestPlayer
from rasa_ft_ext.evaluate.served import Served
from rasa_ft_ext.evaluate.verdict import PARTS
from rasa_ft_ext.evaluation import Part, Side, Thresholds
from rasa_ft_ext.finetuned import read_manifest
from rasa_ft_ext.llm.base import LLM
from rasa_ft_ext.llm.secrets import collect_secrets
from rasa_ft_ext.llm.settings import SELF_HOSTED, LLMSettings, resolve
from rasa_ft_ext.model_server.base import ModelServer
from rasa_ft_ext.rows import TRAIN_ROWS, VALIDATION_ROWS, read_rows
from rasa_ft_ext.workspace import SPLIT, Workspace

_FEWEST_TOKENS, _MOST_TOKENS = 64, 256
_BYTES_A_TOKEN = 2  # fewer than any tokenizer has in commands
_TIMEOUT = 120.0


@dataclass(frozen=True)
class Conversations:
    """What is needed to run the E2E tests: the assistant, and the tests of each side."""

    assistant: TestPlayer[Any]
    tests: Mapping[Side, Sequence[Any]]
    card: AssistantCard | None = None
    """What the assistant is, to compare with what was recorded of it; None where that is not known."""


@dataclass(frozen=True)
class Request:
    """What is evaluated, and how."""

    served: Served
    """The model, as its server is asked."""
    llm: LLM
    """The same model through the seam, with the settings that an assistant would call it with."""
    parts: tuple[Part, ...] = PARTS
    """What is measured; the other parts are left out on purpose."""
    thresholds: Thresholds = field(default_factory=Thresholds)
    """What the verdict asks for."""
    model_folder: Path | None = None
    """The folder of the training that the served model comes from."""
    conversations: Conversations | str = "there is no assistant"
    """How E2E tests are run, or why they cannot be."""
    reference: Callable[[], ModelServer] | str = "there is no model folder"
    """What serves the model folder for comparison, or why nothing does."""
    against_teacher: bool = False
    """Whether the E2E tests are run with the teacher as well, and compared."""
    repeats: int = 1
    """How often each E2E test is run with each model."""
    concurrency: int = 16
    """How many calls and E2E tests are under way at a time."""
    max_tokens: int = _MOST_TOKENS
    """Most tokens of an answer."""
    price: Prices = (0.0, 0.0)
    """What 1,000 tokens cost, of prompts and of answers."""

    def check(self) -> None:
        """Refuse what cannot work.

        Raises:
            ConfigError: names all of it.
        """
        shares = {name: value for name, value in self.thresholds if value is not None}
        counts = {"repeats": self.repeats, "concurrency": self.concurrency}
        problems = [
            *(f"{name} is {value:g}; it must be from 0 to 1." for name, value in shares.items() if not 0 <= value <= 1),
            *(f"{name} is {value}; it must be 1 or more." for name, value in counts.items() if value < 1),
        ]
        if not self.parts:
            problems.append("Nothing is to be measured; name commands, conversations or parity.")
        if min(self.price) < 0:
            problems.append("A price cannot be below 0.")
        if self.against_teacher and "conversations" not in self.parts:
            problems.append("The teacher is compared on conversations, but these are left out.")
        if collect_secrets(self.served.api_base):
            problems.append(
                "The address holds a password or a key, which would be written into the results. Leave it out; "
                "--api-key-env names the environment variable with the server's key."
            )
        if problems:
            raise ConfigError("evaluate", problems)


def answer_limit(workspace: Workspace, folder: Path | None) -> int:
    """Most tokens that an answer is given: twice the longest expected one, but room for a prompt must be left.

    A server counts these tokens with those of the prompt, and refuses a call that may become too long for it.

    Args:
        workspace: Holds the rows.
        folder: The folder of the training, which knows the tokens of the longest answer; without it they are estimated.

    Raises:
        WorkspaceError: the folder is not that of a finished training.
        ConfigError: rows cannot be read.
    """
    longest = read_manifest(folder).facts.longest_answer if folder is not None else None
    if longest is None:
        files = [workspace.folder(SPLIT) / name for name in (TRAIN_ROWS, VALIDATION_ROWS)]
        rows = [row for file in files for row in read_rows(file, may_be_empty=True)]
        longest = max((len(row.completion.encode()) for row in rows), default=0) // _BYTES_A_TOKEN
    return max(_FEWEST_TOKENS, min(2 * longest, _MOST_TOKENS), longest + 1)


def served_settings(model: str, api_base: str, api_key_env: str | None, max_tokens: int = _MOST_TOKENS) -> LLMSettings:
    """How a served model is called for commands: the likeliest answer, as `connect` sets it up for the assistant.

    Args:
        model: The name that it is served under.
        api_base: The server's address.
        api_key_env: The environment variable that holds the server's key; None: HOSTED_VLLM_API_KEY, if that is set.
        max_tokens: Most tokens of an answer.

    Raises:
        ConfigError: the address is none, or the variable is not set.
    """
    config: dict[str, Any] = {"provider": SELF_HOSTED, "model": model, "api_base": api_base, "timeout": _TIMEOUT}
    config |= {"temperature": 0.0, "max_tokens": max_tokens}
    if api_key_env is not None:
        config["api_key"] = f"${{{api_key_env}}}"
    return resolve(config, {}, "the served model")
