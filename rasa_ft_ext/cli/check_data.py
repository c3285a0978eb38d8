"""`check-data`: look for faults in the training data: each with its place, and what to do."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from rasa_ft_ext.cli import arguments, output, values

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rasa_ft_ext.checks.findings import CheckReport, Finding, Severity

FAULTY = 2
_SHOWN = 10  # of each kind
_COLOURS: dict[Severity, str] = {"problem": "red", "warning": "yellow", "note": "dim"}


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("output", nargs="?", default="output", help="Folder with the results of `rasa-ft dataset`.")
    arguments.add_project(parser)
    parser.add_argument(
        "--strict", action="store_true", help="End with exit code 2 if there is a problem or a warning."
    )
    parser.add_argument(
        "--near-duplicates",
        choices=["report", "drop", "group"],
        default="report",
        help="Split again first, so that of rows that are nearly the same all but one are left out, or they are kept "
        "on one side.",
    )
    parser.add_argument(
        "--tokenizer", metavar="FOLDER", help="Folder of a base model: name the rows that are too long for its context."
    )
    parser.add_argument(
        "--max-length",
        type=values.positive_int,
        metavar="N",
        help="Tokens that a row may have (default: the context of the base model).",
    )
    parser.add_argument("--json", metavar="FILE", help="Write all findings and figures into this file as well.")


def run(args: Namespace) -> int:
    from rasa_ft_ext import api
    from rasa_ft_ext.checks.stage import write_report

    with output.progress(args) as shown:
        report = api.check_data(
            args.output,
            project=args.project,
            near_duplicates=args.near_duplicates,
            tokenizer=args.tokenizer,
            max_length=args.max_length,
            progress=shown,
        )
    if args.json:
        write_report(Path(args.project, args.json), report)
    _print(report)
    return FAULTY if args.strict and report.faults else 0


def _print(report: CheckReport) -> None:
    """The findings by severity and kind, the first of each, then the counts."""
    from rich.console import Console

    from rasa_ft_ext.checks.findings import SEVERITIES

    console = Console(soft_wrap=True)
    by_kind: dict[tuple[Severity, str, str], list[Finding]] = {}
    for severity in SEVERITIES:
        for finding in report.findings:
            if finding.severity == severity:
                by_kind.setdefault((severity, finding.kind, finding.advice), []).append(finding)
    for (severity, kind, advice), found in by_kind.items():
        console.print(f"{severity}: {kind} ({len(found)})", style=_COLOURS[severity], markup=False, highlight=False)
        for line in _lines(found):
            console.print(f"  {line}", markup=False, highlight=False)
        console.print(f"  -> {advice}\n", markup=False, highlight=False)
    mean = report.average_diversity
    if mean is not None:
        console.print(f"Rephrasings: diversity {mean:.2f} on average.", markup=False, highlight=False)
    if report.longest is not None:
        console.print(f"The longest row has {report.longest:,} tokens.", markup=False, highlight=False)
    found_of = {severity: report.count(severity) for severity in SEVERITIES}
    counts = ", ".join(f"{number} {severity}{'' if number == 1 else 's'}" for severity, number in found_of.items())
    console.print(f"{report.rows:,} rows: {counts}", markup=False, highlight=False)


def _lines(found: Sequence[Finding]) -> list[str]:
    lines = [
        finding.text if str(finding.place) == "all rows" else f"{finding.place}: {finding.text}" for finding in found
    ]
    more = len(lines) - _SHOWN
    return [*lines[:_SHOWN], f"... and {more} more; see --json."] if more > 0 else lines
