"""`prepare-data`: annotate, rephrase, dataset and split in one go, with all flags of Rasa's own command."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from rasa_ft_ext.cli import arguments, call_arguments, confirming, logs, output


def add_arguments(parser: ArgumentParser) -> None:
    arguments.add_tests(parser)
    arguments.add_out(parser)
    arguments.add_project(parser)
    arguments.add_annotations(parser)
    arguments.add_student_prompt(parser)
    arguments.add_redact(parser)
    arguments.add_review(parser)
    arguments.add_assistant(parser)
    arguments.add_rephrasing(parser)
    arguments.add_variety(parser)
    arguments.add_split(parser)
    parser.add_argument(
        "--require-coverage",
        action="store_true",
        help="Stop before anything is paid for if the tests cover less than the recipe asks for (see check-coverage).",
    )
    call_arguments.add_calls(parser)


def run(args: Namespace) -> int:
    if args.annotations is None:
        logs.start_rasa(args)
    from rasa_ft_ext import api
    from rasa_ft_ext.report.page import REPORT

    with output.progress(args) as shown:
        summary = api.prepare_data(
            getattr(args, arguments.TESTS),
            project=args.project,
            model=args.model,
            endpoints=args.endpoints,
            out=args.out,
            num_rephrases=args.num_rephrases,
            rephrase_config=args.rephrase_config,
            train_frac=args.train_frac,
            output_format=args.output_format,
            seed=args.seed,
            near_duplicates=args.near_duplicates,
            strict=args.strict,
            calls=call_arguments.call_options(args),
            slot_values=args.slot_values,
            substitute_slots=args.substitute_slots,
            substitute_values=args.substitute_values,
            noise=args.noise,
            self_consistency=args.self_consistency,
            student_prompt=args.student_prompt,
            redact=args.redact,
            review=args.review,
            annotations=args.annotations,
            llm_api_base=args.llm_api_base,
            require_coverage=args.require_coverage,
            sub_agents=args.sub_agents,
            remote_storage=args.remote_storage,
            force=args.force,
            confirm=confirming.confirm(args, shown),
            progress=shown,
        )
    output.print_summary("Fine-tuning data", summary, Path(args.project, args.out), shown)
    print(f"Report: {Path(args.project, args.out, REPORT)}")
    return 0
