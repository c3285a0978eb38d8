"""What the doctor says: one finding for each thing that was looked at.

A check yields what it has to say with `ok`, `warning` and `problem`; where something cannot be looked at, it raises
`Unknown` with the reason, or whatever `RasaFtError` it came upon.
"""

from __future__ import annotations

from collections import Counter
from typing import Literal, NamedTuple

from rasa_ft_ext.conversation import Record
from rasa_ft_ext.errors import ConfigError, RasaFtError

Status = Literal["ok", "warning", "problem", "not checked"]


class Unknown(Exception):
    """Why something cannot be checked: the end of the sentence that begins with "not checked, because"."""


def in_one_line(error: RasaFtError) -> str:
    """What an error says; the problems of a configuration, which have a line each, one after the other."""
    return f"{error.where}: {' '.join(error.problems)}" if isinstance(error, ConfigError) else str(error)


class Said(NamedTuple):
    """What a check has to say, before it is known which check it was."""

    status: Status
    text: str
    advice: str | None = None


def ok(text: str) -> Said:
    return Said("ok", text)


def warning(text: str, advice: str) -> Said:
    return Said("warning", text, advice)


def problem(text: str, advice: str) -> Said:
    return Said("problem", text, advice)


class Finding(Record):
    """One thing that was looked at.

    `check` names what it is about, such as `flows`; `text` says what was found, or why nothing could be; `advice` what
    to do about it, None where there is nothing to do.
    """

    check: str
    status: Status
    text: str
    advice: str | None = None


class Diagnosis(Record):
    """All findings, in the order in which they were made, and the version that made them."""

    version: str
    findings: tuple[Finding, ...]

    @property
    def healthy(self) -> bool:
        """Whether there is no problem; warnings and what could not be checked do not count."""
        return not self.count("problem")

    def count(self, status: Status) -> int:
        return Counter(finding.status for finding in self.findings)[status]
