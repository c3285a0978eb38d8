"""`dataset`: recombine the passing rephrasings into new conversations and make an example of every user message."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from rasa_ft_ext.cli import arguments, call_arguments, logs, output


def add_arguments(parser: ArgumentParser) -> None:
    arguments.add_workspace(parser)
    arguments.add_project(parser)
    arguments.add_student_prompt(parser)
    arguments.add_redact(parser)
    arguments.add_review(parser)
    arguments.add_assistant(parser, required=False)
    arguments.add_concurrency(parser)
    call_arguments.add_workers(parser)


def run(args: Namespace) -> int:
    if args.model is not None:
        logs.start_rasa(args)
    from rasa_ft_ext import api
    from rasa_ft_ext.workspace import DATASET

    out = arguments.workspace_folder(args)
    with output.progress(args) as shown:
        summary = api.dataset(
            out,
            project=args.project,
            model=args.model,
            endpoints=args.endpoints,
            student_prompt=args.student_prompt,
            redact=args.redact,
            review=args.review,
            calls=call_arguments.call_options(args),
            sub_agents=args.sub_agents,
            remote_storage=args.remote_storage,
            force=args.force,
            progress=shown,
        )
    output.print_summary("Examples", summary, Path(args.project, out, DATASET), shown)
    return 0
