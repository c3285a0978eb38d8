"""What the report shows of coverage: the verdict, each flow, and what is missing where."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from rasa_ft_ext.coverage_results import COVERAGE, COVERAGE_FILE, Coverage
from rasa_ft_ext.report.sections import Section, section
from rasa_ft_ext.workspace import read_record

_GAPS = 25  # more are folded


def sections(output: Path) -> Iterator[Section]:
    """The coverage of the E2E tests, if it was counted."""
    path = output / COVERAGE / COVERAGE_FILE
    if path.is_file():
        found = read_record(path, Coverage)
        yield section("coverage", "What the tests cover", "coverage.coverage", found=found, most=_GAPS)
