"""The evaluation as JUnit XML, which CI systems show: each E2E test and each threshold is a test case.

The elements and attributes are those that all readers of the format know: `testsuites`, `testsuite`, `testcase` with
`classname`, and in it `failure` or `skipped`. A test that was run several times fails if it failed once.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from xml.etree import ElementTree

from rasa_ft_ext.evaluate.verdict import LEFT_OUT, SIDES, checked_thresholds, comparison_name, thresholds_missed
from rasa_ft_ext.evaluation import Evaluation, TestOutcome
from rasa_ft_ext.report.words import shown

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def write_junit(path: Path, evaluation: Evaluation, outcomes: Sequence[TestOutcome]) -> None:
    """Write the file."""
    root = ElementTree.Element("testsuites", name="rasa-ft evaluate")
    suites = [_suite("verdict", list(_verdict(evaluation)))]
    suites += [
        _suite(f"e2e_tests.{side}", cases)
        for side in SIDES
        if (cases := list(_tests([outcome for outcome in outcomes if outcome.side == side], side)))
    ]
    root.extend(suites)
    for name in ("tests", "failures", "errors", "skipped"):
        root.set(name, str(sum(int(suite.get(name, "0")) for suite in suites)))
    root.set("time", _seconds(sum(float(suite.get("time", "0")) for suite in suites)))
    ElementTree.indent(root, " ")
    ElementTree.ElementTree(root).write(path, encoding="utf-8", xml_declaration=True)


def _suite(name: str, cases: Sequence[ElementTree.Element]) -> ElementTree.Element:
    counts = {
        "tests": len(cases),
        "failures": sum(case.find("failure") is not None for case in cases),
        "errors": 0,
        "skipped": sum(case.find("skipped") is not None for case in cases),
    }
    time = _seconds(sum(float(case.get("time", "0")) for case in cases))
    suite = ElementTree.Element(
        "testsuite", {"name": name, **{key: str(number) for key, number in counts.items()}, "time": time}
    )
    suite.extend(cases)
    return suite


def _tests(outcomes: Sequence[TestOutcome], side: str) -> Iterator[ElementTree.Element]:
    by_test: dict[str, list[TestOutcome]] = {}
    for outcome in outcomes:
        by_test.setdefault(outcome.id, []).append(outcome)
    for test, repeats in by_test.items():
        file, _, name = test.rpartition("::")
        case = _case(f"e2e_tests.{side}.{file}", name, sum(sum(outcome.seconds) for outcome in repeats))
        failed = [outcome for outcome in repeats if not outcome.passed]
        if failed:
            often = f" (failed in {len(failed)} of {len(repeats)} runs)" if len(repeats) > 1 else ""
            reasons = list(dict.fromkeys(outcome.reason or "failed" for outcome in failed))
            _add(case, "failure", f"{reasons[0].splitlines()[0]}{often}", "\n".join(reasons))
        yield case


def _verdict(evaluation: Evaluation) -> Iterator[ElementTree.Element]:
    missed = dict(thresholds_missed(evaluation))
    for name, asked, figure in checked_thresholds(evaluation):
        case = _case("verdict", f"{name} is at least {100 * asked:g} %")
        if name in missed:
            _add(case, "failure", missed[name], shown(figure))
        yield case
    for side in evaluation.comparison:
        case = _case("verdict", comparison_name(side))
        if comparison_name(side) in missed:
            _add(case, "failure", missed[comparison_name(side)])
        yield case
    if evaluation.parity is not None:
        case = _case("verdict", "The served model is the one in the model folder")
        if evaluation.parity.problems:
            _add(case, "failure", evaluation.parity.problems[0], "\n".join(evaluation.parity.problems))
        yield case
    for part, why in evaluation.not_measured.items():
        case = _case("verdict", f"{part} measured")
        _add(case, "skipped" if why == LEFT_OUT else "failure", f"Not measured: {why}.")
        yield case


def _case(classname: str, name: str, seconds: float = 0.0) -> ElementTree.Element:
    return ElementTree.Element("testcase", classname=_clean(classname), name=_clean(name), time=_seconds(seconds))


def _add(case: ElementTree.Element, kind: str, message: str, text: str | None = None) -> None:
    element = ElementTree.SubElement(case, kind, message=_clean(message))
    if kind == "failure":
        element.set("type", "failure")
    element.text = _clean(text) if text is not None else None


def _clean(text: str) -> str:
    """The text without characters that XML cannot hold."""
    return _NOT_XML.sub("\N{REPLACEMENT CHARACTER}", text)


def _seconds(seconds: float) -> str:
    return f"{seconds:.3f}"
