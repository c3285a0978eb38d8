"""The figures as a page for a person."""

from __future__ import annotations

from collections.abc import Sequence

from rasa_ft_ext.monitoring import Figures, Monitoring, Worst
from rasa_ft_ext.report.words import MONITORING_ROWS


def page(found: Monitoring) -> str:
    """The whole page, in Markdown."""
    days = found.days
    span = f"{days[0].date} to {days[-1].date} (UTC)" if days else "no messages"
    parts = [f"# What users say: {span}", _table(["", "all days", *(["last day"] if days else [])], _totals(found))]
    parts.append(_far(found))
    if days:
        parts += [
            "## By day",
            _table(
                ["day", "messages", "answers", *MONITORING_ROWS.values()], [_day(found, at) for at in range(len(days))]
            ),
        ]
    parts += ["## Commands", _shares(found.trained_commands, found.total.commands)]
    parts += ["## Flows", _shares(found.trained_flows, found.total.flows, found.never_trained)]
    if found.worst:
        parts += ["## The worst", _table(["message", "why", "count", "answer", "draft"], map(_worst, found.worst))]
    if found.notes:
        parts += ["## Notes", "\n".join(f"- {_cell(note)}" for note in found.notes)]
    return "\n\n".join(parts) + "\n"


def _totals(found: Monitoring) -> list[list[str]]:
    columns = [found.total, *(day.figures for day in found.days[-1:])]
    rows = [
        [name, *(f"{getattr(figures, key):,}" for figures in columns)]
        for key, name in {
            "conversations": "conversations",
            "messages": "messages of users",
            "asked": "the LLM was asked about",
            "answers": "and answered",
        }.items()
    ]
    rows += [[name, *(_share(figures, key) for figures in columns)] for key, name in MONITORING_ROWS.items()]
    rows += [
        [text, *("" if (value := getattr(figures, key)) is None else f"{value:.2f}" for figures in columns)]
        for key, text in (
            ("command_drift", "drift of the commands (0 to 1)"),
            ("flow_drift", "drift of the flows (0 to 1)"),
        )
    ]
    return rows + [
        [
            text,
            *(
                "" if (taken := getattr(figures, key)) is None else f"{taken.p50:,.0f} / {taken.p95:,.0f} ms"
                for figures in columns
            ),
        ]
        for key, text in (("llm_ms", "time of a call, p50 / p95"), ("turn_ms", "time to the last reply, p50 / p95"))
    ]


def _share(figures: Figures, name: str) -> str:
    share = figures.share(name)
    return "" if share is None else f"{share:.1%} ({getattr(figures, name):,})"


def _far(found: Monitoring) -> str:
    if found.far_below is None:
        return "The training data has too few messages to tell what is far from it."
    return (
        f"A message is far from the training data where it is less than {found.far_below:.2f} like every message in it "
        "(1: the same words). Of the training data itself, one message in twenty is that far from the others."
    )


def _day(found: Monitoring, at: int) -> list[str]:
    figures = found.days[at].figures
    return [
        found.days[at].date,
        f"{figures.messages:,}",
        f"{figures.answers:,}",
        *(_share(figures, key) for key in MONITORING_ROWS),
    ]


def _shares(before: dict[str, int], now: dict[str, int], never: dict[str, int] | None = None) -> str:
    """Two distributions side by side, the greatest difference first."""
    sums = sum(before.values()) or 1, sum(now.values()) or 1
    shares = {name: (before.get(name, 0) / sums[0], now.get(name, 0) / sums[1]) for name in {*before, *now}}
    names = sorted(shares, key=lambda name: (-abs(shares[name][1] - shares[name][0]), name))
    rows = [
        [f"{name} (never trained)" if name in (never or {}) else name, *(f"{share:.1%}" for share in shares[name])]
        for name in names
    ]
    return _table(["", "in the training data", "now"], rows) if rows else "None."


def _worst(worst: Worst) -> list[str]:
    return [worst.message, "; ".join(worst.reasons), str(worst.count), worst.answer, worst.draft or ""]


def _table(head: Sequence[str], rows: object) -> str:
    lines = [head, ["---"] * len(head), *rows]  # type: ignore[misc]
    return "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines)


def _cell(text: str) -> str:
    """A text as it stands in a table: one line, and nothing in it that Markdown or HTML would take for markup."""
    collapsed = " ".join(text.split())
    for letter in "\\`*_[]<>|":
        collapsed = collapsed.replace(
            letter, f"\\{letter}" if letter not in "<>" else {"<": "&lt;", ">": "&gt;"}[letter]
        )
    return collapsed
