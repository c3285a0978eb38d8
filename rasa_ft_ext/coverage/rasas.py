"""Rasa's own coverage report, `coverage_report_for_passed_tests.csv`: read, and compared with our figures.

It gives for every flow the number of its steps, the number of those missing, and the lines of these.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rasa_ft_ext._version import __version__
from rasa_ft_ext.coverage_results import Coverage, Difference, FlowCoverage, Gap
from rasa_ft_ext.errors import WorkspaceError
from rasa_ft_ext.flow_map import FlowMap, MappedFlow, MappedStep

RASAS_FILE = "coverage_report_for_passed_tests.csv"
_TOTAL = "Total"
_COUNTED = {"collect", "action", "call", "link"}  # the kinds of steps that Rasa looks at


@dataclass(frozen=True)
class RasasFlow:
    """One line of the report: the flow by its file and the name that it has for users.

    `lines` are the first lines of the missing steps, where Rasa knows them.
    """

    file: str | None
    name: str
    steps: int
    missing: int
    lines: tuple[int, ...]

    @property
    def share(self) -> float:
        return 1 - self.missing / self.steps if self.steps else 0.0


def read_report(path: Path) -> list[RasasFlow]:
    """Read the report; it is empty when no test passed.

    Raises:
        WorkspaceError: it is no such report.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return [_of_row(row) for row in csv.DictReader(file) if row["Flow Name"] != _TOTAL]
    except (OSError, UnicodeDecodeError, KeyError, ValueError, TypeError) as error:
        raise WorkspaceError(
            f"{path} cannot be read as a coverage report of Rasa ({error}). Run `rasa test e2e "
            "--coverage-report` again."
        ) from error


def coverage_of(report: Sequence[RasasFlow]) -> Coverage:
    """What the report alone says: steps and lines, no branches, slots, commands or tests."""
    note = "This is Rasa's own count, which knows no branches, slots and commands, and not how many tests passed."
    flows = [
        FlowCoverage(
            id=entry.name,
            file=entry.file,
            steps=entry.steps,
            visited=entry.steps - entry.missing,
            branches=0,
            taken=0,
            missing=tuple(
                Gap(kind="step", flow=entry.name, step=f"line {line}", what="a step", file=entry.file, line=line)
                for line in entry.lines
            ),
        )
        for entry in report
    ]
    return Coverage(version=__version__, tests=0, failed=0, flows=tuple(flows), notes=(note,))


def differences(coverage: Coverage, flows: FlowMap, report: Sequence[RasasFlow]) -> tuple[Difference, ...]:
    """The flows of which the report says something else than our count, each with the reasons."""
    mapped = {flow.id: flow for flow in flows.flows}
    found = []
    for flow in coverage.flows:
        theirs = _same_flow(mapped[flow.id], report)
        if theirs is not None and abs(theirs.share - flow.share) > 1e-9:
            why = tuple(_reasons(flow, mapped[flow.id], theirs))
            found.append(Difference(flow=flow.id, ours=flow.share, rasas=theirs.share, why=why))
    return tuple(found)


def _reasons(flow: FlowCoverage, mapped: MappedFlow, theirs: RasasFlow) -> Iterator[str]:
    not_ours = {gap.step for gap in flow.missing if gap.kind == "step"}
    left_out = [step for step in mapped.steps if step.kind not in _COUNTED]
    counted = [step for step in mapped.steps if step.kind in _COUNTED]
    if left_out:
        yield f"Rasa does not count steps that say nothing ({_named(left_out)})"
    if theirs.steps < len(counted):
        yield f"Rasa finds {theirs.steps} of the {len(counted)} other steps on its paths through the flow"
    ours_only = [step for step in counted if step.line in theirs.lines and step.id not in not_ours]
    for kind, why in _ONLY_OURS.items():
        of_kind = [step for step in ours_only if (step.kind == "collect") == (kind == "collect")]
        if of_kind:
            yield f"{why} ({_named(of_kind)})"
    theirs_only = [step for step in counted if step.id in not_ours and step.line not in theirs.lines]
    if theirs_only and len(theirs.lines) == theirs.missing:
        yield f"Rasa takes a slot that is set or emptied while the flow is there for its step ({_named(theirs_only)})"


_ONLY_OURS = {
    "collect": "Rasa does not see a step whose slot has a value before the flow comes to it",
    "other": "Rasa does not see a step that leaves no message of its own in the flow",
}


def _named(steps: Sequence[MappedStep]) -> str:
    places = [f"line {step.line}" if step.line else step.id for step in steps]
    return ", ".join(places[:5]) + (f" and {len(places) - 5} more" if len(places) > 5 else "")


def _same_flow(flow: MappedFlow, report: Sequence[RasasFlow]) -> RasasFlow | None:
    """The line of the report for a flow: of several with its name, the one with its file."""
    named = [entry for entry in report if entry.name == flow.name]
    of_file = [entry for entry in named if entry.file and flow.file and Path(entry.file).match(f"**/{flow.file}")]
    return next(iter(of_file or named), None)


def _of_row(row: Mapping[str, str]) -> RasasFlow:
    lines = re.findall(r"(\d+)-\d+", row["Line Numbers for Missing Steps"] or "")
    file, _, name = row["Flow Name"].rpartition("::")
    return RasasFlow(
        file or None, name, int(row["Num Steps"]), int(row["Missing Steps"]), tuple(sorted(int(line) for line in lines))
    )
