"""`rasa-ft check-coverage`, and the verdict in `prepare-data`, on the example's recording."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from rasa_ft_ext.annotate.recorded import copy_annotations
from rasa_ft_ext.cli.main import main
from rasa_ft_ext.conversation import AnnotatedFile, FailedTest
from rasa_ft_ext.coverage_results import COVERAGE, COVERAGE_FILE, Coverage
from rasa_ft_ext.llm.scripted.server import scripted_llm
from rasa_ft_ext.workspace import (
    FLOW_MAP,
    REPHRASINGS,
    Workspace,
    read_annotations,
    read_record,
    record_path,
    write_record,
)

EXAMPLE = Path(__file__).parents[2] / "assistant_example"
RASAS_FILE = "coverage_report_for_passed_tests.csv"


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    return Path(shutil.copytree(EXAMPLE / "annotations", tmp_path / "recording"))


def without_flow(folder: Path, flow: str) -> None:
    """Take every conversation away in which a flow is started."""
    for file in read_annotations(folder):
        kept = tuple(
            entry
            for entry in file.conversations
            if not any(event.get("event") == "flow_started" and event["flow_id"] == flow for event in entry.events)
        )
        write_record(record_path(folder, file.source.file), file.model_copy(update={"conversations": kept}))


def with_failed_test(folder: Path) -> None:
    file = next(iter(read_annotations(folder)))
    failed = (FailedTest(id="x.yml::fails", reason="expected a, got b"),)
    changed: AnnotatedFile = file.model_copy(update={"failed": failed})
    write_record(record_path(folder, file.source.file), changed)


def output_of(recording: Path) -> Path:
    workspace = Workspace(recording.parent / "output")
    copy_annotations(workspace, recording)
    return workspace.root


def check(*words: object) -> int:
    return main(["check-coverage", *map(str, words)])


def found(folder: Path) -> Coverage:
    return read_record(folder / COVERAGE_FILE, Coverage)


def test_the_example_passes(recording: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = output_of(recording)

    assert check(out) == 0

    assert capsys.readouterr().out.splitlines()[-1].startswith("Covered well enough: 100.0 %")
    assert found(out / COVERAGE).checks


def test_without_the_tests_of_a_flow_the_gate_is_red_and_names_its_lines(
    recording: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    without_flow(recording, "change_flight")
    out = output_of(recording)

    assert check(out) == 2

    printed = capsys.readouterr().out
    assert "data/flows/flights.yml:8: flow change_flight, action action_find_flight" in printed
    assert "Flow change_flight: 0.0 % of its steps are covered (0 of 16); at least 80 % wanted." in printed
    assert printed.splitlines()[-1].startswith("NOT covered well enough")
    assert {gap.flow for gap in found(out / COVERAGE).gaps if gap.kind == "step"} == {"change_flight"}


def test_failed_tests_end_with_1(recording: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with_failed_test(recording)

    assert check(output_of(recording)) == 1

    assert "the 1 that failed does not." in capsys.readouterr().out


def test_a_threshold_takes_the_place_of_what_the_recipe_asks_for(recording: Path) -> None:
    without_flow(recording, "change_flight")
    out = output_of(recording)

    assert check(out, "--min-coverage", "70") == 0
    assert check(out, "--min-coverage", "70%", "--min-flow-coverage", "80") == 2
    assert check(out, "--min-slot-coverage", "100") == 2
    assert check(out, "--min-command-count", "3", "--project", out.parent) == 2
    assert check(out, "--coverage-gate", "--min-coverage", "0", "--min-flow-coverage", "0") == 0


@pytest.mark.parametrize(
    ("flag", "value", "says"),
    [
        ("--min-coverage", "0.9", "such as 90"),
        ("--min-flow-coverage", "101", "from 0 to 100"),
        ("--min-coverage", "nan", "from 0 to 100"),
        ("--min-command-count", "-1", "0 or more"),
        ("--min-slot-coverage", "all", "not a number"),
    ],
)
def test_odd_thresholds_are_refused(flag: str, value: str, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        check(f"{flag}={value}")

    assert end.value.code == 2
    assert says in capsys.readouterr().err


def test_a_run_of_rasas_is_judged_again_with_other_thresholds(recording: Path, tmp_path: Path) -> None:
    out = output_of(recording)
    check(out)
    results = Path(shutil.copytree(out / COVERAGE, tmp_path / "e2e_coverage_results"))
    (results / RASAS_FILE).write_text("as Rasa left it", encoding="utf-8")

    assert check(results) == 0
    assert check(results, "--min-command-count", "1000") == 2
    assert {entry.kind for entry in found(results).checks} == {"command"}


def test_rasas_own_report_is_judged_by_its_steps(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    head = "Flow Name,Coverage,Num Steps,Missing Steps,Line Numbers for Missing Steps"
    rows = ['data/flows.yml::booking,75.0,4,1,"[9-10]"', "Total,75.00%,4,1,"]
    (tmp_path / RASAS_FILE).write_text("\n".join([head, *rows]), encoding="utf-8")

    assert check(tmp_path) == 2
    assert check(tmp_path, "--min-coverage", "75") == 0
    assert "data/flows.yml:9: flow booking, a step" in capsys.readouterr().out
    assert check(tmp_path, "--min-command-count", "1") == 1
    assert "says nothing of commands" in capsys.readouterr().err


def test_a_folder_with_nothing_to_judge_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(tmp_path / "nothing") == 1

    assert f"There is nothing to judge in {tmp_path / 'nothing'}" in capsys.readouterr().err
    assert not (tmp_path / "nothing").exists()


def test_a_recording_that_knows_no_flows_says_what_to_do(recording: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (recording / FLOW_MAP).unlink()

    assert check(output_of(recording)) == 1

    assert "rasa-ft annotate --force" in capsys.readouterr().err


def prepare(recording: Path, *flags: str) -> int:
    """`prepare-data` without rephrasings: no LLM is asked."""
    with scripted_llm(EXAMPLE / "answers.yml") as llm:
        words = ["--annotations", str(recording), "--out", str(recording.parent / "made"), "--num-rephrases", "0"]
        return main(["prepare-data", *words, "--llm-api-base", llm.base_url, "--quiet", *flags])


def test_prepare_data_tells_the_verdict_and_goes_on(recording: Path, capsys: pytest.CaptureFixture[str]) -> None:
    without_flow(recording, "change_flight")

    assert prepare(recording) == 0

    told = capsys.readouterr().err
    assert "NOT covered well enough" in told
    assert "Flow change_flight: 0.0 %" in told
    report = (recording.parent / "made" / "report.html").read_text(encoding="utf-8")
    assert "data/flows/flights.yml:8" in report
    assert report.count("at least 80 % wanted") == 1

    assert check(recording.parent / "made", "--min-flow-coverage", "0") == 0
    assert "at least 80 % wanted" not in (recording.parent / "made" / "report.html").read_text(encoding="utf-8")


def test_prepare_data_stops_before_it_pays_where_coverage_is_required(
    recording: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    without_flow(recording, "change_flight")

    assert prepare(recording, "--require-coverage") == 2

    assert "write E2E tests" in capsys.readouterr().err
    assert not (recording.parent / "made" / REPHRASINGS).exists()
    assert json.loads((recording.parent / "made" / COVERAGE / COVERAGE_FILE).read_text(encoding="utf-8"))["checks"]


def test_what_is_covered_well_enough_is_prepared_where_coverage_is_required(recording: Path) -> None:
    assert prepare(recording, "--require-coverage") == 0


def test_required_coverage_that_is_not_known_stops_and_otherwise_is_told(
    recording: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (recording / FLOW_MAP).unlink()

    assert prepare(recording, "--require-coverage") == 1
    assert prepare(recording, "--force") == 0
    assert f"Coverage is not known: the annotations have no {FLOW_MAP}." in capsys.readouterr().err
