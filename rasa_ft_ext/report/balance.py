"""What the examples hold, training and validation side by side: commands, flows, slots, and the lengths of prompts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from statistics import median

from rasa_ft_ext.conversation import Example

WIDTH, HEIGHT = 1000, 100
BINS = 20


@dataclass(frozen=True)
class Bar:
    """How many examples of a side have something, and which share of the side that is."""

    count: int
    share: float


@dataclass(frozen=True)
class Kind:
    """One chart of names: `rows` have a bar for each of `sides`; `top` is the longest bar's share."""

    title: str
    sides: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Bar, ...]], ...]
    top: float


@dataclass(frozen=True)
class LengthBar:
    """The prompts of one side that have about the same length, as a bar in a drawing of 1000 by 100."""

    side: str
    x: float
    y: float
    width: float
    height: float
    text: str


@dataclass(frozen=True)
class Lengths:
    """The lengths of the prompts in characters.

    `marks` are the numbers below the drawing, at its left edge, middle and right edge, `top` is the share at its upper
    edge; `rows` have the median, the length that 95 % do not exceed, and the longest of each side.
    """

    bars: tuple[LengthBar, ...]
    marks: tuple[int, ...]
    top: float
    rows: tuple[tuple[str, int, int, int], ...]


def kinds(sides: Mapping[str, Sequence[Example]], flows: Iterable[str]) -> list[Kind]:
    """The charts of commands, flows and slots; of flows also those that no example starts."""
    known = {"Flows started": tuple(flows)}
    return [
        chart
        for title, type_ in (
            ("Commands", None),
            ("Flows started", "StartFlow"),
            ("Slots set", "SetSlot"),
        )
        if (chart := _kind(title, type_, sides, known.get(title, ()))).rows
    ]


def _kind(title: str, type_: str | None, sides: Mapping[str, Sequence[Example]], known: Iterable[str]) -> Kind:
    counts = {side: Counter(name for of in examples for name in _names(of, type_)) for side, examples in sides.items()}
    total: Counter[str] = Counter({name: 0 for name in known})
    for of_side in counts.values():
        total.update(of_side)
    names = sorted(total, key=lambda name: (-total[name], name))
    rows = [(name, tuple(_bar(counts[side][name], len(sides[side])) for side in sides)) for name in names]
    top = max((bar.share for _, bars in rows for bar in bars), default=0.0)
    return Kind(title, tuple(sides), tuple(rows), top)


def _names(example: Example, type_: str | None) -> set[str]:
    """What of the kind an example has; what it has twice counts once."""
    if type_ is None:
        return {command.type for command in example.commands}
    return {str(command.args[0]) for command in example.commands if command.type == type_ and command.args}


def _bar(number: int, examples: int) -> Bar:
    return Bar(number, number / examples if examples else 0.0)


def lengths(sides: Mapping[str, Sequence[Example]]) -> Lengths | None:
    """The histogram of the prompts' lengths; None where there is no example."""
    found = {side: sorted(len(example.prompt) for example in of) for side, of in sides.items() if of}
    if not found:
        return None
    shortest = min(of[0] for of in found.values())
    longest = max(of[-1] for of in found.values())
    step = _nice((longest - shortest) / BINS)
    start = shortest // step * step
    number = (longest - start) // step + 1
    counts = {side: Counter((length - start) // step for length in of) for side, of in found.items()}
    top = max(number / len(found[side]) for side, of in counts.items() for number in of.values())
    drawing = _Drawing(start, step, number, top)
    return Lengths(
        bars=tuple(
            bar
            for place, (side, of) in enumerate(counts.items())
            for bar in drawing.bars(side, of, len(found[side]), place / len(counts), 1 / len(counts))
        ),
        marks=(start, start + number * step // 2, start + number * step),
        top=top,
        rows=tuple((side, int(median(of)), of[ceil(0.95 * len(of)) - 1], of[-1]) for side, of in found.items()),
    )


@dataclass(frozen=True)
class _Drawing:
    """Where bars stand: `number` bins of `step` characters each, from `start` on; `top` is the share at full height."""

    start: int
    step: int
    number: int
    top: float

    def bars(
        self, side: str, counts: Mapping[int, int], prompts: int, place: float, part: float
    ) -> Iterator[LengthBar]:
        """The bars of one side, which stand at `place` of each bin and take a `part` of it, both from 0 to 1."""
        room = WIDTH / self.number
        for at, count in sorted(counts.items()):
            height = max(HEIGHT * count / prompts / self.top, 1.0)  # a single prompt among thousands is seen, too
            low = self.start + at * self.step
            yield LengthBar(
                side=side,
                x=room * (at + 0.07 + 0.86 * place),
                y=HEIGHT - height,
                width=room * 0.86 * part,
                height=height,
                text=f"{side}: {count:,} of {prompts:,} prompts have {low:,} to {low + self.step - 1:,} characters",
            )


def _nice(least: float) -> int:
    """The smallest of 1, 2, 5, 10, 20, 50 and so on that is at least so big."""
    power = 1
    while True:
        for step in (1, 2, 5):
            if step * power >= least:
                return step * power
        power *= 10
