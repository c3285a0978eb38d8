"""What the report shows of what users say after the swap: what should worry one first, then the days."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from pathlib import Path

from rasa_ft_ext.monitoring import MONITORING_FILE, Day, Figures, Milliseconds, Monitoring, read_monitoring
from rasa_ft_ext.report.chart import Chart, chart
from rasa_ft_ext.report.sections import Headline, Section, section
from rasa_ft_ext.report.words import MONITORING_ROWS, count, percent, seconds
from rasa_ft_ext.report.worries import EXPECTED, summary, worries
from rasa_ft_ext.workspace import MONITORING

ANCHOR = "users"
GROUP = "Users"
CHARTS = ("unparsed", "cannot_handle", "clarifications", "far")
DAILY = ("failed_calls", "unparsed", "cannot_handle", "clarifications", "untrained_flows", "far")
_RECENT = 31  # days that are shown at once; older ones are folded away
_LONGEST = 600  # letters of a message that are shown; more are in monitoring.json

_COUNTS = {
    "conversations": "conversations",
    "messages": "messages of users",
    "asked": "the LLM was asked about",
    "answers": "and answered",
}
_DRIFTS = {"command_drift": "drift of the commands (0 to 1)", "flow_drift": "drift of the flows (0 to 1)"}
_TIMES = {"llm_ms": "time of a call", "turn_ms": "time to the last reply"}

Row = tuple[str, list[str]]
Gap = tuple[str, None]  # days without a message, in words


def sections(output: Path) -> Iterator[Section]:
    """The sections of what `monitor` found, if it has been run."""
    if not (output / MONITORING / MONITORING_FILE).is_file():
        return
    found = read_monitoring(output)
    worrying = worries(found)
    yield section(
        ANCHOR,
        "What users say now",
        "monitoring.users",
        group=GROUP,
        found=found,
        summary=summary(found, worrying),
        worries=worrying,
        columns=["all days", *(f"last day, {day.date}" for day in _last(found))],
        rows=list(_totals(found)),
    )
    if found.days:
        rows = _rows(found.days)
        yield section(
            "days",
            "Day by day",
            "monitoring.days",
            group=GROUP,
            found=found,
            charts=_charts(found),
            names=[MONITORING_ROWS[name] for name in DAILY],
            recent=rows[:_RECENT],
            older=rows[_RECENT:],
        )
        never = sorted(found.never_trained.items(), key=lambda entry: (-entry[1], entry[0]))
        yield section("untrained", "Flows never trained", "monitoring.untrained", group=GROUP, never=never)
    if found.worst:
        yield section(
            "worst", "The worst messages", "monitoring.worst", group=GROUP, worst=found.worst, longest=_LONGEST
        )


def headline(output: Path) -> Headline | None:
    """The answer at the top of the page, if `monitor` has been run."""
    if not (output / MONITORING / MONITORING_FILE).is_file():
        return None
    found = read_monitoring(output)
    worrying = worries(found)
    return Headline("Does it go well with users?", summary(found, worrying), not worrying, ANCHOR)


def _totals(found: Monitoring) -> Iterator[Row]:
    """What is counted of all days and of the last one; what was never measured has no row."""
    columns = [found.total, *(day.figures for day in _last(found))]
    for name, text in _COUNTS.items():
        yield text, [count(getattr(figures, name)) for figures in columns]
    for name, text in MONITORING_ROWS.items():
        yield text, [_share(figures, name) for figures in columns]
    for name, text in _DRIFTS.items():
        if getattr(found.total, name) is not None:
            yield text, ["-" if (at := getattr(figures, name)) is None else f"{at:.2f}" for figures in columns]
    for name, text in _TIMES.items():
        if getattr(found.total, name) is not None:
            yield f"{text}: median", [_time(getattr(figures, name), "p50") for figures in columns]
            yield f"{text}: 95 % are faster than", [_time(getattr(figures, name), "p95") for figures in columns]


def _last(found: Monitoring) -> tuple[Day, ...]:
    """The last day, where it is not all there is."""
    return found.days[-1:] if len(found.days) > 1 else ()


def _time(taken: Milliseconds | None, name: str) -> str:
    return seconds(None if taken is None else getattr(taken, name) / 1000)


def _share(figures: Figures, name: str) -> str:
    share = figures.share(name)
    return "-" if share is None else f"{percent(share)} ({count(getattr(figures, name))})"


def _charts(found: Monitoring) -> list[tuple[str, str, float | None, Chart]]:
    """The curves: what each shows, its figures in words, and the share that is to be expected, where that is known.

    A single day makes no curve.
    """
    if len(found.days) < 2:
        return []
    drawn = ((name, chart(found.days, name)) for name in CHARTS)
    return [(MONITORING_ROWS[name], _caption(found, name), EXPECTED.get(name), at) for name, at in drawn if at]


def _caption(found: Monitoring, name: str) -> str:
    last = found.days[-1]
    return f"{percent(found.total.share(name))} in all, {percent(last.figures.share(name))} on {last.date}"


def _rows(days: Sequence[Day]) -> list[Row | Gap]:
    """The days, the last one first, and between them what has no message."""
    rows: list[Row | Gap] = []
    after: date | None = None
    for day in reversed(days):
        at = date.fromisoformat(day.date)
        if after is not None and (after - at).days > 1:
            rows.append((_span(at + timedelta(1), after - timedelta(1)), None))
        figures = day.figures
        counts = [count(figures.messages), count(figures.answers)]
        rows.append((day.date, [*counts, *(_share(figures, name) for name in DAILY)]))
        after = at
    return rows


def _span(first: date, last: date) -> str:
    return f"{first}" if first == last else f"{first} to {last}"
