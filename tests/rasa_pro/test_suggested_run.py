"""Suggested tests on real assistants: Rasa reads them, they pass, and what was missing is covered."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

pytest.importorskip("rasa")

from ruamel.yaml import YAML

from rasa_ft_ext.annotate.recorded import copy_annotations
from rasa_ft_ext.annotate.stage import annotate
from rasa_ft_ext.cli.main import main
from rasa_ft_ext.coverage.stack import moves
from rasa_ft_ext.coverage.suggest import Suggester
from rasa_ft_ext.coverage_results import COVERAGE, COVERAGE_FILE, Coverage
from rasa_ft_ext.flow_map import FlowMap
from rasa_ft_ext.llm.scripted.server import scripted_llm
from rasa_ft_ext.rasa_pro.flow_map import flow_map
from rasa_ft_ext.workspace import Workspace, read_annotations, read_record, record_path, write_record
from tests.coverage.test_suggested_paths import all_gaps
from tests.rasa_pro.projects import REPOSITORY, Project, copy_template
from tests.rasa_pro.suggestions import answers_with
from tests.rasa_pro.test_coverage import run_e2e

RECORDED = REPOSITORY / "assistant_example" / "annotations"
FLOW = "change_flight"
GATE = ["--min-coverage", "90", "--min-flow-coverage", "80"]


@contextmanager
def told(project: Project, suggested: Path, folder: Path) -> Iterator[Project]:
    """The project with a scripted LLM that answers suggested messages as the files say."""
    answers = answers_with(project.answers, suggested, project.path, folder / "answers.yml")
    with scripted_llm(answers) as llm:
        environment = {**project.environment, "SCRIPTED_LLM_URL": llm.base_url}
        yield dataclasses.replace(project, answers=answers, llm=llm, environment=environment)


def few_tests_without(flow: str) -> set[str]:
    """Tests that go through all that the recorded ones go through, less those that come to a flow."""
    went = {
        conversation.id: {(move.flow, move.after) for move in moves(conversation.events)}
        for file in read_annotations(RECORDED)
        for conversation in file.conversations
    }
    left = {name: steps for name, steps in went.items() if not any(step[0] == flow for step in steps)}
    chosen: set[str] = set()
    missing = set().union(*left.values())
    while missing:
        best = max(sorted(left), key=lambda name: len(left[name] & missing))
        chosen.add(best)
        missing -= left[best]
    return chosen


def recorded(chosen: set[str], recording: Path, out: Path) -> None:
    """Take the chosen tests' annotations from the recording, which Rasa gave."""
    shutil.copytree(RECORDED, recording)
    for file in read_annotations(recording):
        kept = tuple(entry for entry in file.conversations if entry.id in chosen)
        write_record(record_path(recording, file.source.file), file.model_copy(update={"conversations": kept}))
    copy_annotations(Workspace(out), recording)


def annotated(project: Project, chosen: set[str], out: Path) -> None:
    """Run the chosen tests and those of `suggested/` on the assistant."""
    with project.open(stubbed=True) as live:
        suite = live.suite()
        tests = [test for test in suite.tests if test.id in chosen or test.id.startswith("suggested/")]
        summary = live.run(annotate(Workspace(out, force=True), live.assistant, suite.files, tests))
    assert not summary.failed


def test_the_gate_is_red_without_the_tests_of_a_flow_and_green_with_the_suggested_ones(
    example: Project, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen, out = few_tests_without(FLOW), tmp_path / "output"
    tests = Path(shutil.copytree(example.tests, tmp_path / "e2e_tests"))
    project = dataclasses.replace(example, tests=tests)
    recorded(chosen, tmp_path / "recording", out)

    assert main(["check-coverage", str(out), *GATE, "--suggest"]) == 2

    assert f"data/flows/flights.yml:8: flow {FLOW}, action action_find_flight" in capsys.readouterr().out
    suggested = Path(shutil.copytree(out / COVERAGE / "suggested", tests / "suggested"))
    assert {path.name for path in suggested.iterdir()} == {f"{FLOW}.yml", "missing.commands.yml"}
    with told(project, suggested, tmp_path) as told_project:
        annotated(told_project, chosen, out)

    assert main(["check-coverage", str(out), *GATE]) == 0
    (flow,) = (flow for flow in read_record(out / COVERAGE / COVERAGE_FILE, Coverage).flows if flow.id == FLOW)
    assert (flow.visited, flow.steps) == (16, 16)


def test_rasas_own_command_suggests_tests_that_pass_in_it(
    example: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every flow of the example, by Rasa's command and runner alone; one message covers nothing to begin with."""
    monkeypatch.setenv("RASA_PRO_BETA_STUB_CUSTOM_ACTION", "true")
    silent = tmp_path / "silent.yml"
    silent.write_text("test_cases: [{test_case: joke, steps: [{user: Tell me a joke}]}]\n", encoding="utf-8")
    results = example.path / "results"
    with told(example, tmp_path / "none", tmp_path) as project:
        assert run_e2e(project, silent, "--suggest", "llm") == 0
    notes = read_record(results / COVERAGE_FILE, Coverage).notes
    assert any("28 of 28 suggested tests keep the drafted messages" in note for note in notes)  # no words for these
    suggested = Path(shutil.move(results / "suggested", tmp_path / "suggested"))

    with told(example, suggested, tmp_path) as project:
        assert run_e2e(project, suggested, "--min-coverage", "100") == 0

    coverage = read_record(results / COVERAGE_FILE, Coverage)
    shutil.rmtree(results)
    assert (coverage.visited, coverage.failed) == (71, 0)
    assert coverage.tests == sum(path.read_text("utf-8").count("- test_case:") for path in suggested.iterdir())


def template_map(name: str, folder: Path) -> FlowMap:
    """The map of a project template, whose assistant need not be trained for that."""
    from rasa.shared.core.domain import Domain
    from rasa.shared.core.flows.yaml_flows_io import YAMLFlowsReader

    path = copy_template(name, folder / name)
    files = [file for file in sorted((path / "data").rglob("*.yml")) if YAML().load(file)]
    flows = [flow for file in files for flow in YAMLFlowsReader.read_from_file(file)]
    own = [flow for flow in flows if not flow.is_rasa_default_flow]
    return flow_map(own, Domain.load(path / "domain"), path)


@pytest.mark.parametrize(("template", "flows", "contradictions"), [("default", 3, 1), ("finance", 29, 3)])
def test_all_that_is_missing_in_rasas_templates_gets_tests_that_rasa_reads(
    template: str, flows: int, contradictions: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rasa.e2e_test.utils.io import read_test_cases

    from rasa_ft_ext.coverage.count import count

    monkeypatch.setenv("RASA_PRO_BETA_STUB_CUSTOM_ACTION", "true")
    mapped = template_map(template, tmp_path)
    empty = count(mapped, [], (), failed=0)

    coverage = Suggester().suggest(empty, mapped, [], syntax="v2", folder=tmp_path / "results")

    read = read_test_cases(str(tmp_path / "results" / "suggested"))
    names = {case.name for case in read.test_cases}
    assert len(mapped.flows) == flows
    assert len(coverage.gaps) == sum(len(flow.steps) for flow in mapped.flows)
    assert {str(gap.suggestion).partition("::")[2] for gap in coverage.gaps} <= names
    assert len(names) < len(all_gaps(mapped)) / 2
    texts = [path.read_text(encoding="utf-8") for path in (tmp_path / "results" / "suggested").iterdir()]
    assert sum(text.count("contradict each other") for text in texts) >= contradictions
