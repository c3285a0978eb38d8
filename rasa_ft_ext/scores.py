"""How well a model's answers fit the expected commands: command accuracy.

An answer counts by what Rasa would do with it, not by its letters: it is read as commands, and these are compared.

    scores = score([(expected, answered), ...], "v2")
    scores.exact_match                  # 0.93: the share of answers with just the expected commands
    scores.by_command["SetSlot"].f1     # 0.88
    interval(167, 181)                  # (0.87, 0.95): what a share of so few examples is worth

All shares are between 0 and 1, and None where there is nothing to take a share of. This module knows neither models
nor files.

What is compared. The expected text is read line by line (see `rasa_ft_ext.commands.read`); a line that cannot be read,
such as a custom command, is a command of type `Custom`. In the answer such a line counts only where the expected text
has it as well; any other line without a command is passed over, as Rasa does. So an answer with the expected text is
right whatever the text is, a custom command that is missing or differs makes an answer wrong, and one that is too many
is not seen.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from math import sqrt
from typing import Literal, NamedTuple

from rasa_ft_ext.commands import Command, Syntax, difference, read, value_difference
from rasa_ft_ext.conversation import Record

Pair = tuple[str, str]  # expected text, answered text
Table = Literal["command", "flow", "slot", "all"]


class Rates(Record):
    """How well commands of one kind are found. A command counts as found if all of it is right, slot values too.

    `precision` is the share of the answered commands that were expected; None where none was answered. `recall` is
    the share of the expected ones that were answered; None where none was expected. `f1` is their harmonic mean, 0
    where no command was found. `support` is the number of expected commands. A command that is expected twice in an
    answer must be answered twice.
    """

    precision: float | None
    recall: float | None
    f1: float
    support: int


class Scores(Record):
    """What the answers to a set of examples are worth.

    `exact_match` is the share of answers that have just the expected commands: those that set no slot in the expected
    order, and the same slots set to the same values, wherever the `SetSlot` stand among the others. A slot that is
    set several times must take its values in the expected order.

    `by_command` has the rates by type of command (`StartFlow`, `SetSlot`, `Custom`, ...), `by_flow` those of
    `StartFlow` by flow, `by_slot` those of `SetSlot` by slot; each has what was expected or answered at least once.
    `micro_f1` is the F1 of all commands together; `macro_f1` the mean F1 of the types that were expected at least
    once, so it has the same divisor for all models.

    `slot_value_accuracy` is the share with the same values among the slots that expected and answered commands of an
    example both set. `unparsable` is the share of answers that no command could be read from, empty ones
    included (but an empty answer is right where nothing is expected).
    """

    examples: int
    exact_match: float | None
    slot_value_accuracy: float | None
    unparsable: float | None
    micro_f1: float | None
    macro_f1: float | None
    by_command: dict[str, Rates]
    by_flow: dict[str, Rates]
    by_slot: dict[str, Rates]


class Count(NamedTuple):
    """How many commands of one kind were expected, were answered, and are right (expected and answered)."""

    expected: int
    answered: int
    found: int


@dataclass(frozen=True)
class Comparison:
    """One answer beside what was expected; `unparsable` says that no command could be read from it."""

    expected: tuple[Command, ...]
    answered: tuple[Command, ...]
    unparsable: bool

    @property
    def reason(self) -> str | None:
        """In which way the answer differs, such as `does not set slot city`; None where it does not."""
        reasons = (difference(self.expected, self.answered), value_difference(self.expected, self.answered))
        return "; ".join(filter(None, reasons)) or None

    @property
    def exact(self) -> bool:
        """Whether the answer has just the expected commands, as `Scores.exact_match` counts it."""
        return self.reason is None

    @property
    def same_values(self) -> list[bool]:
        """For each slot that both sides set, whether they set it to the same values."""
        wanted, got = _slots(self.expected), _slots(self.answered)
        return [got[name] == values for name, values in wanted.items() if name in got]


def score(pairs: Iterable[Pair], syntax: Syntax, flows: Collection[str] | None = None) -> Scores:
    """Score the answers to a set of examples.

    Args:
        pairs: The expected and the answered text of each example.
        syntax: The syntax that both are written in.
        flows: The flows that a user can start; an answer's other flows are dropped, as Rasa does. Without it none is.
    """
    return summarize(compare(expected, answered, syntax, flows) for expected, answered in pairs)


def is_exact(expected: str, answered: str, syntax: Syntax, flows: Collection[str] | None = None) -> bool:
    """Whether an answer has just the expected commands, as `Scores.exact_match` counts it."""
    return compare(expected, answered, syntax, flows).exact


def compare(expected: str, answered: str, syntax: Syntax, flows: Collection[str] | None = None) -> Comparison:
    """Read both texts; `summarize` makes scores of many such comparisons."""
    wanted = _read(expected, syntax, flows)
    custom = {command for command in wanted if command.type == "Custom"}
    got = tuple(command for command in _read(answered, syntax, flows) if command.type != "Custom" or command in custom)
    return Comparison(wanted, got, unparsable=not got and bool(wanted or answered.strip()))


def summarize(comparisons: Iterable[Comparison]) -> Scores:
    """Put comparisons together; to see how sure a figure is, see `counts`."""
    comparisons = list(comparisons)
    by_command = _rates(comparisons, "command")
    everything = _rates(comparisons, "all").get("all")
    expected_types = [rates.f1 for rates in by_command.values() if rates.support]
    same_values = [same for comparison in comparisons for same in comparison.same_values]
    return Scores(
        examples=len(comparisons),
        exact_match=_share(comparison.exact for comparison in comparisons),
        slot_value_accuracy=_share(same_values),
        unparsable=_share(comparison.unparsable for comparison in comparisons),
        micro_f1=everything.f1 if everything else None,
        macro_f1=sum(expected_types) / len(expected_types) if expected_types else None,
        by_command=by_command,
        by_flow=_rates(comparisons, "flow"),
        by_slot=_rates(comparisons, "slot"),
    )


def counts(comparisons: Iterable[Comparison], table: Table) -> dict[str, Count]:
    """What the rates of a table are made of, by kind in the order of names; counts of parts add up to the whole's."""
    kind_of = _KINDS[table]
    expected: Counter[str] = Counter()
    answered: Counter[str] = Counter()
    found: Counter[str] = Counter()
    for comparison in comparisons:
        wanted, got = Counter(comparison.expected), Counter(comparison.answered)
        for total, commands in ((expected, wanted), (answered, got), (found, wanted & got)):
            for command, times in commands.items():
                kind = kind_of(command)
                if kind is not None:
                    total[kind] += times
    return {kind: Count(expected[kind], answered[kind], found[kind]) for kind in sorted({*expected, *answered})}


