"""How often commands, flows and slots occur in training and validation: what is rare is learned badly."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from rasa_ft_ext.checks.entries import Entry
from rasa_ft_ext.checks.findings import Finding, Place, Side

Balance = dict[str, dict[str, tuple[int, int]]]
"""Rows of training and of validation in which a name occurs, by name, by kind (commands, flows, slots)."""

FEW = 3
_KINDS = {"commands": "command", "flows": "flow", "slots": "slot"}
_MORE = "Write more tests that have it, or ask for more rephrasings."


def balance_of(entries: Iterable[Entry]) -> Balance:
    """Count the rows; of a row without a side, as one of training."""
    counts: dict[str, dict[str, Counter[bool]]] = {kind: {} for kind in _KINDS}
    for entry in entries:
        for kind, name in set(_names(entry)):
            counts[kind].setdefault(name, Counter())[entry.side == "validation"] += 1
    return {
        kind: {name: (found[False], found[True]) for name, found in sorted(names.items())}
        for kind, names in counts.items()
    }


def _names(entry: Entry) -> Iterator[tuple[str, str]]:
    for command in entry.commands:
        yield "commands", command.type
        kind = {"StartFlow": "flows", "SetSlot": "slots"}.get(command.type)
        if kind and command.args and command.args[0] is not None:
            yield kind, command.args[0]


def check_sides(sides: Collection[Side | None]) -> Iterator[Finding]:
    """A problem if there is nothing to learn from, a note if nothing is measured; none of rows that are not split."""
    if "train" not in sides and None not in sides:
        yield _finding("problem", "There are no rows to train on.", "Split again, with a larger --train-frac.")
    elif "validation" not in sides and None not in sides:
        text = "There are no rows to validate on, so nothing says how well anything is learned."
        yield _finding(
            "note", text, "Split again with a smaller --train-frac; if that does not help, write more tests."
        )


def check_balance(balance: Balance, *, divided: bool) -> Iterator[Finding]:
    """One finding for each thing that validation has and training has not; a note of all that is rare, or not measured.

    Args:
        balance: What was counted.
        divided: Whether there is a validation side at all.
    """
    rare: dict[str, list[str]] = {}
    unmeasured: dict[str, list[str]] = {}
    for kind, names in balance.items():
        for name, (train, validation) in names.items():
            if not train:
                what = f"The {_KINDS[kind]} {name}"
                text = f"{what} is in {validation} rows of validation and in none of training: it cannot be learned."
                yield _finding("warning", text, "Split again: `split` gives training every command, flow and slot.")
            elif train < FEW:
                rare.setdefault(kind, []).append(f"{name} ({train})")
            elif divided and not validation:
                unmeasured.setdefault(kind, []).append(name)
    if rare:
        yield _finding("note", f"In fewer than {FEW} of the rows to learn from: {_listed(rare)}.", _MORE)
    if unmeasured:
        text = (
            f"In training, but in no row of validation, so nothing says how well it is learned: {_listed(unmeasured)}."
        )
        yield _finding("note", text, "Write a second test that has it, so that one of them can go to validation.")


def _listed(names: Mapping[str, Sequence[str]]) -> str:
    return "; ".join(f"{kind} {', '.join(found)}" for kind, found in names.items())


def _finding(severity: str, text: str, advice: str) -> Finding:
    return Finding.model_validate(
        {"kind": "balance", "severity": severity, "place": Place(), "text": text, "advice": advice}
    )
