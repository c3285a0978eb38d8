"""The coverage gate on real assistants: what is mapped, what is counted, and `rasa test e2e --coverage-report`."""

from __future__ import annotations

import argparse
import random
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("rasa")

from rasa_ft_ext.cli import check_coverage
from rasa_ft_ext.cli import rasa_plugin as plugin
from rasa_ft_ext.coverage.conditions import Value, read
from rasa_ft_ext.coverage.count import Tested, count
from rasa_ft_ext.coverage_results import COVERAGE_FILE, Coverage
from rasa_ft_ext.flow_map import FlowMap
from rasa_ft_ext.rasa_pro.coverage import Watched, watching
from rasa_ft_ext.rasa_pro.flow_map import flow_map
from rasa_ft_ext.workspace import read_flow_map, read_record
from tests.rasa_pro.projects import REPOSITORY, Project

RECORDED = REPOSITORY / "assistant_example" / "annotations"


def e2e_parser() -> argparse.ArgumentParser:
    """The parser of `rasa test e2e`, as Rasa makes it and the plug-in changes it."""
    from rasa.cli import e2e_test, llm_fine_tuning, test

    subparsers = argparse.ArgumentParser(prog="rasa").add_subparsers()
    test.add_subparser(subparsers, parents=[])
    e2e_test.add_subparser(subparsers, parents=[])
    llm_fine_tuning.add_subparser(subparsers, parents=[])
    plugin.refine_cli(subparsers, [])
    parser: argparse.ArgumentParser = plugin._below(subparsers, "test").choices["e2e"]
    return parser


def run_e2e(project: Project, tests: Path, *flags: str) -> int:
    """`rasa test e2e` on a project, in this process; its exit code."""
    words = [str(tests), "--model", "models", "--coverage-output-path", "results", *flags]
    args = e2e_parser().parse_args(words)
    with project.entered(), project.at_home():
        try:
            args.func(args)
        except SystemExit as end:
            return int(end.code or 0)
    return 0


@pytest.fixture
def results(example: Project) -> Iterator[Path]:
    folder = example.path / "results"
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def stubbing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RASA_PRO_BETA_STUB_CUSTOM_ACTION", "true")


@pytest.fixture
def greeting(tmp_path: Path) -> Path:
    """One short test, for what does not depend on which tests run: each turn takes Rasa 0.1 s."""
    file = tmp_path / "greeting.yml"
    file.write_text(
        "test_cases:\n  - test_case: greeting\n    steps:\n      - user: Grüezi!\n      - utter: utter_welcome\n",
        encoding="utf-8",
    )
    return file


@pytest.fixture(scope="module")
def mapped(example: Project) -> FlowMap:
    """The map of the example, as its trained model gives it."""
    with example.open(stubbed=True) as live:
        return live.assistant.flow_map


def test_the_recorded_map_is_that_of_the_assistant(mapped: FlowMap) -> None:
    """If this fails, the assistant's flows changed: run scripts/record_example.py."""
    assert mapped == read_flow_map(RECORDED)


def test_files_and_lines_are_those_of_the_project(example: Project, mapped: FlowMap) -> None:
    for flow in mapped.flows:
        assert flow.file is not None
        assert flow.line is not None
        lines = (example.path / flow.file).read_text(encoding="utf-8").splitlines()
        assert lines[flow.line - 1].strip() == f"{flow.id}:"
        for step in flow.steps:
            assert step.line is not None
            shown = lines[step.line - 1]
            assert shown.strip().startswith("-")
            of_step = " ".join(lines[step.line - 1 : step.line + 1])
            assert (step.slot or step.action or step.flow or step.kind) in of_step


def test_rasas_command_gets_the_gate(example: Project, results: Path, stubbing: None) -> None:
    tests = example.tests / "cars" / "corrections.yml"

    assert run_e2e(example, tests, "--coverage-report", "--coverage-gate") == 2

    coverage = read_record(results / COVERAGE_FILE, Coverage)
    assert coverage.tests > 0
    assert {check.kind for check in coverage.failures} == {"total", "flow", "command"}
    car = next(flow for flow in coverage.flows if flow.id == "search_rental_car")
    assert 0 < car.visited < car.steps
    assert all(gap.file == "data/flows/cars.yml" and gap.line for gap in car.missing)
    assert {"coverage.md", "junit.xml", "coverage_report_for_passed_tests.csv"} <= {p.name for p in results.iterdir()}


def test_a_threshold_that_is_reached_ends_with_0(example: Project, results: Path, greeting: Path) -> None:
    assert run_e2e(example, greeting, "--min-coverage", "1") == 0

    assert read_record(results / COVERAGE_FILE, Coverage).checks


