"""The evaluation as JUnit XML, which CI systems show: each E2E test and each threshold is a test case.

A test that was run several times fails if it failed once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from xml.etree import ElementTree

from rasa_ft_ext.evaluate.verdict import LEFT_OUT, SIDES, checked_thresholds, comparison_name, thresholds_missed
from rasa_ft_ext.evaluation import Evaluation, TestOutcome
from rasa_ft_ext.junit import add, suite, write
from rasa_ft_ext.junit import case as new_case
from rasa_ft_ext.report.words import shown


def write_junit(path: Path, evaluation: Evaluation, outcomes: Sequence[TestOutcome]) -> None:
    """Write the file."""
    suites = [suite("verdict", list(_verdict(evaluation)))]
    suites += [
        suite(f"e2e_tests.{side}", cases)
        for side in SIDES
        if (cases := list(_tests([outcome for outcome in outcomes if outcome.side == side], side)))
    ]
    write(path, "rasa-ft evaluate", suites)


def _tests(outcomes: Sequence[TestOutcome], side: str) -> Iterator[ElementTree.Element]:
    by_test: dict[str, list[TestOutcome]] = {}
    for outcome in outcomes:
        by_test.setdefault(outcome.id, []).append(outcome)
    for test, repeats in by_test.items():
        file, _, name = test.rpartition("::")
        case = new_case(f"e2e_tests.{side}.{file}", name, sum(sum(outcome.seconds) for outcome in repeats))
        failed = [outcome for outcome in repeats if not outcome.passed]
        if failed:
            often = f" (failed in {len(failed)} of {len(repeats)} runs)" if len(repeats) > 1 else ""
            reasons = list(dict.fromkeys(outcome.reason or "failed" for outcome in failed))
            add(case, "failure", f"{reasons[0].splitlines()[0]}{often}", "\n".join(reasons))
        yield case


def _verdict(evaluation: Evaluation) -> Iterator[ElementTree.Element]:
    missed = dict(thresholds_missed(evaluation))
    for name, asked, figure in checked_thresholds(evaluation):
        case = new_case("verdict", f"{name} is at least {100 * asked:g} %")
        if name in missed:
            add(case, "failure", missed[name], shown(figure))
        yield case
    for side in evaluation.comparison:
        case = new_case("verdict", comparison_name(side))
        if comparison_name(side) in missed:
            add(case, "failure", missed[comparison_name(side)])
        yield case
    if evaluation.parity is not None:
        case = new_case("verdict", "The served model is the one in the model folder")
        if evaluation.parity.problems:
            add(case, "failure", evaluation.parity.problems[0], "\n".join(evaluation.parity.problems))
        yield case
    for part, why in evaluation.not_measured.items():
        case = new_case("verdict", f"{part} measured")
        add(case, "skipped" if why == LEFT_OUT else "failure", f"Not measured: {why}.")
        yield case
