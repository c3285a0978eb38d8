"""What the checks say: one finding for each thing that a person should look at, with its place and what to do."""

from __future__ import annotations

from collections import Counter
from typing import Literal

from pydantic import Field

from rasa_ft_ext.conversation import Record
from rasa_ft_ext.rows import TRAIN_ROWS, VALIDATION_ROWS

Kind = Literal[
    "contradiction", "unknown name", "ungrounded value", "leak", "near-duplicate", "repetition", "length", "balance"
]
Severity = Literal["problem", "warning", "note"]
Side = Literal["train", "validation"]

FILES: dict[Side, str] = {"train": TRAIN_ROWS, "validation": VALIDATION_ROWS}
SEVERITIES: tuple[Severity, ...] = ("problem", "warning", "note")


_LONGEST = 160


def quoted(text: str) -> str:
    """What was said, in quotes and as a person reads it: of a long text, its ends."""
    half = _LONGEST // 2
    return repr(text if len(text) <= _LONGEST else f"{text[:half]} ... {text[-half:]}")


class Place(Record):
    """Where something was found.

    `row` is file and line, such as `ft_splits/train.jsonl line 12`; `test` the id of the test that the row comes from,
    `turn` the index of the user's message in it, from 0, and `variant` the recombination, 0 for the original. What is
    not known, or does not apply, is None.
    """

    test: str | None = None
    turn: int | None = None
    variant: int | None = None
    row: str | None = None

    def __str__(self) -> str:
        """Such as `cars.yml::a, message 2, ft_splits/train.jsonl line 12`: people count messages from 1."""
        message = f"message {self.turn + 1}" if self.turn is not None else None
        return ", ".join(part for part in (self.test, message, self.row) if part) or "all rows"


class Finding(Record):
    """One thing that was found.

    A `problem` is wrong whatever one thinks of it; a `warning` is for a person to judge; a `note` is worth knowing and
    no fault.
    """

    kind: Kind
    severity: Severity
    place: Place
    text: str
    advice: str


class TurnDiversity(Record):
    """How far the passing rephrasings of one user message are from it.

    `repeated` of the `rephrasings` only repeat the message or an earlier one; `repeating` are these. `diversity` is 1
    less the mean overlap with the message: 0 where all are the same, near 1 where no wording is left. What says
    something else (another slot value), or is not the rephraser's, is not counted.
    """

    test: str
    turn: int
    message: str
    rephrasings: int
    repeated: int
    repeating: tuple[str, ...] = ()
    diversity: float


class CheckReport(Record):
    """All that the checks found, in the order of the checks and of the rows.

    `balance` counts, for each of commands, flows and slots, in how many rows of training and of validation a name
    occurs; without a split all rows count as training. `longest` is the number of tokens of the longest row, None
    where they were not counted.
    """

    version: str
    rows: int
    findings: tuple[Finding, ...]
    diversity: tuple[TurnDiversity, ...] = ()
    balance: dict[str, dict[str, tuple[int, int]]] = Field(default_factory=dict)
    longest: int | None = None

    def count(self, severity: Severity) -> int:
        return Counter(finding.severity for finding in self.findings)[severity]

    @property
    def faults(self) -> tuple[Finding, ...]:
        """What a strict run refuses: problems and warnings."""
        return tuple(finding for finding in self.findings if finding.severity != "note")

    @property
    def counts(self) -> dict[str, int]:
        """How many problems and warnings there are of each kind; what there is none of does not occur."""
        return dict(Counter(finding.kind for finding in self.faults))


class KeptReport(Record):
    """What `check-data` leaves in the output folder; `made_of` is the fingerprint of the stage that made the rows."""

    made_of: str
    report: CheckReport
