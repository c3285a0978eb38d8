"""Completions that name a flow, a slot or a value of a categorical slot that the assistant does not have.

A value that is not allowed, but stands in the user's message, is a note only, one for each message of a test: that the
user asks for what there is not, and the assistant says so, is what a good test tests. Old recordings do not name the
slots: then they are not looked at.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from rasa_ft_ext.checks.entries import Entry
from rasa_ft_ext.checks.findings import Finding, Severity
from rasa_ft_ext.checks.grounding import stands_in
from rasa_ft_ext.checks.known import Known
from rasa_ft_ext.commands import Command
from rasa_ft_ext.scratch import Shelf, scratch

_AGAIN = "If it was renamed, run `rasa-ft annotate --force` and make the data again; if not, mend the label."
_ASKED = "Nothing, if the test is about a value that there is not."


def check_names(entries: Iterable[Entry], known: Known) -> Iterator[Finding]:
    """One finding for each name in each row; of notes, one for each message of a test."""
    with scratch() as database:
        noted: Shelf[tuple[str | None, int | None, str]] = Shelf(database, "noted")
        for entry in entries:
            for severity, text in unknown_names(entry.commands, entry.message, known):
                message = (entry.place.test, entry.place.turn, text)
                if severity == "note" and message in noted:
                    continue
                noted[message] = True
                advice = _ASKED if severity == "note" else _AGAIN
                yield Finding(kind="unknown name", severity=severity, place=entry.place, text=text, advice=advice)


def unknown_names(commands: Iterable[Command], message: str, known: Known) -> Iterator[tuple[Severity, str]]:
    """How bad it is, and a sentence, for each name that the assistant does not have."""
    for command in commands:
        if command.type in ("StartFlow", "Clarify"):
            yield from _flows(command, known)
        elif command.type == "SetSlot":
            yield from _slot(command, message, known)


def _flows(command: Command, known: Known) -> Iterator[tuple[Severity, str]]:
    for flow in dict.fromkeys(command.args):
        if flow is not None and known.flows and flow not in known.flows:
            yield "problem", f"{command} names the flow {flow}, which the assistant does not have."


def _slot(command: Command, message: str, known: Known) -> Iterator[tuple[Severity, str]]:
    name, value = str(command.args[0]), command.args[1]
    if known.slots and name not in known.slots:
        yield "problem", f"{command} names the slot {name}, which the assistant does not have."
    allowed = known.values.get(name)
    if allowed and value is not None and value.casefold() not in allowed:
        text = f"{name} cannot be {value!r}; it can be {', '.join(sorted(allowed))}."
        yield "note" if stands_in(value, message) else "problem", text
