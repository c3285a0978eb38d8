"""`monitor`: what users say now, against what the model was trained on."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from rasa_ft_ext.cli import arguments, logs, output


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "output", nargs="?", default="output", help="Folder with the training data; the figures go there, too."
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--endpoints", help="Endpoints file that names the assistant's tracker store, a SQL database.")
    source.add_argument(
        "--conversations", metavar="PATH", help="Exported conversations: a JSON or JSONL file, or a folder of them."
    )
    parser.add_argument("--since", metavar="DATE", help="Leave out what was said before, such as 2026-05-14.")
    parser.add_argument("--until", metavar="DATE", help="Leave out what was said on that date and later.")
    parser.add_argument("--worst", type=int, default=20, metavar="N", help="How many of the worst messages are shown.")
    parser.add_argument(
        "--drafts", metavar="DIR", help="Write the worst messages as drafts of E2E tests; a new folder."
    )
    parser.add_argument(
        "--prometheus", metavar="FILE", help="Write the figures for node_exporter's textfile collector."
    )
    parser.add_argument("--json", metavar="FILE", help="Write the figures to this file as well.")
    parser.add_argument(
        "--phone-regions",
        nargs="+",
        metavar="CODE",
        help="Countries whose phone numbers are masked without a country code (default: DE AT CH GB US CN).",
    )
    parser.add_argument("--force", action="store_true", help="Replace figures that rasa-ft did not write.")
    arguments.add_project(parser)


def run(args: Namespace) -> int:
    if args.endpoints is not None:
        logs.start_rasa(args)
    from rasa_ft_ext import api
    from rasa_ft_ext.report.page import REPORT
    from rasa_ft_ext.workspace import MONITORING

    with output.progress(args) as shown:
        summary = api.monitor(
            args.output,
            endpoints=args.endpoints,
            conversations=args.conversations,
            project=args.project,
            since=args.since,
            until=args.until,
            worst=args.worst,
            drafts=args.drafts,
            prometheus=args.prometheus,
            json=args.json,
            phone_regions=args.phone_regions,
            force=args.force,
            progress=shown,
        )
    output.print_summary("Conversations", summary, Path(args.project, args.output, MONITORING), shown)
    print(f"Report: {Path(args.project, args.output, REPORT)}")
    return 0
