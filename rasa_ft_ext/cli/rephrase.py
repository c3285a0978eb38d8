"""`rephrase`: paraphrase the annotated user messages and keep what the LLM understands in the same way."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from rasa_ft_ext.cli import arguments, call_arguments, confirming, logs, output


def add_arguments(parser: ArgumentParser) -> None:
    arguments.add_workspace(parser)
    arguments.add_project(parser)
    arguments.add_assistant(parser, required=False)
    arguments.add_rephrasing(parser)
    arguments.add_variety(parser)
    parser.add_argument(
        "--seed", type=int, default=42, help="Seed of substitution and noise: the same seed gives the same wordings."
    )
    call_arguments.add_calls(parser)


def run(args: Namespace) -> int:
    if args.model is not None:
        logs.start_rasa(args)
    from rasa_ft_ext import api
    from rasa_ft_ext.workspace import REPHRASINGS

    out = arguments.workspace_folder(args)
    with output.progress(args) as shown:
        summary = api.rephrase(
            out,
            project=args.project,
            model=args.model,
            endpoints=args.endpoints,
            num_rephrases=args.num_rephrases,
            rephrase_config=args.rephrase_config,
            slot_values=args.slot_values,
            substitute_slots=args.substitute_slots,
            substitute_values=args.substitute_values,
            noise=args.noise,
            self_consistency=args.self_consistency,
            seed=args.seed,
            llm_api_base=args.llm_api_base,
            calls=call_arguments.call_options(args),
            sub_agents=args.sub_agents,
            remote_storage=args.remote_storage,
            force=args.force,
            confirm=confirming.confirm(args, shown),
            progress=shown,
        )
    output.print_summary("Rephrasings", summary, Path(args.project, out, REPHRASINGS), shown)
    return 0
