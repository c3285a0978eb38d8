"""How often commands, flows and slots occur in training and validation: what is rare is learned badly."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from rasa_ft_ext.checks.entries import Entry
from rasa_ft_ext.checks.findings import Finding, Place

Balance = dict[str, dict[str, tuple[int, int]]]
"""Rows of training and of validation in which a name occurs, by name, by kind (commands, flows, slots)."""

FEW = 3
_KINDS = {"commands": "command", "flows": "flow", "slots": "slot"}
_MORE = "Write more tests that have it, or ask for more rephrasings."


def balance_of(entries: Sequence[Entry]) -> Balance:
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


def check_balance(balance: Balance, *, divided: bool) -> Iterator[Finding]:
    """One finding for what validation has and training has not; notes on what is rare, or not in validation.

    Args:
        balance: What was counted.
        divided: Whether there is a validation side at all.
    """
    for kind, names in balance.items():
        for name, (train, validation) in names.items():
            what = f"The {_KINDS[kind]} {name}"
            if not train:
                text = f"{what} is in {validation} rows of validation and in none of training: it cannot be learned."
                yield _finding("warning", text, "Split again: `split` gives training every command, flow and slot.")
            elif train < FEW:
                yield _finding("note", f"{what} is in {train} of the rows to learn from only.", _MORE)
            elif divided and not validation:
                yield _finding("note", f"{what} is not in validation: it is not measured.", _MORE)


def _finding(severity: str, text: str, advice: str) -> Finding:
    return Finding.model_validate(
        {"kind": "balance", "severity": severity, "place": Place(), "text": text, "advice": advice}
    )
