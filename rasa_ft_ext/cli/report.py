"""`report`: write `report.html` anew from what the other commands left."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from rasa_ft_ext.cli import arguments


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("output", nargs="?", default="output", help="Folder with the results of the other commands.")
    arguments.add_project(parser)


def run(args: Namespace) -> int:
    from rasa_ft_ext.report.page import write_report

    print(f"Report: {write_report(Path(args.project, args.output))}")
    return 0
