"""The evaluation of a served model, as `evaluate` leaves it in `output/5_evaluation` and `connect` reads it.

    evaluation = read_evaluation(Path("output"))
    evaluation.verdict.passed           # whether the model may replace the teacher, by the thresholds it was given
    evaluation.subject.model            # the name that it was served under
    read_answers(Path("output"))        # what the model said to each example; read_outcomes for the tests

This module knows neither Rasa nor servers nor how anything is measured.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, TypeVar

from pydantic import Field, ValidationError

from rasa_ft_ext.commands import Command
from rasa_ft_ext.conversation import Record
from rasa_ft_ext.errors import WorkspaceError
from rasa_ft_ext.workspace import EVALUATION, read_record

EVALUATION_FILE = "evaluation.json"
ANSWERS_FILE = "answers.jsonl"
OUTCOMES_FILE = "outcomes.jsonl"
TEACHER_OUTCOMES_FILE = "teacher_outcomes.jsonl"

Side = Literal["train", "validation"]
Part = Literal["commands", "conversations", "parity"]
Result = Literal["better", "not worse", "worse", "not enough tests to tell"]

AnyLine = TypeVar("AnyLine", bound=Record)


class Subject(Record):
    """What was evaluated, and on what.

    `model` is the name that it is served under at `api_base`; `model_hash` is that of the model folder's manifest,
    None where no folder was given, `trained_on` the fingerprint of the data that it was trained on. `data_hash` is that
    of the split that its tests and rows come from; `template_hash` the SHA-256 of the prompt template that it was asked
    with, `rasa_version` that of the annotations. `max_tokens` are the most that an answer was given.
    """

    model: str
    api_base: str
    model_hash: str | None = None
    trained_on: str | None = None
    data_hash: str
    template_hash: str
    rasa_version: str
    max_tokens: int = 256


class Probe(Record):
    """A prompt of the validation set and what the model said to it, twice: by these it is known again elsewhere."""

    prompt: str
    answer: str


class Verdict(Record):
    """Whether the model may replace the teacher.

    `problems` are the thresholds that were missed and the parts that could not be measured, a sentence each, with
    their figures; `passed` says that there is none. `left_out` are the sentences among them on parts that were left
    out on purpose. `sentence` says the verdict as a whole.
    """

    passed: bool
    problems: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    sentence: str = ""

    @property
    def red(self) -> bool:
        """Whether something that was asked for does not hold."""
        return not set(self.problems) <= set(self.left_out)


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


class Figure(Record):
    """A figure and the range that it lies in with 95 % confidence; None where there is nothing to take it of."""

    value: float | None = None
    low: float | None = None
    high: float | None = None


class KindFigures(Record):
    """How well commands of one kind are found, see `rasa_ft_ext.scores.Rates`."""

    precision: Figure
    recall: Figure
    f1: Figure
    support: int


class CommandFigures(Record):
    """What the answers to the examples of one side are worth, see `rasa_ft_ext.scores.Scores`.

    `conversations` counts the groups of examples that do not depend on each other. `failed_calls` are the calls that
    gave no answer; they count as wrong. `seconds` are those of a call: the median, and what 95 % of the calls keep
    below. `price` is 0 unless prices were given.
    """

    examples: int
    conversations: int
    exact_match: Figure
    unparsable: Figure
    slot_value_accuracy: Figure
    micro_f1: Figure
    macro_f1: Figure
    by_command: dict[str, KindFigures]
    by_flow: dict[str, KindFigures]
    by_slot: dict[str, KindFigures]
    failed_calls: int
    seconds_p50: float
    seconds_p95: float
    prompt_tokens: int
    completion_tokens: int
    price: float = 0.0


class Answer(Record):
    """What the model said to one example.

    `row` is the example's place, such as `val.jsonl line 12`; `test` the E2E test that it comes from, None where that
    is not known. `reason` says in which way the answer differs. `error` is what happened to a call without an answer.
    """

    row: str
    side: Side
    test: str | None = None
    expected: str
    answered: str
    right: bool
    reason: str | None = None
    error: str | None = None
    seconds: float


class PassRate(Record):
    """How many tests of one side pass with one model.

    `rate` is the mean over the tests of the share of repeats that passed. `noise` is how often two repeats of the same
    test end differently, None of a single run. `seconds` are those of a call of the LLM, median and 95 %.
    """

    tests: int
    repeats: int
    rate: Figure
    noise: float | None = None
    seconds_p50: float | None = None
    seconds_p95: float | None = None


class Comparison(Record):
    """The model beside its teacher on the same tests of one side.

    `difference` is the model's pass rate less the teacher's. `only_model` and `only_teacher` are the shares of the
    tests that one of the two passes alone. `sentence` says the result in plain words.
    """

    tests: int
    groups: int
    margin: float
    difference: Figure
    only_model: float
    only_teacher: float
    result: Result
    sentence: str


class DifferingTurn(Record):
    """The first user message of a test to which the model's commands were other than the teacher's."""

    test: str
    side: Side
    turn: int
    message: str
    model: OutcomeTurn | None
    teacher: OutcomeTurn | None
    model_passed: bool
    teacher_passed: bool


class ParityFigures(Record):
    """How the served model compares with the model folder, asked the same.

    Log probabilities (natural logarithm) are those of the answers' tokens; `allowed` is what rounding explains in
    `dtype`. `ties` counts the answers that differ only from where the two best tokens were that close. `changed_files`
    are those of the folder that are not as the training left them.
    """

    prompts: int
    dtype: str
    largest_difference: float
    mean_difference: float
    allowed: float
    ties: int
    changed_files: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


class Thresholds(Record):
    """What the verdict asks for; all are shares, None asks for nothing.

    `min_validation` and `min_train` are pass rates of E2E tests, `min_accuracy` is the share of validation examples
    with just the expected commands. `margin` is how much worse than the teacher still counts as not worse.
    """

    min_validation: float = 0.8
    min_train: float = 0.95
    min_accuracy: float | None = None
    margin: float = 0.05


class Evaluation(Record):
    """All that an evaluation found.

    `commands`, `conversations`, `teacher` (the teacher's pass rates) and `comparison` are by side. `differing_turns`
    are where model and teacher part. `not_measured` says of each part that was not why. `notes` are sentences that a
    person should know.
    """

    version: str
    subject: Subject
    verdict: Verdict
    probes: tuple[Probe, ...] = ()
    thresholds: Thresholds = Thresholds()
    commands: dict[Side, CommandFigures] = Field(default_factory=dict)
    conversations: dict[Side, PassRate] = Field(default_factory=dict)
    teacher: dict[Side, PassRate] = Field(default_factory=dict)
    comparison: dict[Side, Comparison] = Field(default_factory=dict)
    differing_turns: tuple[DifferingTurn, ...] = ()
    parity: ParityFigures | None = None
    not_measured: dict[Part, str] = Field(default_factory=dict)
    notes: tuple[str, ...] = ()


def read_evaluation(output: Path) -> Evaluation:
    """Read what `evaluate` wrote.

    Raises:
        WorkspaceError: there is no evaluation, or it cannot be read.
    """
    path = output / EVALUATION / EVALUATION_FILE
    if not path.is_file():
        raise WorkspaceError(f"There is no evaluation at {path}. Run `rasa-ft evaluate` first.")
    return read_record(path, Evaluation)


def read_answers(output: Path) -> list[Answer]:
    """Read what the model said to each example; empty where it was not asked."""
    return _read_lines(output / EVALUATION / ANSWERS_FILE, Answer)


def read_outcomes(output: Path) -> list[TestOutcome]:
    """Read how each E2E test ended with the evaluated model; empty where none was run."""
    return _read_lines(output / EVALUATION / OUTCOMES_FILE, TestOutcome)


def _read_lines(path: Path, kind: type[AnyLine]) -> list[AnyLine]:
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
        return [kind.model_validate_json(line) for line in lines if line]
    except (OSError, UnicodeDecodeError, ValidationError) as error:
        raise WorkspaceError(f"{path} cannot be read: {error}. Run `rasa-ft evaluate` again.") from error
