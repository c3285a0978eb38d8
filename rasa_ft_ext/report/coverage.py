"""What the report shows of coverage: the verdict, each flow, and what is missing where."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from rasa_ft_ext.coverage_results import COVERAGE, COVERAGE_FILE, Coverage, FlowCoverage
from rasa_ft_ext.report.sections import QUALITY, Headline, Section, section
from rasa_ft_ext.workspace import read_record

ANCHOR = "coverage"
_FLOWS = 25  # the worst; more are folded
_GAPS = 10  # missing lines of a flow; more are folded
_OPEN = 5  # flows whose missing lines are not folded


def sections(output: Path) -> Iterator[Section]:
    """The coverage of the E2E tests, if it was counted."""
    found = _read(output)
    if found is None:
        return
    yield section(
        ANCHOR,
        "What the tests cover",
        "coverage.coverage",
        group=QUALITY,
        found=found,
        flows=sorted(found.flows, key=_worst_first),
        missed={check.name for check in found.failures if check.kind == "flow"},
        wanted={check.name: check.wanted / 100 for check in found.checks if check.kind == "flow"},
        incomplete=sorted((flow for flow in found.flows if flow.missing), key=_worst_first),
        shown=_FLOWS,
        most=_GAPS,
        open=_OPEN,
    )


def headline(output: Path) -> Headline | None:
    """The answer at the top of the page, if coverage was counted."""
    found = _read(output)
    if found is None:
        return None
    passed = found.passed if found.checks else None
    return Headline("Do the tests cover the assistant?", found.sentence, passed, ANCHOR)


def _read(output: Path) -> Coverage | None:
    """The coverage in an output folder, or that in the folder of a coverage report of `rasa test e2e`."""
    paths = (output / COVERAGE / COVERAGE_FILE, output / COVERAGE_FILE)
    return next((read_record(path, Coverage) for path in paths if path.is_file()), None)


def _worst_first(flow: FlowCoverage) -> tuple[float, int, str]:
    return flow.share, flow.taken - flow.branches, flow.id
