"""`connect`: let the assistant use the fine-tuned model, or take that back."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from rasa_ft_ext.cli import arguments, values

if TYPE_CHECKING:
    from rasa_ft_ext.connect.stage import ConnectSummary, Proposal

_COLOURS = {"---": "bold", "+++": "bold", "@@": "cyan", "+": "green", "-": "red"}


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("output", nargs="?", help="Folder with the evaluation and the data (default: output).")
    parser.add_argument("-o", "--out", help="The same folder, given as a flag.")
    arguments.add_project(parser)
    _add_model(parser)
    _add_assistant(parser)
    group = parser.add_argument_group("What is done")
    group.add_argument("-y", "--yes", action="store_true", help="Write the changes without asking.")
    group.add_argument("--dry-run", action="store_true", help="Show the changes and write nothing.")
    group.add_argument(
        "--force",
        action="store_true",
        help="Connect also a model that is not proven, and say so in config.yml; with --rollback: restore also what "
        "was changed by hand since.",
    )
    group.add_argument(
        "--rollback", action="store_true", help="Restore the files as they were before, and do nothing else."
    )


def _add_model(parser: ArgumentParser) -> None:
    group = parser.add_argument_group("Model")
    group.add_argument("--model", metavar="NAME", help="Name that the model is served under.")
    group.add_argument("--api-base", metavar="URL", help="Base URL of its server, with its /v1.")
    group.add_argument(
        "--api-key-env", metavar="NAME", help="Environment variable with the server's key, if it asks for one."
    )
    group.add_argument("--timeout", type=float, default=30, metavar="SECONDS", help="Seconds that an answer may take.")
    group.add_argument(
        "--max-tokens",
        type=values.positive_int,
        metavar="N",
        help="Most tokens of an answer (default: as many as in the evaluation).",
    )
    group.add_argument(
        "--model-folder",
        metavar="DIR",
        help="Folder that `train` wrote, to compare with what was evaluated.",
    )


def _add_assistant(parser: ArgumentParser) -> None:
    group = parser.add_argument_group("Assistant")
    group.add_argument("--config", default="config.yml", help="Configuration of the assistant.")
    group.add_argument("--endpoints", default="endpoints.yml", help="Endpoints file of the assistant.")
    group.add_argument(
        "--style",
        choices=["llm", "model_group"],
        help="Where the model is written: in config.yml, or as a model group in endpoints.yml. By default as the "
        "assistant has it.",
    )
    group.add_argument(
        "--fallback", action="store_true", help="Let the LLM of before answer wherever the model does not."
    )


def run(args: Namespace) -> int:
    from rasa_ft_ext import api

    if args.rollback:
        undone = api.rollback(project=args.project, force=args.force)
        for title, files in (("Restored", undone.restored), ("Removed", undone.removed)):
            if files:
                print(f"{title}: {', '.join(files)}")
        print("Train the assistant again: rasa train")
        return 0
    _require(args)
    summary = api.connect(
        arguments.workspace_folder(args),
        model=args.model,
        api_base=args.api_base,
        project=args.project,
        config=args.config,
        endpoints=args.endpoints,
        model_folder=args.model_folder,
        api_key_env=args.api_key_env,
        timeout=args.timeout,
        max_tokens=args.max_tokens,
        style=args.style,
        fallback=args.fallback,
        force=args.force,
        confirm=lambda proposal: _confirm(proposal, args),
    )
    _report(summary, args)
    return 1 if summary.declined and not args.dry_run else 0


def _require(args: Namespace) -> None:
    from rasa_ft_ext.errors import ConfigError

    missing = [flag for flag, value in (("--model", args.model), ("--api-base", args.api_base)) if not value]
    if missing:
        raise ConfigError("arguments", [f"{flag} is missing." for flag in missing])


def _confirm(proposal: Proposal, args: Namespace) -> bool:
    """Show what is about to be written, and ask."""
    from rasa_ft_ext.errors import ConnectError

    _show(proposal)
    if args.dry_run or args.yes:
        return bool(args.yes and not args.dry_run)
    if not sys.stdin.isatty():
        raise ConnectError("Nobody can be asked here, so nothing was written. Give --yes to write these changes.")
    try:
        return input("Write these changes? [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        return False


def _show(proposal: Proposal) -> None:
    from rich.console import Console
    from rich.text import Text

    console = Console(soft_wrap=True)
    for line in proposal.diff:
        style = next((style for begin, style in _COLOURS.items() if line.startswith(begin)), "")
        console.print(Text(line, style=style))
    for note in proposal.notes:
        console.print(Text(f"Note: {note}", style="yellow"))


def _report(summary: ConnectSummary, args: Namespace) -> None:
    if summary.declined:
        print("Nothing was written.")
        return
    if not summary.changed:
        print("Nothing to do: the assistant is connected to this model already.")
    else:
        print(f"Written: {', '.join(summary.changed)}")
    where = "" if Path(args.project) == Path() else f" in {args.project}"
    print(f"Next{where}:")
    for step in summary.next_steps:
        print(f"  {step}")
    if summary.changed:
        print("To take it back: rasa-ft connect --rollback")
