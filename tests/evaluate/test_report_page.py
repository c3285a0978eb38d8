"""`report.html`: one file, without scripts and network, that shows what is in the files and nothing as markup."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from rasa_ft_ext.commands import Command
from rasa_ft_ext.errors import WorkspaceError
from rasa_ft_ext.evaluate import output
from rasa_ft_ext.evaluate.output import Found
from rasa_ft_ext.evaluate.paired import compare, differing_turns
from rasa_ft_ext.evaluate.verdict import judge, pass_rate
from rasa_ft_ext.evaluation import (
    Answer,
    CommandFigures,
    Evaluation,
    Figure,
    KindFigures,
    OutcomeTurn,
    ParityFigures,
    Subject,
    TestOutcome,
    Verdict,
)
from rasa_ft_ext.report.page import write_report
from rasa_ft_ext.workspace import EVALUATION, Workspace

NASTY = "<script>alert(1)</script>"
SUBJECT = Subject(model=NASTY, api_base="http://x/v1", data_hash="d", template_hash="t", rasa_version="3.21.0")
HALF = Figure(value=0.5, low=0.25, high=0.75)


class Page(HTMLParser):
    """Tags that are open, and everything that a page names."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def outcome(test: str, *, passed: bool) -> TestOutcome:
    command = Command(type="StartFlow", args=("a" if passed else "b",))
    turn = OutcomeTurn(message=f"hello {NASTY}", answer=f"start flow {NASTY}", commands=(command,))
    return TestOutcome(
        id=test,
        side="validation",
        repeat=0,
        passed=passed,
        reason=None if passed else NASTY,
        turns=(turn,),
        seconds=(0.5,),
    )


def everything() -> Found:
    kind = KindFigures(precision=HALF, recall=Figure(), f1=HALF, support=4)
    figures = CommandFigures(
        examples=4,
        conversations=2,
        exact_match=HALF,
        unparsable=HALF,
        slot_value_accuracy=Figure(),
        micro_f1=HALF,
        macro_f1=Figure(value=0.5),
        by_command={"StartFlow": kind},
        by_flow={NASTY: kind},
        by_slot={},
        failed_calls=1,
        seconds_p50=0.1,
        seconds_p95=2.5,
        prompt_tokens=1234,
        completion_tokens=5,
    )
    model = [outcome("a.yml::one", passed=False), outcome("a.yml::two", passed=True)]
    teacher = [outcome("a.yml::one", passed=True), outcome("a.yml::two", passed=True)]
    parity = ParityFigures(
        prompts=3,
        dtype="float32",
        largest_difference=0.5,
        mean_difference=0.1,
        allowed=0.001,
        ties=0,
        problems=(NASTY,),
    )
    evaluation = Evaluation(
        version="1",
        subject=SUBJECT,
        verdict=Verdict(passed=False),
        commands={"validation": figures},
        conversations={"validation": pass_rate(model, {})},
        teacher={"validation": pass_rate(teacher, {})},
        comparison={"validation": compare(model, teacher, {}, margin=0.05, side="validation")},
        differing_turns=differing_turns(model, teacher),
        parity=parity,
        notes=(NASTY,),
    )
    evaluation = evaluation.model_copy(update={"verdict": judge(evaluation)})
    answer = Answer(
        row="val.jsonl line 1", side="validation", expected=NASTY, answered=NASTY, right=False, reason=NASTY, seconds=1
    )
    return Found(evaluation, (answer,), tuple(model), tuple(teacher))


@pytest.fixture
def html(tmp_path: Path) -> str:
    output.write(Workspace(tmp_path), everything())
    return (tmp_path / "report.html").read_text(encoding="utf-8")


def test_the_verdict_comes_first_and_everything_is_there(html: str) -> None:
    titles = re.findall(r"<h2>(.*?)</h2>", html)
    assert titles == [
        "Verdict",
        "E2E tests",
        "Against the teacher",
        "Commands",
        "Wrong answers",
        "Parity",
        "What was evaluated",
    ]
    for shown in ("50.0 % (25.0 to 75.0)", "1,234", "2.50 s", "100 ms", "hello", "1 of 1"):
        assert shown in html


def test_the_page_is_well_formed(html: str) -> None:
    assert Page(html).open == []


def test_what_comes_from_others_is_shown_and_not_run(html: str) -> None:
    assert "script" not in Page(html).tags
    assert html.count("&lt;script&gt;") >= 9


def test_the_page_needs_nothing_but_itself(html: str) -> None:
    page = Page(html)
    assert not {"script", "link", "img", "iframe", "object"} & set(page.tags)
    links = [value for name, value in page.attributes if name in ("href", "src")]
    assert links
    assert all(value is not None and value.startswith("#") for value in links)
    assert "url(" not in html
    assert "default-src 'none'" in html


def test_links_lead_to_sections(html: str) -> None:
    page = Page(html)
    ids = {value for name, value in page.attributes if name == "id"}
    assert {f"#{name}" for name in ids} >= {value for name, value in page.attributes if name == "href"}


def test_an_evaluation_with_nothing_measured_has_a_page(tmp_path: Path) -> None:
    empty = Evaluation(
        version="1", subject=SUBJECT, verdict=Verdict(passed=False), not_measured={"parity": "no folder"}
    )
    output.write(Workspace(tmp_path), Found(empty))
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert re.findall(r"<h2>(.*?)</h2>", html) == ["Verdict", "Parity", "What was evaluated"]
    assert "Not measured: no folder." in html


def test_the_page_can_be_made_again_from_the_files(html: str, tmp_path: Path) -> None:
    (tmp_path / "report.html").unlink()
    assert write_report(tmp_path).read_text(encoding="utf-8") == html


def test_without_results_there_is_no_page(tmp_path: Path) -> None:
    with pytest.raises(WorkspaceError, match="nothing to show"):
        write_report(tmp_path)


def test_markdown_shows_markup_as_text(html: str, tmp_path: Path) -> None:
    text = (tmp_path / EVALUATION / "evaluation.md").read_text(encoding="utf-8")
    assert "<script" not in text
    assert "&lt;script&gt;" in text
