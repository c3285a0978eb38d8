"""`evaluate`: measure a served model, compare it with the teacher and with its folder, and give a verdict."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from rasa_ft_ext.cli import arguments, logs, output, values

if TYPE_CHECKING:
    from rasa_ft_ext.evaluation import Evaluation

PARTS = ("commands", "conversations", "parity")
RED = 2


def add_arguments(parser: ArgumentParser) -> None:
    arguments.add_workspace(parser)
    arguments.add_project(parser)
    _add_model(parser)
    _add_measuring(parser)
    _add_thresholds(parser)
    arguments.add_concurrency(parser)
    arguments.add_assistant(parser, flags=("--assistant-model",))


def _add_model(parser: ArgumentParser) -> None:
    group = parser.add_argument_group("Model")
    group.add_argument(
        "--api-base", metavar="URL", required=True, help="Address of the server, such as http://HOST/v1."
    )
    group.add_argument("--model", metavar="NAME", required=True, help="Name that the model is served under.")
    group.add_argument(
        "--model-folder",
        metavar="DIR",
        help="Folder of the training that the served model comes from, to be compared with.",
    )
    group.add_argument(
        "--api-key-env",
        metavar="NAME",
        help="Environment variable with the server's key (default: HOSTED_VLLM_API_KEY, if that is set).",
    )
    group.add_argument(
        "--price",
        nargs=2,
        type=values.price,
        metavar=("PROMPT", "ANSWER"),
        default=(0.0, 0.0),
        help="What 1,000 tokens of prompts and of answers cost.",
    )


def _add_measuring(parser: ArgumentParser) -> None:
    group = parser.add_argument_group("What is measured")
    group.add_argument(
        "--only",
        action="append",
        choices=PARTS,
        help="Measure this part and leave the others out; may be given several times.",
    )
    group.add_argument(
        "--against-teacher",
        action="store_true",
        help="Run the E2E tests with the assistant's own LLM too, and compare.",
    )
    group.add_argument(
        "--repeats", type=values.positive_int, default=1, metavar="N", help="Runs of each E2E test with each model."
    )


def _add_thresholds(parser: ArgumentParser) -> None:
    group = parser.add_argument_group("Thresholds")
    for flag, default, text in (
        ("--min-validation", 0.8, "Pass rate that the validation tests must reach."),
        ("--min-train", 0.95, "Pass rate that the training tests must reach."),
        ("--min-accuracy", None, "Share of validation examples that must get just the expected commands."),
        ("--margin", 0.05, "How much lower than the teacher's a pass rate may be to count as not worse."),
    ):
        group.add_argument(flag, type=values.share, default=default, metavar="X", help=text)


def run(args: Namespace) -> int:
    parts = tuple(args.only or PARTS)
    if "conversations" in parts and find_spec("rasa") is not None:
        logs.start_rasa(args)
    from rasa_ft_ext import api

    out = arguments.workspace_folder(args)
    with output.progress(args) as shown:
        evaluation = api.evaluate(
            out,
            project=args.project,
            api_base=args.api_base,
            model=args.model,
            model_folder=args.model_folder,
            api_key_env=args.api_key_env,
            price=tuple(args.price),
            only=parts,
            against_teacher=args.against_teacher,
            repeats=args.repeats,
            min_validation=args.min_validation,
            min_train=args.min_train,
            min_accuracy=args.min_accuracy,
            margin=args.margin,
            concurrency=args.concurrency,
            assistant_model=args.assistant_model,
            endpoints=args.endpoints,
            sub_agents=args.sub_agents,
            remote_storage=args.remote_storage,
            force=args.force,
            progress=shown,
        )
    _print(evaluation, Path(args.project, out))
    return RED if evaluation.verdict.red else 0


def _print(evaluation: Evaluation, out: Path) -> None:
    """Print the figures as a table, what is wrong, where it all is, and the verdict last."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from rasa_ft_ext.report.words import overview
    from rasa_ft_ext.workspace import EVALUATION

    console = Console(soft_wrap=True)
    table = Table(title=escape(f"Evaluation of {evaluation.subject.model}"), title_justify="left")
    table.add_column("")
    table.add_column("validation", justify="right")
    table.add_column("train", justify="right")
    for row in overview(evaluation):
        table.add_row(*row)
    if table.row_count:
        console.print(table)
    verdict = evaluation.verdict
    lines = [*verdict.problems, *(compared.sentence for compared in evaluation.comparison.values()), *evaluation.notes]
    for line in dict.fromkeys(lines):
        console.print(f"- {line}", markup=False, highlight=False)
    console.print(f"Results: {out / EVALUATION} and {out / 'report.html'}", markup=False, highlight=False)
    console.print(verdict.sentence, markup=False, highlight=False, style="green" if verdict.passed else "red")
