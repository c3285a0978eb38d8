"""What conversations add to the figures of a run; sums of it are kept with each finished part."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from pydantic import Field

from rasa_ft_ext.conversation import Record
from rasa_ft_ext.rephrase import tokens
from rasa_ft_ext.rephrase.tokens import Tokens
from rasa_ft_ext.rephrase.votes import combined
from rasa_ft_ext.teacher_agreement import TeacherAgreement


class Counts(Record):
    """The figures of some conversations.

    `asked` conversations were put to the rephraser, and of `worded` a wording could be read. `passing` and `failing`
    count wordings by who made them. `rephrasing` and `checking` are tokens; seconds are summed over the conversations.
    """

    conversations: int = 0
    messages: int = 0
    asked: int = 0
    worded: int = 0
    passing: dict[str, int] = Field(default={})
    failing: dict[str, int] = Field(default={})
    reasons: dict[str, int] = Field(default={})
    failed_calls: int = 0
    rephrasing: Tokens = Tokens()
    checking: Tokens = Tokens()
    rephrasing_seconds: float = 0.0
    checking_seconds: float = 0.0
    teacher: TeacherAgreement | None = None


def together(found: Iterable[Counts]) -> Counts:
    """The sum."""
    entries = list(found)
    return Counts(
        conversations=sum(entry.conversations for entry in entries),
        messages=sum(entry.messages for entry in entries),
        asked=sum(entry.asked for entry in entries),
        worded=sum(entry.worded for entry in entries),
        passing=_sum(entry.passing for entry in entries),
        failing=_sum(entry.failing for entry in entries),
        reasons=_sum(entry.reasons for entry in entries),
        failed_calls=sum(entry.failed_calls for entry in entries),
        rephrasing=tokens.together(entry.rephrasing for entry in entries),
        checking=tokens.together(entry.checking for entry in entries),
        rephrasing_seconds=sum(entry.rephrasing_seconds for entry in entries),
        checking_seconds=sum(entry.checking_seconds for entry in entries),
        teacher=combined([entry.teacher for entry in entries if entry.teacher is not None]),
    )


def _sum(found: Iterable[Mapping[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for entry in found:
        total.update(entry)
    return dict(sorted(total.items()))
