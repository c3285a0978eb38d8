"""The verdict, and the files it is told in."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

from rasa_ft_ext.coverage.count import Tested, count
from rasa_ft_ext.coverage.gate import check_thresholds, judge
from rasa_ft_ext.coverage.markdown import to_markdown
from rasa_ft_ext.coverage.output import JUNIT_FILE, MARKDOWN_FILE, write
from rasa_ft_ext.coverage.rasas import differences, read_report
from rasa_ft_ext.coverage_results import COVERAGE_FILE, GATE, Coverage, Thresholds
from rasa_ft_ext.errors import ConfigError, WorkspaceError
from rasa_ft_ext.flow_map import FlowMap, MappedFlow, MappedStep
from rasa_ft_ext.workspace import read_record
from tests.coverage.coverage_builders import FLOWS, all_steps, walk

HEAD = "Flow Name,Coverage,Num Steps,Missing Steps,Line Numbers for Missing Steps\n"


def covered(*, whole: bool) -> Coverage:
    tests = all_steps() if whole else [list(walk("book", "ask", "choose", "small", "END"))]
    return count(FLOWS, [Tested(str(number), test) for number, test in enumerate(tests)], ("StartFlow",), failed=0)


def flow_of(steps: int, visited: int) -> Coverage:
    mapped = MappedFlow(id="f", steps=tuple(MappedStep(id=str(n), kind="action") for n in range(steps)))
    walked = list(walk("f", *map(str, range(visited))))
    return count(FlowMap(flows=(mapped,)), [Tested("t", walked)], (), failed=0)


def test_all_thresholds_are_looked_at() -> None:
    checks = judge(covered(whole=False), Thresholds(total=90, flow=50, command=2, slots=10)).checks

    assert [(check.kind, check.name, check.passed) for check in checks] == [
        ("total", "all flows", False),
        ("flow", "book", True),
        ("flow", "pay", False),
        ("command", "start flow", False),
        ("slots", "slots", False),
    ]
    assert checks[0].sentence == "42.9 % of all steps are covered (3 of 7); at least 90 % wanted."
    assert checks[3].sentence == "Command 'start flow': it occurs once; at least 2 wanted."


def test_what_the_recipe_asks_for_is_90_80_and_1() -> None:
    assert Thresholds(total=90, flow=80, command=1) == GATE
    assert judge(covered(whole=True), GATE).passed
    assert not judge(covered(whole=False), GATE).passed


def test_a_threshold_that_is_just_reached_is_reached() -> None:
    assert judge(flow_of(5, 4), Thresholds(total=80, flow=80)).passed
    assert judge(flow_of(30, 27), Thresholds(total=90)).passed
    assert not judge(flow_of(5, 4), Thresholds(flow=80.1)).passed


def test_commands_that_the_prompt_does_not_offer_are_not_asked_for() -> None:
    coverage = count(FLOWS, [Tested("t", all_steps()[0])], ("StartFlow", "CancelFlow"), failed=0)

    checks = judge(coverage, Thresholds(command=2)).checks

    assert [(check.name, check.found) for check in checks] == [("cancel flow", 0), ("start flow", 1)]


def test_without_thresholds_there_is_no_verdict() -> None:
    coverage = judge(covered(whole=False), Thresholds())

    assert coverage.checks == ()
    assert coverage.passed
    assert coverage.sentence.endswith("no threshold was given.")


def test_thresholds_that_mean_nothing_are_refused_together() -> None:
    with pytest.raises(ConfigError) as error:
        check_thresholds(Thresholds(total=0.9, flow=101, command=-1))

    assert len(error.value.problems) == 3
    assert "write 90 for 90 %" in error.value.problems[0]


def test_the_files_say_the_same(tmp_path: Path) -> None:
    coverage = judge(covered(whole=False), GATE)

    write(tmp_path / "results", coverage)

    assert sorted(path.name for path in tmp_path.joinpath("results").iterdir()) == [
        COVERAGE_FILE,
        MARKDOWN_FILE,
        JUNIT_FILE,
    ]
    assert read_record(tmp_path / "results" / COVERAGE_FILE, Coverage) == coverage
    root = ElementTree.parse(tmp_path / "results" / JUNIT_FILE).getroot()
    assert (root.get("tests"), root.get("failures")) == ("4", "3")
    failed = {case.get("name"): case.findtext("failure") for case in root.iter("testcase")}
    assert failed["start flow reaches 1"] is None
    assert failed["pay reaches 80 %"] == "data/flows.yml:18: collect method\ndata/flows.yml:19: set_slots note"
    markdown = (tmp_path / "results" / MARKDOWN_FILE).read_text(encoding="utf-8")
    assert "| data/flows.yml:9 | book | action utter\\_big |" in markdown
    assert "**NOT covered well enough" in markdown


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    tmp_path.joinpath("file").write_text("")

    with pytest.raises(WorkspaceError, match="file"):
        write(tmp_path / "file", covered(whole=True))


def test_markdown_takes_no_text_for_its_own() -> None:
    flow = MappedFlow(id="a|b<script>", steps=(MappedStep(id="s", kind="action", action="x`y`"),))

    text = to_markdown(count(FlowMap(flows=(flow,)), [], (), failed=1))

    assert "<script>" not in text
    assert "a\\|b&lt;script&gt;" in text
    assert "x\\`y\\`" in text
    assert "0 passing tests count; the 1 that failed does not." in text


def report(path: Path, *rows: str) -> Path:
    path.write_text(HEAD + "\n".join(rows) + "\nTotal,50.00%,9,4,\n", encoding="utf-8")
    return path


def test_differences_from_rasas_report_have_reasons(tmp_path: Path) -> None:
    path = report(
        tmp_path / "report.csv",
        'data/flows.yml::booking,50.0,4,2,"[5-5, 9-10]"',
        'data/flows.yml::paying,100.0,1,0,"[]"',
    )

    found = differences(covered(whole=True), FLOWS, read_report(path))

    assert [(entry.flow, round(entry.rasas, 2)) for entry in found] == [("book", 0.5)]
    assert found[0].why == (
        "Rasa does not count steps that say nothing (line 6)",
        "Rasa does not see a step whose slot has a value before the flow comes to it (line 5)",
        "Rasa does not see a step that leaves no message of its own in the flow (line 9)",
    )


def test_a_visit_that_only_rasa_sees_has_its_reason(tmp_path: Path) -> None:
    path = report(tmp_path / "report.csv", 'data/flows.yml::paying,100.0,1,0,"[]"')

    found = differences(covered(whole=False), FLOWS, read_report(path))

    assert found[0].why[-1] == "Rasa takes a slot that is set or emptied while the flow is there for its step (line 18)"


def test_a_report_without_flows_is_read_and_another_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "report.csv"
    path.write_text(HEAD, encoding="utf-8")
    assert read_report(path) == []

    path.write_text("a,b\n1,2\n", encoding="utf-8")
    with pytest.raises(WorkspaceError, match="rasa test e2e"):
        read_report(path)
