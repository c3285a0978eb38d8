"""What `monitor` found, as it leaves it in `output/6_monitoring`: a record that a report can show.

    found = read_monitoring(Path("output"))
    found.total.share("cannot_handle")      # of the answers; None where there was none
    found.days[-1].figures.messages

This module knows neither Rasa nor trackers nor how anything is counted.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from rasa_ft_ext.conversation import Record
from rasa_ft_ext.errors import WorkspaceError
from rasa_ft_ext.workspace import MONITORING, read_record

MONITORING_FILE = "monitoring.json"

# What each share is a share of.
WHOLES = {
    "failed_calls": "asked",
    "unparsed": "answers",
    "cannot_handle": "answers",
    "clarifications": "answers",
    "chitchat": "answers",
    "knowledge": "answers",
    "handoffs": "answers",
    "untrained_flows": "answers",
    "far": "compared",
}


class Milliseconds(Record):
    """How long something took: how often it was measured, and the median and the 95th percentile in ms."""

    count: int
    p50: float
    p95: float


class Figures(Record):
    """The numbers of a day, or of all days together.

    `messages` are all messages of users, clicks included; `asked` those that the command generator's LLM was asked
    about, of which `failed_calls` got no answer and `answers` got one. Of the answers: `unparsed`, from which no
    command could be read; `cannot_handle`, `clarifications`, `chitchat`, `knowledge` and `handoffs`, where the
    assistant went that way; `untrained_flows`, that start a flow which no example starts. `compared` are the answered
    messages that were typed, `far` those of them that are far from every message of the training data.

    `recorded` counts the answers of which the tracker holds the LLM's own words. `llm_ms` is the time of a call, where
    it was recorded, `turn_ms` that from a message that the LLM was asked about to the last reply. `commands` and
    `flows` count the commands of the answers by type, and the flows that they start; the drifts are half the sum of
    the differences between these shares and those of the training data: 0 where they are the same, 1 where they have
    nothing in common.
    """

    conversations: int = 0
    messages: int = 0
    asked: int = 0
    failed_calls: int = 0
    answers: int = 0
    unparsed: int = 0
    cannot_handle: int = 0
    clarifications: int = 0
    chitchat: int = 0
    knowledge: int = 0
    handoffs: int = 0
    untrained_flows: int = 0
    compared: int = 0
    far: int = 0
    recorded: int = 0
    llm_ms: Milliseconds | None = None
    turn_ms: Milliseconds | None = None
    commands: dict[str, int] = Field(default_factory=dict)
    flows: dict[str, int] = Field(default_factory=dict)
    command_drift: float | None = None
    flow_drift: float | None = None

    def share(self, name: str) -> float | None:
        """A count as a share, from 0 to 1, of what `WHOLES` says; None where there is nothing to take a share of."""
        whole: int = getattr(self, WHOLES[name])
        return getattr(self, name) / whole if whole else None


class Day(Record):
    """The numbers of one day in UTC; `date` is such as `2026-05-14`."""

    date: str
    figures: Figures


class Worst(Record):
    """A message that went wrong, redacted: why it was chosen, and how often the like of it came.

    `similarity` is that to `nearest`, the message of the training data that is most like it, from 0 to 1; both are
    None where it was not compared. `draft` names the file with its E2E test, where drafts were asked for.
    """

    message: str
    reasons: tuple[str, ...]
    count: int
    date: str
    answer: str
    similarity: float | None = None
    nearest: str | None = None
    draft: str | None = None


class Monitoring(Record):
    """All that was found.

    `dataset_hash` is the fingerprint of the training data that it was compared with, `far_below` the similarity below
    which a message counts as far (None: too little data to tell). `trained_commands` and `trained_flows` count the
    examples' commands as the figures do; `never_trained` counts the starts of flows that no example starts.
    """

    version: str
    dataset_hash: str
    since: str | None
    until: str | None
    far_below: float | None
    total: Figures
    days: tuple[Day, ...]
    trained_commands: dict[str, int]
    trained_flows: dict[str, int]
    never_trained: dict[str, int]
    worst: tuple[Worst, ...] = ()
    notes: tuple[str, ...] = ()


def read_monitoring(output: Path) -> Monitoring:
    """Read what `monitor` wrote.

    Raises:
        WorkspaceError: there is nothing of it, or it cannot be read.
    """
    path = output / MONITORING / MONITORING_FILE
    if not path.is_file():
        raise WorkspaceError(f"There are no figures of the conversations at {path}. Run `rasa-ft monitor` first.")
    return read_record(path, Monitoring)
