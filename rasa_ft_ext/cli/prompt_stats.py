"""`prompt-stats`: tokens per prompt, and the share of them that a prefix cache can use again."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from rasa_ft_ext.cli import arguments

if TYPE_CHECKING:
    from rasa_ft_ext.prompt_stats import PromptStats


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("output", nargs="?", default="output", help="Folder with the results of `rasa-ft annotate`.")
    arguments.add_project(parser)
    parser.add_argument(
        "--template",
        nargs="+",
        action="extend",
        metavar="NAME|FILE",
        help="Templates to measure: data, assistant, compact, minimal, the name of a generator of Rasa's, or jinja2 "
        "files (default: all but files).",
    )
    parser.add_argument(
        "--tokenizer",
        metavar="FOLDER",
        help="Folder with a Hugging Face tokenizer, or its name on the hub (default: cl100k_base, which is here).",
    )
    parser.add_argument("--json", metavar="FILE", help="Write the figures to this file as well.")


def run(args: Namespace) -> int:
    from rasa_ft_ext import api
    from rasa_ft_ext.files import write_json_file

    stats = api.prompt_stats(args.output, project=args.project, templates=args.template or (), tokenizer=args.tokenizer)
    _print(stats)
    if args.json:
        write_json_file(Path(args.project, args.json), stats)
    return 0


def _print(stats: PromptStats) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(
        title=f"Tokens per prompt: {stats.prompts} messages of {stats.conversations} conversations, {stats.tokenizer}",
        title_justify="left",
    )
    table.add_column("template", overflow="fold")
    for name in ("clock", "mean", "p50", "p95", "max", "reusable"):
        table.add_column(name, justify="right")
    for found in stats.templates:
        lengths = (f"{found.tokens_mean:,.1f}", *map(str, (found.tokens_p50, found.tokens_p95, found.tokens_max)))
        table.add_row(found.template, "yes" if found.clock else "no", *lengths, f"{found.reusable:.1%}")
    console = Console(soft_wrap=True)
    console.print(table)
    for note in stats.notes:
        console.print(note, markup=False, highlight=False)
