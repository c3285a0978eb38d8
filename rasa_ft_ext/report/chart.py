"""The curve of a daily share, as the parts of an SVG that is stretched to whatever width there is.

The drawing is 1000 wide and 100 high: the first day begins at the left edge, the last one ends at the right edge, and
100 is a share of 0. A day without data has no dot, and no line leads across it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from rasa_ft_ext.monitoring import WHOLES, Day
from rasa_ft_ext.report.words import count, percent

WIDTH, HEIGHT = 1000, 100
SMOOTHED = 60  # days; with more, the line is that of a week together, since a line through so many dots is a thicket
WEEK = 7
LONGEST = 731  # days; what is older, such as a message without a time, which is of 1970, would squeeze the rest
FEWEST = 20  # what a day's share is of; with less it does not set the scale
_TOPS = (0.05, 0.1, 0.2, 0.3, 0.5, 1.0)


@dataclass(frozen=True)
class Dot:
    """A day: where it is, and what it says when it is pointed at."""

    x: float
    y: float
    text: str


@dataclass(frozen=True)
class Chart:
    """A curve: `top` is the share at the upper edge, `line` the `d` of an SVG path, `cut` says that dots are higher."""

    top: float
    dots: tuple[Dot, ...]
    line: str
    first: str
    last: str
    smoothed: bool
    cut: bool

    @property
    def marks(self) -> str:
        """All dots as one path of lines without length, which round ends make dots."""
        return "".join(f"M{dot.x:.1f} {dot.y:.1f}h0" for dot in self.dots)

    def height(self, share: float) -> float:
        return _height(share, self.top)


def chart(days: Sequence[Day], name: str) -> Chart | None:
    """Draw a share that `WHOLES` names; None where no day has one."""
    last = date.fromisoformat(days[-1].date)
    first = max(date.fromisoformat(days[0].date), last - timedelta(LONGEST - 1))
    counts = {
        on: (getattr(day.figures, name), whole)
        for day in days
        if (whole := getattr(day.figures, WHOLES[name])) and (on := date.fromisoformat(day.date)) >= first
    }
    if not counts:
        return None
    dates = [first + timedelta(at) for at in range((last - first).days + 1)]
    shares = {day: part / whole for day, (part, whole) in counts.items()}
    top = _top([share for day, share in shares.items() if counts[day][1] >= FEWEST] or shares.values())
    places = {day: WIDTH * (at + 0.5) / len(dates) for at, day in enumerate(dates)}
    smoothed = len(dates) > SMOOTHED
    curve = {day: _week(counts, day) for day in dates} if smoothed else shares
    return Chart(
        top=top,
        dots=tuple(
            Dot(places[day], _height(share, top), f"{day}: {percent(share)}, {count(part)} of {count(whole)}")
            for day, share in shares.items()
            for part, whole in (counts[day],)
        ),
        line=_line([(places[day], None if (at := curve.get(day)) is None else _height(at, top)) for day in dates]),
        first=first.isoformat(),
        last=last.isoformat(),
        smoothed=smoothed,
        cut=max(shares.values()) > top,
    )


def _top(shares: Iterable[float]) -> float:
    highest = max(shares)
    return next(top for top in _TOPS if top >= highest)


def _height(share: float, top: float) -> float:
    return HEIGHT * (1 - min(share / top, 1.0))


def _week(counts: dict[date, tuple[int, int]], day: date) -> float | None:
    """The share of the seven days that end with a day."""
    found = [counts[at] for back in range(WEEK) if (at := day - timedelta(back)) in counts]
    return sum(part for part, _ in found) / sum(whole for _, whole in found) if found else None


def _line(points: Iterable[tuple[float, float | None]]) -> str:
    """The path through points; one without a height interrupts it."""
    parts: list[str] = []
    pen = "M"
    for x, y in points:
        if y is not None:
            parts.append(f"{pen}{x:.1f} {y:.1f}")
        pen = "M" if y is None else "L"
    return "".join(parts)
