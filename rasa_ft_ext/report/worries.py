"""What should worry one of what users say: the figures that are too high, and those that rise."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rasa_ft_ext.monitoring import WHOLES, Day, Monitoring
from rasa_ft_ext.report.words import MONITORING_ROWS, count, listed, percent
from rasa_ft_ext.scores import interval

# The share from which on a figure is looked at. Of new messages that are as the training data is, one in twenty counts
# as far from it; the others are where to start, not laws.
LIMITS = {"failed_calls": 0.01, "unparsed": 0.02, "cannot_handle": 0.10, "clarifications": 0.10, "far": 0.10}
EXPECTED = {"far": 0.05}
_ABOUT = {
    "failed_calls": "calls of the LLM that failed",
    "unparsed": "answers without a command",
    "cannot_handle": "messages that could not be handled",
    "clarifications": "questions back to the user",
    "far": "messages far from the training data",
}
RISE = 1.5  # times the share of the days before
FEW = 100  # answers; with less a person should not conclude much
_NAMES = 5  # flows that are named


@dataclass(frozen=True)
class Worry:
    """What it is about, in a few words, and the whole sentence with its figures."""

    about: str
    sentence: str


def worries(found: Monitoring) -> list[Worry]:
    """All there is to worry about; chance alone, with 95 % confidence, explains none of the shares."""
    return [*_high(found), *_untrained(found), *_rising(found.days)]


def summary(found: Monitoring, worrying: Sequence[Worry]) -> str:
    """The one sentence that comes first."""
    total = found.total
    few = f" That is little to go by: {_answers(total.answers)} in all." if total.answers < FEW else ""
    if worrying:
        return f"Look at this: {listed([worry.about for worry in worrying])}.{few}"
    if not total.answers:
        return f"Nothing can be said: none of {count(total.messages)} messages was answered by the LLM."
    days = "one day" if len(found.days) == 1 else f"{count(len(found.days))} days"
    return f"Nothing stands out in {_answers(total.answers)} of {days}.{few}"


def _high(found: Monitoring) -> Iterator[Worry]:
    for name, limit in LIMITS.items():
        part, whole = getattr(found.total, name), getattr(found.total, WHOLES[name])
        range_ = interval(part, whole)
        if range_ and range_[0] > limit:
            sentence = f"{_row(name)}: {_of(part, whole)}, which is clearly more than {100 * limit:g} %."
            yield Worry(_ABOUT[name], sentence)


def _untrained(found: Monitoring) -> Iterator[Worry]:
    if not found.never_trained:
        return
    by_count = sorted(found.never_trained.items(), key=lambda entry: (-entry[1], entry[0]))
    names = [f"{name} ({count(number)})" for name, number in by_count[:_NAMES]]
    if len(by_count) > _NAMES:
        names.append(f"{count(len(by_count) - _NAMES)} more")
    yield Worry("flows that were never trained", f"Flows that were started and never trained: {listed(names)}.")


def _rising(days: Sequence[Day]) -> Iterator[Worry]:
    if len(days) < 2:
        return
    last, before = days[-1], days[:-1]
    for name in LIMITS:
        whole = WHOLES[name]
        now = getattr(last.figures, name), getattr(last.figures, whole)
        then = sum(getattr(day.figures, name) for day in before), sum(getattr(day.figures, whole) for day in before)
        range_now, range_then = interval(*now), interval(*then)
        if not (range_now and range_then) or now[0] / now[1] < RISE * then[0] / then[1]:
            continue
        if range_now[0] > range_then[1]:
            sentence = f"{_row(name)}: {_of(*now)} on {last.date}, {_of(*then)} before."
            yield Worry(f"more {_ABOUT[name]} on the last day", sentence)


def _of(part: int, whole: int) -> str:
    return f"{percent(part / whole)} ({count(part)} of {count(whole)})"


def _answers(number: int) -> str:
    return "one answer" if number == 1 else f"{count(number)} answers"


def _row(name: str) -> str:
    text = MONITORING_ROWS[name]
    return text[:1].upper() + text[1:]
