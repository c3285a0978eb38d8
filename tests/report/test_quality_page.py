"""What the report says of the quality of the data: the verdicts on top, the findings of the checks, the coverage."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path

import pytest

from rasa_ft_ext import api
from rasa_ft_ext.checks.findings import CheckReport, Finding, Kind, Place, Severity
from rasa_ft_ext.checks.stage import CHECKS, latest
from rasa_ft_ext.checks.stage import write_report as write_checks
from rasa_ft_ext.coverage.count import Tested, count
from rasa_ft_ext.coverage.gate import judge
from rasa_ft_ext.coverage_results import COVERAGE, COVERAGE_FILE, GATE, Coverage, Difference, Thresholds
from rasa_ft_ext.report.figures import Rephrased
from rasa_ft_ext.report.funnel import makers
from rasa_ft_ext.report.page import write_report
from rasa_ft_ext.report.words import coded
from rasa_ft_ext.teacher_agreement import TeacherAgreement
from rasa_ft_ext.workspace import REPHRASINGS, SPLIT, SUMMARY, TIMINGS, Workspace, write_json, write_record
from tests.coverage.coverage_builders import FLOWS, all_steps, walk
from tests.report.report_builders import BOOKING, NASTY, OTHER, prepared

TAG = re.compile(r"<[^>]+>")


def finding(kind: Kind, severity: Severity, text: str, *, advice: str = "Mend it.", row: int = 1) -> Finding:
    place = Place(test=BOOKING.id, turn=0, row=f"ft_splits/train.jsonl line {row}")
    return Finding(kind=kind, severity=severity, place=place, text=text, advice=advice)


def with_findings(root: Path, *findings: Finding) -> Path:
    """A prepared folder whose split came with these findings."""
    workspace = prepared(root)
    write_checks(workspace.folder(SPLIT) / CHECKS, CheckReport(version="1", rows=1234, findings=findings))
    return root


def section(output: Path, name: str) -> str:
    html = write_report(output).read_text(encoding="utf-8")
    found = re.search(rf'<section id="{name}">(.*?)</section>', html, re.DOTALL)
    assert found is not None
    return found[1]


def text(html: str) -> str:
    return " ".join(unescape(TAG.sub(" ", html)).split())


def covered(tests: list[str], **thresholds: float) -> Coverage:
    walked = all_steps() if not tests else [list(walk("book", *tests))]
    found = count(FLOWS, [Tested(str(number), test) for number, test in enumerate(walked)], ("StartFlow",), failed=0)
    return judge(found, Thresholds.model_validate(thresholds))


def test_findings_are_grouped_by_what_is_to_be_done_and_the_worst_comes_first(tmp_path: Path) -> None:
    output = with_findings(
        tmp_path,
        finding("balance", "note", "rare"),
        finding("near-duplicate", "warning", "alike"),
        finding("leak", "problem", "seen", advice="Run `split` again.", row=1),
        finding("leak", "problem", "seen, too", advice="Run `split` again.", row=2),
    )
    html = section(output, "findings")
    shown = text(html)
    assert shown.startswith("What the checks found ! The checks of 1,234 rows found 2 problems, 1 warning and 1 note.")
    heads = [text(head) for head in re.findall(r"<summary>(.*?)</summary>", html)]
    assert [head.split(")")[0] for head in heads] == [
        *("problem: leak (2", "warning: near-duplicate (1", "note: balance (1"),
    ]
    assert [" open" in tag for tag in re.findall(r"<details[^>]*>", html)] == [True, True, False]
    assert "<strong>What to do:</strong> Run <code>split</code> again." in html
    assert f"{BOOKING.id}, message 1, ft_splits/train.jsonl line 2" in shown
    assert "findings-form" not in html


def test_a_clean_run_says_so_in_one_sentence(tmp_path: Path) -> None:
    shown = text(section(with_findings(tmp_path), "findings"))
    assert shown == "What the checks found ✓ The checks found nothing in 1,234 rows."


def test_notes_are_no_faults(tmp_path: Path) -> None:
    html = section(with_findings(tmp_path, finding("balance", "note", "rare")), "findings")
    assert 'class="verdict passed"' in html
    assert "no fault in 1,234 rows; what is worth knowing stands in 1 note." in text(html)


def test_many_findings_are_folded_and_cut_and_can_be_searched(tmp_path: Path) -> None:
    many = [finding("ungrounded value", "warning", f"value {number}", row=number) for number in range(520)]
    html = section(with_findings(tmp_path, *many), "findings")
    assert html.count("<tr><td") == 500
    assert [text(head) for head in re.findall(r"<summary>(.*?)</summary>", html)][1] == "495 more"
    assert "20 more; checks.json has the first 2,000 of each sort." in text(html)
    assert 'id="findings-form"' in html


def test_what_a_finding_says_is_text(tmp_path: Path) -> None:
    html = section(with_findings(tmp_path, finding("leak", "problem", NASTY, advice=f"`{NASTY}`")), "findings")
    assert "<img" not in html
    assert html.count("<script") == 0


def test_a_backtick_without_its_like_stays_one() -> None:
    assert coded("run `a <b>` now") == "run <code>a &lt;b&gt;</code> now"
    assert coded("it's `odd") == "it&#39;s `odd"


def test_what_check_data_finds_takes_the_place_of_what_split_found(tmp_path: Path) -> None:
    workspace = prepared(tmp_path)
    before = text(section(tmp_path, "findings"))
    assert "0 problems" not in before
    assert "length" not in before
    long = api.check_data(tmp_path, max_length=2)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "problem:</span> <strong>length</strong>" in page
    assert latest(workspace) == long
    api.split(tmp_path, train_frac=0.7, output_format="conversational", force=True)
    assert latest(workspace) != long, "the rows are others"
    assert "length" not in text(section(tmp_path, "findings"))


def test_a_folder_that_cannot_be_written_is_checked_all_the_same(tmp_path: Path) -> None:
    prepared(tmp_path)
    (tmp_path / CHECKS).mkdir()
    assert api.check_data(tmp_path).rows > 0


def test_the_verdicts_stand_on_top(tmp_path: Path) -> None:
    output = with_findings(tmp_path, finding("leak", "problem", "seen"))
    write_record(output / COVERAGE / COVERAGE_FILE, covered([], total=90))
    html = section(output, "glance")
    shown = text(html)
    assert "Look at what stands below first." in shown
    assert "Do the tests cover the assistant? ✓ yes Covered well enough: 100.0 %" in shown
    assert "Is the data sound? ✗ not yet The checks of 1,234 rows found 1 problem." in shown
    assert re.findall('<dt><a href="#(.*?)">', html) == ["coverage", "findings"]


def test_a_verdict_that_cannot_be_read_is_left_to_its_section(tmp_path: Path) -> None:
    output = with_findings(tmp_path)
    (output / SPLIT / CHECKS).write_text("{}")
    assert "Is the data sound?" not in section(output, "glance")
    assert "checks.json is not a CheckReport" in section(output, "findings")


def test_the_contents_are_in_groups(tmp_path: Path) -> None:
    with_findings(tmp_path)
    html = write_report(tmp_path).read_text(encoding="utf-8")
    nav = re.search(r"<nav.*?</nav>", html, re.DOTALL)
    assert nav is not None
    assert [text(group) for group in re.findall(r'<div class="group">(.*?)</div>', nav[0])] == [
        "At a glance",
        "Quality What the checks found",
        "Data From tests to examples What the examples hold Conversations The run",
    ]


def test_coverage_names_the_missing_lines_of_the_worst_flow_first(tmp_path: Path) -> None:
    (tmp_path / COVERAGE).mkdir()
    write_record(tmp_path / COVERAGE / COVERAGE_FILE, judge(covered(["ask", "choose", "small", "END"]), GATE))
    html = section(tmp_path, "coverage")
    shown = text(html)
    assert shown.startswith("What the tests cover ✗ NOT covered well enough: 3 thresholds are missed; 42.9 %")
    rows = [text(row) for row in re.findall(r'<tr><th scope="row".*?</tr>', html)]
    assert rows[0].startswith("pay ✗ 0.0 % 0 of 2")
    assert rows[1].startswith("book ✗ 60.0 % 3 of 5 1 of 2 1")
    missing = [text(row) for row in re.findall(r'<tr><td class="words"><code>.*?</tr>', html)]
    assert missing[0].startswith("data/flows.yml:18 collect method")
    assert "data/flows.yml:6 the branch: if slots.city is 'big', on to action utter_big" in missing
    assert len(missing) == 5


def test_coverage_without_thresholds_is_no_verdict(tmp_path: Path) -> None:
    write_record(tmp_path / COVERAGE_FILE, covered([]))
    html = section(tmp_path, "coverage")
    assert 'class="verdict neutral"' in html
    assert "no threshold was given" in html
    assert "What is missing" not in html


def test_the_folder_of_rasas_report_has_a_page_with_the_differences(tmp_path: Path) -> None:
    differing = Difference(flow="pay", ours=1.0, rasas=0.5, why=("Rasa does not count set_slots",))
    found = covered([], total=90).model_copy(update={"differences": (differing,)})
    write_record(tmp_path / COVERAGE_FILE, found)
    assert "pay 100.0 % 50.0 % Rasa does not count set_slots" in text(section(tmp_path, "coverage"))


def test_who_made_the_wordings_and_how_many_of_each_pass() -> None:
    found = Rephrased(
        rephrasings=20,
        passing=13,
        failing=7,
        failed_calls=0,
        passing_by_origin={"rephraser": 8, "noise: typo": 1, "substitution": 4},
        failing_by_origin={"rephraser": 2, "noise: typo": 3, "noise: asr": 2},
    )
    assert [(of.name, of.made, of.share, of.passed) for of in makers(found)] == [
        ("the rephraser", 10, 0.5, 8),
        ("another value for a slot", 4, 0.2, 4),
        ("slips of a speech recogniser", 2, 0.1, 0),
        ("typing errors", 4, 0.2, 1),
    ]
    assert makers(found.model_copy(update={"passing_by_origin": None, "failing_by_origin": None})) == ()
    assert makers(None) == ()


def test_the_noise_floor_and_the_tokens_of_each_stage_are_shown(tmp_path: Path) -> None:
    workspace = prepared(tmp_path, BOOKING, OTHER)
    folder = workspace.folder(REPHRASINGS)
    teacher = TeacherAgreement(
        times=3, messages=40, answers=120, split_messages=4, minority_answers=5, disagreement=0.0417, no_majority=1
    )
    told = ["a.yml::b, message 1: against the recorded commands"]
    counts = {"rephrasings": 3, "passing": 2, "failing": 1, "failed_calls": 0}
    write_json(folder / SUMMARY, {**counts, "teacher": {**teacher.model_dump(), "contested": told}})
    used = {"calls": 7, "prompt_tokens": 12345, "completion_tokens": 0}
    write_json(folder / TIMINGS, {"rephrasing_seconds": 1, "tokens": {"rephrasing": used}})
    shown = text(section(tmp_path, "agreement"))
    assert "disagrees with itself in 4.2 % of its answers." in shown
    assert "messages with more than one answer 4" in shown
    assert "against the recorded commands" in shown
    run = text(section(tmp_path, "run"))
    assert re.search(r"running the tests openai, teacher \d+ - -", run)
    assert "rephrasing - 7 12,345 -" in run
    assert "checking the rephrasings" not in run


@pytest.mark.parametrize("name", [CHECKS, f"{COVERAGE}/{COVERAGE_FILE}"])
def test_files_of_another_version_leave_the_rest_of_the_page(tmp_path: Path, name: str) -> None:
    output = with_findings(tmp_path)
    (output / name).parent.mkdir(exist_ok=True)
    (output / name).write_text('{"version": "99"}')
    html = write_report(output).read_text(encoding="utf-8")
    assert "cannot be shown. If another version of rasa-ft-ext wrote it" in html
    assert '<section id="browse">' in html


def test_latest_is_nothing_before_the_checks(tmp_path: Path) -> None:
    assert latest(Workspace(tmp_path)) is None
