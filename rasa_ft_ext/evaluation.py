"""The evaluation of a served model, as `evaluate` leaves it in `output/5_evaluation` and `connect` reads it.

    evaluation = read_evaluation(Path("output"))
    evaluation.verdict.passed           # whether the model may replace the teacher, by the thresholds it was given
    evaluation.subject.model            # the name that it was served under

This module knows neither Rasa nor servers nor how anything is measured.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from rasa_ft_ext.commands import Command
from rasa_ft_ext.conversation import Record
from rasa_ft_ext.errors import WorkspaceError
from rasa_ft_ext.workspace import EVALUATION, read_record

EVALUATION_FILE = "evaluation.json"

Side = Literal["train", "validation"]


class Subject(Record):
    """What was evaluated, and on what.

    `model` is the name that it is served under at `api_base`; `model_hash` is that of the model folder's manifest,
    None where no folder was given. `data_hash` is the fingerprint of the split that its tests and rows come from;
    `template_hash` the SHA-256 of the prompt template that it was asked with, `rasa_version` that of the annotations.
    """

    model: str
    api_base: str
    model_hash: str | None = None
    data_hash: str
    template_hash: str
    rasa_version: str


class Probe(Record):
    """A prompt of the validation set and what the model said to it: by these it is known again at another address."""

    prompt: str
    answer: str


class Verdict(Record):
    """Whether the model may replace the teacher.

    `problems` are the thresholds that were missed and the parts that could not be measured, a sentence each, with
    their figures; `passed` says that there is none.
    """

    passed: bool
    problems: tuple[str, ...] = ()


class OutcomeTurn(Record):
    """One user message of a test that was run: what the command generator's LLM answered, and what was read from it.

    `answer` is None where the command generator was not asked.
    """

    message: str
    answer: str | None = None
    commands: tuple[Command, ...] = ()


class TestOutcome(Record):
    """How one E2E test ended with one model in the command generator's place, in one of several repeats.

    `reason` says why it failed; None where it passed. `seconds` are those of each call of the LLM, in order.
    """

    __test__ = False  # keeps pytest from collecting the class

    id: str
    side: Side
    repeat: int
    passed: bool
    reason: str | None = None
    turns: tuple[OutcomeTurn, ...] = ()
    seconds: tuple[float, ...] = ()


class Evaluation(Record):
    """All that an evaluation found."""

    version: str
    subject: Subject
    verdict: Verdict
    probes: tuple[Probe, ...] = ()


def read_evaluation(output: Path) -> Evaluation:
    """Read what `evaluate` wrote.

    Raises:
        WorkspaceError: there is no evaluation, or it cannot be read.
    """
    path = output / EVALUATION / EVALUATION_FILE
    if not path.is_file():
        raise WorkspaceError(f"There is no evaluation at {path}. Run `rasa-ft evaluate` first.")
    return read_record(path, Evaluation)
