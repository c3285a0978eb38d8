"""`annotate`: run the E2E tests on the assistant and keep what its command generator did."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from rasa_ft_ext.cli import arguments, call_arguments, confirming, logs, output


def add_arguments(parser: ArgumentParser) -> None:
    arguments.add_tests(parser)
    arguments.add_out(parser)
    arguments.add_project(parser)
    arguments.add_annotations(parser)
    arguments.add_assistant(parser)
    call_arguments.add_calls(parser, batch=False)


def run(args: Namespace) -> int:
    if args.annotations is None:
        logs.start_rasa(args)
    from rasa_ft_ext import api
    from rasa_ft_ext.workspace import ANNOTATIONS

    with output.progress(args) as shown:
        summary = api.annotate(
            getattr(args, arguments.TESTS),
            project=args.project,
            model=args.model,
            endpoints=args.endpoints,
            out=args.out,
            calls=call_arguments.call_options(args),
            annotations=args.annotations,
            sub_agents=args.sub_agents,
            remote_storage=args.remote_storage,
            force=args.force,
            confirm=confirming.confirm(args, shown),
            progress=shown,
        )
    output.print_summary("Annotations", summary, Path(args.project, args.out, ANNOTATIONS), shown)
    return 0
