"""Completions that name a flow, a slot or a value of a categorical slot that the assistant does not have.

A value that is not allowed, but stands in the user's message, is a note only: that the user asks for what there is not,
and the assistant says so, is what a good test tests. Old recordings do not name the slots: then they are not looked at.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rasa_ft_ext.checks.entries import Entry
from rasa_ft_ext.checks.findings import Finding, Severity
from rasa_ft_ext.checks.grounding import stands_in
from rasa_ft_ext.checks.known import Known
from rasa_ft_ext.commands import Command

_AGAIN = "If it was renamed, run `rasa-ft annotate --force` and make the data again; if not, mend the label."


def check_names(entries: Sequence[Entry], known: Known) -> Iterator[Finding]:
    """One finding for each name in each row."""
    for entry in entries:
        for command in entry.commands:
            if command.type in ("StartFlow", "Clarify"):
                yield from _flows(entry, command, known)
            elif command.type == "SetSlot":
                yield from _slot(entry, command, known)


def _flows(entry: Entry, command: Command, known: Known) -> Iterator[Finding]:
    for flow in dict.fromkeys(command.args):
        if flow is not None and known.flows and flow not in known.flows:
            yield _finding("problem", entry, f"{command} names the flow {flow}, which the assistant does not have.")


def _slot(entry: Entry, command: Command, known: Known) -> Iterator[Finding]:
    name, value = str(command.args[0]), command.args[1]
    if known.slots and name not in known.slots:
        yield _finding("problem", entry, f"{command} names the slot {name}, which the assistant does not have.")
    allowed = known.values.get(name)
    if allowed and value is not None and value.casefold() not in allowed:
        asked = stands_in(value, entry.message)
        text = f"{name} cannot be {value!r}; it can be {', '.join(sorted(allowed))}."
        advice = "Nothing, if the test is about a value that there is not." if asked else _AGAIN
        yield _finding("note" if asked else "problem", entry, text, advice)


def _finding(severity: Severity, entry: Entry, text: str, advice: str = _AGAIN) -> Finding:
    return Finding(kind="unknown name", severity=severity, place=entry.place, text=text, advice=advice)
