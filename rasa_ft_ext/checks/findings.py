"""What the checks say: one finding for each thing that a person should look at, with its place and what to do."""

from __future__ import annotations

from collections import Counter
from typing import ClassVar, Literal

from pydantic import Field

from rasa_ft_ext.conversation import Record, SparseRecord
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


class LeftOut(Record):
    """How many findings of a kind and severity are only counted."""

    kind: Kind
    severity: Severity
    number: int


class CheckReport(SparseRecord):
    """What the checks found, in the order of the checks and of the rows.

    `balance` counts, for each of commands, flows and slots, in how many rows of training and of validation a name
    occurs; without a split all rows count as training. `longest` is the number of tokens of the longest row, None
    where they were not counted. In big data the first 2,000 findings of a kind and severity are there, and `left_out`
    counts the others; `diversity` has the first 2,000 messages, and `mean_diversity` is then that of all of them.
    """

    optional: ClassVar[frozenset[str]] = frozenset({"left_out", "mean_diversity"})

    version: str
    rows: int
    findings: tuple[Finding, ...]
    diversity: tuple[TurnDiversity, ...] = ()
    balance: dict[str, dict[str, tuple[int, int]]] = Field(default_factory=dict)
    longest: int | None = None
    left_out: tuple[LeftOut, ...] = ()
    mean_diversity: float | None = None

    def count(self, severity: Severity) -> int:
        kept = sum(finding.severity == severity for finding in self.findings)
        return kept + sum(of.number for of in self.left_out if of.severity == severity)

    @property
    def total(self) -> int:
        """All findings, those that are only counted included."""
        return sum(map(self.count, SEVERITIES))

    @property
    def faults(self) -> tuple[Finding, ...]:
        """What a strict run refuses: problems and warnings."""
        return tuple(finding for finding in self.findings if finding.severity != "note")

    @property
    def counts(self) -> dict[str, int]:
        """How many problems and warnings there are of each kind; what there is none of does not occur."""
        found: Counter[str] = Counter(finding.kind for finding in self.faults)
        for of in self.left_out:
            if of.severity != "note":
                found[of.kind] += of.number
        return dict(found)

    @property
    def average_diversity(self) -> float | None:
        """The mean over the messages that have passing rephrasings; None where none has."""
        if self.mean_diversity is not None or not self.diversity:
            return self.mean_diversity
        return sum(turn.diversity for turn in self.diversity) / len(self.diversity)


class KeptReport(Record):
    """What `check-data` leaves in the output folder; `made_of` is the fingerprint of the stage that made the rows."""

    made_of: str
    report: CheckReport
