"""`split`: divide the examples into training and validation data, by test case."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from rasa_ft_ext.cli import arguments, output


def add_arguments(parser: ArgumentParser) -> None:
    arguments.add_workspace(parser)
    arguments.add_project(parser)
    arguments.add_split(parser)
    arguments.add_review(parser)


def run(args: Namespace) -> int:
    from rasa_ft_ext import api
    from rasa_ft_ext.report.page import REPORT
    from rasa_ft_ext.workspace import SPLIT

    out = arguments.workspace_folder(args)
    with output.progress(args) as shown:
        summary = api.split(
            out,
            project=args.project,
            train_frac=args.train_frac,
            output_format=args.output_format,
            seed=args.seed,
            near_duplicates=args.near_duplicates,
            strict=args.strict,
            review=args.review,
            force=args.force,
            progress=shown,
        )
    output.print_summary("Training and validation data", summary, Path(args.project, out, SPLIT), shown)
    print(f"Report: {Path(args.project, out, REPORT)}")
    return 0
