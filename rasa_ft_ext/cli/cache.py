"""`cache`: what is kept of the answers that were paid for, and remove them."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from rasa_ft_ext.cli import arguments

if TYPE_CHECKING:
    from rasa_ft_ext.llm.cache import CacheInfo


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("action", choices=["info", "clear"], help="Say what is kept, or remove it.")
    parser.add_argument("output", nargs="?", help="Output folder of the run that kept it (default: output).")
    parser.add_argument("--cache", metavar="DIR", help="Folder that was given to the run with --cache, instead.")
    arguments.add_project(parser)
    parser.add_argument("-y", "--yes", action="store_true", help="With clear: remove without asking.")
    parser.add_argument("--json", metavar="FILE", help="With info: write what is kept to this file as well.")


def run(args: Namespace) -> int:
    return _info(args) if args.action == "info" else _clear(args)


def _info(args: Namespace) -> int:
    from rasa_ft_ext.files import write_json_file
    from rasa_ft_ext.llm.cache import read_info

    info = read_info(_folder(args))
    _show(info)
    if args.json:
        write_json_file(Path(args.project, args.json), info)
    return 0


def _clear(args: Namespace) -> int:
    from rasa_ft_ext.errors import WorkspaceError
    from rasa_ft_ext.llm.cache import FILE, clear, read_info

    folder = _folder(args)
    if not (folder / FILE).is_file():
        print(f"There is nothing to remove in {folder}.")
        return 0
    try:
        _show(read_info(folder))
    except WorkspaceError as error:  # also what cannot be read can be removed
        print(error)
    if not _agreed(args):
        print("Nothing was removed.")
        return 0
    clear(folder)
    print(f"Removed {folder / FILE}.")
    return 0


def _agreed(args: Namespace) -> bool:
    from rasa_ft_ext.errors import WorkspaceError

    if args.yes:
        return True
    if not sys.stdin.isatty():
        raise WorkspaceError("Nobody can be asked here, so nothing was removed. Give --yes to remove these answers.")
    try:
        return input("Remove these answers? They are paid for again when they are needed. [y/N] ").strip().lower() in (
            "y",
            "yes",
        )
    except EOFError:
        return False


def _folder(args: Namespace) -> Path:
    from rasa_ft_ext.errors import ConfigError

    if args.output and args.cache:
        raise ConfigError("arguments", [f"The folder is given twice: {args.output} and --cache {args.cache}."])
    return Path(args.project, args.cache or args.output or "output")


def _show(info: CacheInfo) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=f"{info.answers:,} kept answers, {info.size / 1e6:,.1f} MB", title_justify="left")
    table.add_column("model", overflow="fold")
    for name in ("answers", "from batches", "tokens in", "tokens out"):
        table.add_column(name, justify="right", no_wrap=True)
    for entry in info.models:
        figures = (entry.answers, entry.batch, entry.prompt_tokens, entry.completion_tokens)
        table.add_row(Text(f"{entry.provider}/{entry.model}"), *(f"{figure:,}" for figure in figures))
    console = Console(soft_wrap=True)
    console.print(table if info.models else "There are no kept answers.")
    lines = [f"Kept in {info.path}"]
    if info.oldest and info.newest:
        lines.append(
            f"The oldest is of {info.oldest:%Y-%m-%d %H:%M} UTC, the newest of {info.newest:%Y-%m-%d %H:%M} UTC"
        )
    if info.waiting:
        lines.append(f"Requests in batches at the provider: {info.waiting:,}. The same run takes up their answers")
    for line in lines:
        console.print(line, markup=False, highlight=False)
