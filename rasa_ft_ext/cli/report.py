"""`report`: write `report.html` anew from what the other commands left."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from rasa_ft_ext.cli import arguments


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("output", nargs="?", default="output", help="Folder with the results of the other commands.")
    arguments.add_project(parser)


def run(args: Namespace) -> int:
    from rasa_ft_ext import api

    print(f"Report: {api.report(args.output, project=args.project)}")
    return 0
