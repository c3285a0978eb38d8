"""What the examples hold, training and validation side by side: commands, flows, slots, and the lengths of prompts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from math import ceil

from rasa_ft_ext.conversation import Example

WIDTH, HEIGHT = 1000, 100
BINS = 20
_KINDS = {None: "Commands", "StartFlow": "Flows started", "SetSlot": "Slots set"}


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


@dataclass
class SideCounts:
    """What is counted of one side's examples: names by the type of command, None for the types; lengths of prompts."""

    examples: int = 0
    names: dict[str | None, Counter[str]] = field(default_factory=lambda: {type_: Counter() for type_ in _KINDS})
    lengths: Counter[int] = field(default_factory=Counter)

    def add(self, example: Example) -> None:
        self.examples += 1
        self.lengths[len(example.prompt)] += 1
        for type_, counter in self.names.items():
            counter.update(_names(example, type_))


def counted(examples: Iterable[Example]) -> SideCounts:
    counts = SideCounts()
    for example in examples:
        counts.add(example)
    return counts


def kinds(sides: Mapping[str, SideCounts], flows: Iterable[str]) -> list[Kind]:
    """The charts of commands, flows and slots; of flows also those that no example starts."""
    known = {"Flows started": tuple(flows)}
    return [
        chart for type_, title in _KINDS.items() if (chart := _kind(title, type_, sides, known.get(title, ()))).rows
    ]


def _kind(title: str, type_: str | None, sides: Mapping[str, SideCounts], known: Iterable[str]) -> Kind:
    counts = {side: of.names[type_] for side, of in sides.items()}
    total: Counter[str] = Counter({name: 0 for name in known})
    for of_side in counts.values():
        total.update(of_side)
    names = sorted(total, key=lambda name: (-total[name], name))
    rows = [(name, tuple(_bar(counts[side][name], sides[side].examples) for side in sides)) for name in names]
    top = max((bar.share for _, bars in rows for bar in bars), default=0.0)
    return Kind(title, tuple(sides), tuple(rows), top)


def _names(example: Example, type_: str | None) -> set[str]:
    """What of the kind an example has; what it has twice counts once."""
    if type_ is None:
        return {command.type for command in example.commands}
    return {str(command.args[0]) for command in example.commands if command.type == type_ and command.args}


def _bar(number: int, examples: int) -> Bar:
    return Bar(number, number / examples if examples else 0.0)


def lengths(sides: Mapping[str, SideCounts]) -> Lengths | None:
    """The histogram of the prompts' lengths; None where there is no example."""
    found = {side: of.lengths for side, of in sides.items() if of.examples}
    if not found:
        return None
    shortest, longest = min(map(min, found.values())), max(map(max, found.values()))
    step = _nice((longest - shortest) / BINS)
    start = shortest // step * step
    number = (longest - start) // step + 1
    counts: dict[str, Counter[int]] = {side: Counter() for side in found}
    for side, of_side in found.items():
        for length, times in of_side.items():
            counts[side][(length - start) // step] += times
    top = max(number / sides[side].examples for side, of in counts.items() for number in of.values())
    drawing = _Drawing(start, step, number, top)
    return Lengths(
        bars=tuple(
            bar
            for place, (side, of) in enumerate(counts.items())
            for bar in drawing.bars(side, of, sides[side].examples, place / len(counts), 1 / len(counts))
        ),
        marks=(start, start + number * step // 2, start + number * step),
        top=top,
        rows=tuple((side, _median(of), _nth(of, ceil(0.95 * of.total()) - 1), max(of)) for side, of in found.items()),
    )


def _median(counts: Counter[int]) -> int:
    total = counts.total()
    return (_nth(counts, (total - 1) // 2) + _nth(counts, total // 2)) // 2


def _nth(counts: Counter[int], number: int) -> int:
    """What stands at a place, from 0 on, where all that is counted stands in order."""
    for value, times in sorted(counts.items()):
        number -= times
        if number < 0:
            return value
    raise IndexError(number)


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
