"""`check-coverage`: say whether the E2E tests cover the assistant well enough to learn from, and what is missing."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from rasa_ft_ext.cli import arguments, output
from rasa_ft_ext.errors import AssistantError

if TYPE_CHECKING:
    from rasa_ft_ext.coverage.stage import Checked
    from rasa_ft_ext.coverage_results import Thresholds
    from rasa_ft_ext.rasa_pro.coverage import Watched

TESTS_FAILED = 1
RED = 2
_SHOWN_GAPS = 20


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "output",
        nargs="?",
        default="output",
        help="Output folder with annotations, or the folder of a coverage report of `rasa test e2e`.",
    )
    arguments.add_project(parser)
    arguments.add_coverage(parser)
    arguments.add_suggestions(parser)
    parser.add_argument(
        "--llm-api-base", metavar="URL", help="Where the recorded assistant's LLM is, in place of the recorded address."
    )
    parser.add_argument("--endpoints", default="endpoints.yml", help="Endpoints file with the model groups.")


def run(args: Namespace) -> int:
    from rasa_ft_ext import api

    thresholds = arguments.thresholds_of(args)
    checked = api.check_coverage(
        args.output,
        project=args.project,
        thresholds=thresholds,
        suggest=args.suggest,
        rephrase_config=args.rephrase_config,
        endpoints=args.endpoints,
        llm_api_base=args.llm_api_base,
    )
    show(checked)
    return exit_code(checked)


def run_in_rasa(run_tests: Callable[[Namespace], None], args: Namespace, thresholds: Thresholds | None) -> int:
    """Run Rasa's own `test e2e --coverage-report`, then count and judge what its tests went through.

    Without thresholds there is no verdict, the exit code is Rasa's, and what goes wrong here is told and no more.
    """
    from rasa_ft_ext.coverage.gate import check_thresholds
    from rasa_ft_ext.rasa_pro.coverage import watching

    if thresholds is not None:
        check_thresholds(thresholds)
    ended = None
    with watching() as watched:
        try:
            run_tests(args)
        except SystemExit as end:  # as Rasa always ends it: with 0, or because tests failed or could not be run
            ended = end if end.code else None
    red = False
    try:
        red = _judge(watched, args, thresholds)
    except Exception as error:
        if thresholds is not None and ended is None:
            raise
        output.print_error(f"rasa-ft-ext could not count the coverage: {error}")
    if ended is not None:
        raise ended
    return RED if red else 0


def _judge(watched: Watched, args: Namespace, thresholds: Thresholds | None) -> bool:
    """Count, judge and print what Rasa ran; say whether a threshold is missed."""
    from rasa_ft_ext.api.quality import suggester_for
    from rasa_ft_ext.coverage.count import Tested
    from rasa_ft_ext.coverage.stage import check_tests

    if not watched.ran:
        raise AssistantError("Rasa ran no test, so there is nothing to judge.")
    tests = [Tested(*test) for test in watched.passed]
    flows = watched.flow_map(Path.cwd())
    suggester = suggester_for(
        args.suggest,
        rephrase_config=args.rephrase_config,
        endpoints=str(args.endpoints),
        assistant_llm=watched.llm(),
    )
    checked = check_tests(
        Path(args.coverage_output_path),
        flows,
        tests,
        watched.offered(),
        failed=watched.failed,
        thresholds=thresholds,
        suggester=suggester,
        syntax=watched.syntax(),
    )
    show(checked)
    return not checked.coverage.passed


def exit_code(checked: Checked) -> int:
    """0: enough is covered; 1: there are tests that failed; 2: a threshold is missed."""
    if checked.coverage.failed:
        return TESTS_FAILED
    return 0 if checked.coverage.passed else RED


def show(checked: Checked) -> None:
    """Print the flows, what is missing, where the results are, and the verdict last."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    coverage = checked.coverage
    console = Console(soft_wrap=True)
    table = Table(title="Coverage of the E2E tests", title_justify="left")
    for name in ("flow", "steps", "covered", "branches", "taken", "tests"):
        table.add_column(name, justify="left" if name == "flow" else "right")
    for flow in coverage.flows:
        figures = (flow.steps, f"{100 * flow.share:.1f} %", flow.branches, flow.taken, len(flow.tests))
        table.add_row(escape(flow.id), *map(str, figures))
    console.print(table)
    lines = [f"{gap.place}: flow {gap.flow}, {gap.what}" for gap in coverage.gaps]
    files = Counter(test.partition("::")[0] for test in coverage.suggestions)
    suggested = [f"{file}, for {number} of what is missing" for file, number in files.items()]
    more = [f"and {len(lines) - _SHOWN_GAPS} more"] if len(lines) > _SHOWN_GAPS else []
    for title, entries in (
        ("Not covered", [*lines[:_SHOWN_GAPS], *more]),
        ("Suggested tests", suggested),
        ("Below a threshold", [check.sentence for check in coverage.failures]),
        ("Other than in Rasa's own report", [f"{entry.flow}: {entry.sentence}" for entry in coverage.differences]),
        ("Notes", list(coverage.notes)),
    ):
        if entries:
            console.print(f"{title}:", style="yellow")
        for entry in entries:
            console.print(f"  {entry}", markup=False, highlight=False)
    console.print(f"Results: {checked.folder}", markup=False, highlight=False)
    colour = "green" if coverage.passed and not coverage.failed else "red"
    console.print(coverage.counted, markup=False, highlight=False)
    console.print(coverage.sentence, markup=False, highlight=False, style=colour)