def interval(right: float, examples: float) -> tuple[float, float] | None:
    """The range that the true share lies in with 95 % confidence (Wilson's score interval); None without examples."""
    if not examples:
        return None
    z = 1.96
    share, weight = right / examples, z * z / examples
    middle = (share + weight / 2) / (1 + weight)
    margin = z / (1 + weight) * sqrt(share * (1 - share) / examples + weight / (4 * examples))
    return max(0.0, middle - margin), min(1.0, middle + margin)


def _read(text: str, syntax: Syntax, flows: Collection[str] | None) -> tuple[Command, ...]:
    """The commands of a text; a line without any becomes a custom one."""
    commands: list[Command] = []
    for line in filter(None, map(str.strip, text.splitlines())):
        commands += read(line, syntax, flows) or (Command(type="Custom", text=line),)
    return tuple(commands)


def _rates(comparisons: Iterable[Comparison], table: Table) -> dict[str, Rates]:
    """The rates of each kind of command, in the order of their names."""
    return {
        kind: Rates(
            precision=found / answered if answered else None,
            recall=found / expected if expected else None,
            f1=2 * found / (expected + answered),
            support=expected,
        )
        for kind, (expected, answered, found) in counts(comparisons, table).items()
    }


def _argument_of(kind: str) -> Callable[[Command], str | None]:
    return lambda command: str(command.args[0]) if command.type == kind else None


_KINDS: dict[Table, Callable[[Command], str | None]] = {
    "command": lambda command: command.type,
    "flow": _argument_of("StartFlow"),
    "slot": _argument_of("SetSlot"),
    "all": lambda command: "all",
}


def _slots(commands: Iterable[Command]) -> dict[str | None, list[str | None]]:
    """The values that each slot is set to, in order."""
    slots: dict[str | None, list[str | None]] = {}
    for command in commands:
        if command.type == "SetSlot":
            slots.setdefault(command.args[0], []).append(command.args[1])
    return slots


def _share(hits: Iterable[bool]) -> float | None:
    hits = list(hits)
    return sum(hits) / len(hits) if hits else None
