"""The verdict: coverage against thresholds."""

from __future__ import annotations

from collections.abc import Iterator

from rasa_ft_ext.coverage_results import Check, Coverage, Thresholds
from rasa_ft_ext.errors import ConfigError


def check_thresholds(thresholds: Thresholds, where: str = "check-coverage") -> None:
    """Refuse thresholds that mean nothing.

    Raises:
        ConfigError: a percentage is not from 1 to 100 (or 0), or a number is negative.
    """
    problems = []
    for name, value in (("coverage", thresholds.total), ("flow", thresholds.flow), ("slot", thresholds.slots)):
        if value is not None and not (value == 0 or 1 <= value <= 100):
            hint = f"; write {100 * value:g} for {100 * value:g} %" if 0 < value < 1 else ""
            problems.append(f"The {name} threshold is {value:g}; it is a percentage, from 1 to 100, or 0{hint}.")
    if thresholds.command is not None and thresholds.command < 0:
        problems.append(f"The command threshold is {thresholds.command}; it is a number of times, 0 or more.")
    if problems:
        raise ConfigError(where, problems)


def judge(coverage: Coverage, thresholds: Thresholds) -> Coverage:
    """The same coverage with the verdict of these thresholds, in place of an earlier one."""
    return coverage.model_copy(update={"checks": tuple(_checks(coverage, thresholds))})


def _checks(coverage: Coverage, thresholds: Thresholds) -> Iterator[Check]:
    if thresholds.total is not None:
        figure = f"{100 * coverage.share:.1f} % of all steps are covered ({coverage.visited} of {coverage.steps})"
        yield _check("total", "all flows", 100 * coverage.share, thresholds.total, figure, "%")
    if thresholds.flow is not None:
        for flow in coverage.flows:
            figure = (
                f"Flow {flow.id}: {100 * flow.share:.1f} % of its steps are covered ({flow.visited} of {flow.steps})"
            )
            yield _check("flow", flow.id, 100 * flow.share, thresholds.flow, figure, "%")
    if thresholds.command is not None:
        for command in coverage.commands:
            if command.offered:
                times = "once" if command.count == 1 else f"{command.count} times"
                figure = f"Command {command.name!r}: it occurs {times}"
                yield _check("command", command.name, command.count, thresholds.command, figure, "")
    if thresholds.slots is not None:
        empty = [slot.name for slot in coverage.slots if not slot.filled]
        figure = f"{100 * coverage.slot_share:.1f} % of the collected slots get a value"
        figure += f" (none: {', '.join(empty)})" if empty else ""
        yield _check("slots", "slots", 100 * coverage.slot_share, thresholds.slots, figure, "%")


def _check(kind: str, name: str, found: float, wanted: float, figure: str, unit: str) -> Check:
    passed = found >= wanted - 1e-9  # 80 % of 5 steps are 4 of them, whatever a float says
    wants = f"{wanted:g} {unit}".strip()
    sentence = f"{figure}; at least {wants} wanted."
    return Check.model_validate(
        {"kind": kind, "name": name, "found": found, "wanted": wanted, "passed": passed, "sentence": sentence}
    )
