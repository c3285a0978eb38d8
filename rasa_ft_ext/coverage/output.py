"""What a check of the coverage leaves: `coverage.json`, `coverage.md` and `junit.xml`, each whole."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

from rasa_ft_ext import junit
from rasa_ft_ext.coverage.markdown import to_markdown
from rasa_ft_ext.coverage_results import COVERAGE_FILE, Check, Coverage
from rasa_ft_ext.errors import WorkspaceError
from rasa_ft_ext.workspace import write_record

MARKDOWN_FILE = "coverage.md"
JUNIT_FILE = "junit.xml"


def write(folder: Path, coverage: Coverage) -> None:
    """Write the three files, in place of earlier ones.

    Raises:
        WorkspaceError: the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".coverage-", dir=folder) as draft:
            write_record(Path(draft, COVERAGE_FILE), coverage)
            Path(draft, MARKDOWN_FILE).write_text(to_markdown(coverage), encoding="utf-8", newline="\n")
            junit.write(Path(draft, JUNIT_FILE), "rasa-ft check-coverage", _suites(coverage))
            for name in (MARKDOWN_FILE, JUNIT_FILE, COVERAGE_FILE):
                os.replace(Path(draft, name), folder / name)
    except OSError as error:
        raise WorkspaceError(
            f"{folder} cannot be written: {error.strerror or error}. Make room there, or give another folder."
        ) from error


def _suites(coverage: Coverage) -> list[ElementTree.Element]:
    """One test case for each threshold, and for each flow what is missing in it."""
    suites = [junit.suite("coverage.verdict", [_case(check, coverage) for check in coverage.checks])]
    return suites if coverage.checks else [junit.suite("coverage.verdict", list(_not_judged(coverage)))]


def _case(check: Check, coverage: Coverage) -> ElementTree.Element:
    unit = "" if check.kind == "command" else " %"
    case = junit.case(f"coverage.{check.kind}", f"{check.name} reaches {check.wanted:g}{unit}")
    if not check.passed:
        junit.add(case, "failure", check.sentence, "\n".join(_missing(check, coverage)))
    return case


def _missing(check: Check, coverage: Coverage) -> Iterator[str]:
    for gap in coverage.gaps if check.kind in ("total", "flow") else ():
        if check.kind == "total" or gap.flow == check.name:
            yield f"{gap.place}: {gap.sentence}"
    for command in coverage.commands if check.kind == "command" else ():
        if command.name == check.name and command.suggestion:
            yield f"suggested test: {command.suggestion}"


def _not_judged(coverage: Coverage) -> Iterator[ElementTree.Element]:
    case = junit.case("coverage", "coverage is judged")
    junit.add(case, "skipped", coverage.sentence)
    yield case
