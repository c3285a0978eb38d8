"""Checks of what the model knows of the assistant: its flows, its slots, and the version of Rasa behind the prompts."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version

from rasa_ft_ext.doctor.case import Case
from rasa_ft_ext.doctor.findings import Said, Unknown, ok, problem, warning
from rasa_ft_ext.doctor.flows import compare, one_line

RASA = "rasa-pro"
_AGAIN = "make the data again and train with it"
_LISTED = 8


def check_flows(case: Case) -> Iterator[Said]:
    """The flows in the project's files are those of the data."""
    before = case.card.flows
    changes = compare(before, {name: flow.description for name, flow in case.flows.items()})
    for old, new in changes.renamed.items():
        yield problem(
            f"The flow {old} is called {new} now: the model goes on answering with {old}.",
            f"Give it its old name back, or {_AGAIN}.",
        )
    if changes.removed:
        yield problem(
            f"There is no flow {_listed(changes.removed)} any more: the model may still start it.",
            f"Bring it back, or {_AGAIN}.",
        )
    if changes.added:
        yield warning(
            f"New since the data was made: {_listed(changes.added)}. The model was never trained to start it.",
            f"Write E2E tests for it, then {_AGAIN}.",
        )
    if changes.described:
        yield warning(
            f"The description was changed of {_listed(changes.described)}: the model reads another prompt than it "
            "learned from.",
            "Run `rasa-ft evaluate` again; if it is worse, " + _AGAIN + ".",
        )
    if not (changes.renamed or changes.removed or changes.added or changes.described):
        yield ok(f"The {len(before)} flows are those of the data, with their descriptions.")


def check_slots(case: Case) -> Iterator[Said]:
    """The slots that the model fills are there, and those that flows ask for are those of the data."""
    before = _recorded(case)
    now = {(name, text) for flow in case.flows.values() for name, text in flow.collects.items()}
    asked = {name for name, _ in now}
    learned = {str(command.args[0]) for row in case.examples for command in row.commands if command.type == "SetSlot"}
    gone = sorted(learned & {name for name, _ in before} - case.slots - asked)
    if gone:
        yield problem(
            f"There is no slot {_listed(gone)} any more: the model was trained to set it.",
            f"Bring it back, or {_AGAIN}.",
        )
    new = sorted(asked - set(case.card.slots))
    if new:
        yield warning(
            f"Flows ask for {_listed(new)}, which the data does not know: the model was never trained to set it.",
            f"Write E2E tests for it, then {_AGAIN}.",
        )
    described = sorted({name for name, _ in before - now} & asked - {*gone, *new})
    if described:
        yield warning(
            f"Flows describe {_listed(described)} in other words than in the data: the model reads another prompt than "
            "it learned from.",
            "Run `rasa-ft evaluate` again; if it is worse, " + _AGAIN + ".",
        )
    if not (gone or new or described):
        yield ok(f"The {len(learned)} slots that the model was trained to set are there.")


def _recorded(case: Case) -> set[tuple[str, str]]:
    """The slots of the flows in the recorded prompts, each with its description. Those of Rasa's own are not there."""
    flows = [flow for each in case.annotations for flow in each.variables.get("available_flows") or []]
    slots = {(str(slot["name"]), one_line(slot.get("description"))) for flow in flows for slot in flow["slots"]}
    if not slots:
        raise Unknown("the annotations do not tell the slots of the flows")
    return slots


def check_rasa(case: Case) -> Iterator[Said]:
    """The version of Rasa here, and the one that trained the assistant, are the one of the data."""
    before = case.card.rasa_version
    try:
        installed = version(RASA)
    except PackageNotFoundError:
        raise Unknown(f"Rasa Pro is not installed here (the data was made with {before})") from None
    yield _compared(before, installed, "installed here")


def check_trained_version(case: Case) -> Iterator[Said]:
    """The trained assistant is of the version of Rasa that the data was made with."""
    yield _compared(case.card.rasa_version, case.assistant.rasa_version, f"what trained {case.assistant.path}")


def _compared(before: str, now: str, whose: str) -> Said:
    if before == now:
        return ok(f"{now} is {whose}, and what the data was made with.")
    text = f"{now} is {whose}, but the data was made with {before}."
    if before.split(".")[:2] == now.split(".")[:2]:
        return warning(text, "Run `rasa-ft evaluate` again.")
    return problem(
        f"{text} Another version can bring other prompts, commands and patterns.",
        f"Go back to {before}, or {_AGAIN} with {now}.",
    )


def _listed(names: tuple[str, ...] | list[str]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more