def test_failed_tests_end_with_1_and_do_not_count(example: Project, results: Path, tmp_path: Path) -> None:
    tests = tmp_path / "failing.yml"
    tests.write_text(
        "test_cases:\n  - test_case: wrong\n    steps:\n      - user: I'd like to book a car\n"
        "      - utter: utter_goodbye\n",
        encoding="utf-8",
    )

    assert run_e2e(example, tests, "--coverage-gate") == 1

    coverage = read_record(results / COVERAGE_FILE, Coverage)
    assert (coverage.tests, coverage.failed, coverage.visited) == (0, 1, 0)
    assert coverage.steps == 71
    assert coverage.share == 0


def test_without_the_flags_the_command_is_rasas_own(example: Project, results: Path, greeting: Path) -> None:
    assert run_e2e(example, greeting) == 0

    assert not results.exists()


@pytest.mark.parametrize(
    ("template", "differing"), [("default", set()), ("finance", {"goodbye", "transfer_money_to_a_third_party"})]
)
def test_differences_from_rasas_figure_are_explained(
    template: str, differing: set[str], request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    project: Project = request.getfixturevalue(template)
    seconds = []
    count_and_tell = check_coverage._judge

    def timed(*args: Any) -> bool:
        begin = time.perf_counter()
        red = count_and_tell(*args)
        seconds.append(time.perf_counter() - begin)
        return red

    monkeypatch.setattr(check_coverage, "_judge", timed)
    run_e2e(project, project.tests, "--coverage-report")

    coverage = read_record(project.path / "results" / COVERAGE_FILE, Coverage)
    assert coverage.tests > 0
    assert {entry.flow for entry in coverage.differences} == differing
    for entry in coverage.differences:
        assert entry.why, entry.flow
    assert len(seconds) == 1
    assert seconds[0] < 1
    print(f"{template}: counted, judged and told in {seconds[0]:.3f} s")


def test_many_branches_take_no_time() -> None:
    """Rasa lists all paths, whose number doubles with every branch; 16 branches take it 16 seconds."""
    from rasa.shared.core.domain import Domain
    from rasa.shared.core.flows.flow import Flow

    steps = []
    for number in range(60):
        steps.append(
            {
                "id": f"ask_{number}",
                "collect": f"slot_{number}",
                "next": [
                    {
                        "if": f"slots.slot_{number}",
                        "then": [{"action": f"utter_{number}", "next": f"ask_{number + 1}"}],
                    },
                    {"else": f"ask_{number + 1}"},
                ],
            }
        )
    steps.append({"id": "ask_60", "action": "utter_done"})
    flow = Flow.from_json("many", {"description": "many branches", "steps": steps})
    begin = time.perf_counter()

    mapped = flow_map([flow], Domain.empty(), Path())
    coverage = count(mapped, [Tested("none", [])], [], failed=0)

    assert time.perf_counter() - begin < 1
    assert (coverage.steps, coverage.flows[0].branches) == (121, 120)


def test_conditions_hold_as_they_do_in_rasa() -> None:
    from pypred import InvalidPredicate, Predicate

    chance = random.Random(5)
    values: list[Value] = [None, True, False, 3.0, 2.5, 0.0, 1.0, "x", "lost", "3", "True", ""]
    compared = 0
    for _ in range(1000):
        text, slots = made_up_condition(chance), {name: chance.choice(values) for name in "abc"}
        predicate, condition = Predicate(text), read(text)
        assert condition is not None, text
        try:
            holds = bool(predicate.evaluate({"slots": slots}))
        except (InvalidPredicate, TypeError):  # such as a text and a number, which have no order
            continue
        compared += 1
        assert condition.holds(slots) == holds, (text, slots)
    assert compared > 500


def made_up_condition(chance: random.Random, depth: int = 0) -> str:
    form = chance.random()
    if depth < 3 and form < 0.6:
        inner = made_up_condition(chance, depth + 1)
        if form < 0.15:
            return f"not {inner}"
        if form < 0.3:
            return f"({inner})"
        return f"{inner} {chance.choice(['and', 'or'])} {made_up_condition(chance, depth + 1)}"
    slot = f"slots.{chance.choice('abc')}"
    if form > 0.9:
        return slot
    sign = chance.choice(["=", "==", "is", "is not", "!=", "<", "<=", ">", ">=", "contains", "matches"])
    if sign == "matches":
        return f"{slot} matches '^lo'"
    others = ["true", "False", "null", "3", "2.5", "0", "1", "'x'", '"lost"', "undefined", "None", "lost", "slots.b"]
    return f"{slot} {sign} {chance.choice([*others, 'empty'] if sign.startswith('is') else others)}"


def test_watching_leaves_rasas_runner_as_it_was() -> None:
    from rasa.e2e_test.e2e_test_runner import E2ETestRunner

    before = E2ETestRunner._get_tested_flow_paths_and_commands
    with watching() as watched:
        assert isinstance(watched, Watched)
        assert E2ETestRunner._get_tested_flow_paths_and_commands is not before
    assert E2ETestRunner._get_tested_flow_paths_and_commands is before
