"""The part of `report.html` about what users say: figures, worries, curves, and nothing of a user's as markup."""

from __future__ import annotations

import re
from datetime import date, timedelta
from pathlib import Path

import pytest

from rasa_ft_ext.evaluation import Evaluation, Subject, Verdict
from rasa_ft_ext.monitor.stage import monitor, options_of
from rasa_ft_ext.monitoring import MONITORING_FILE, Day, Figures, Monitoring, Worst
from rasa_ft_ext.report.chart import HEIGHT, chart
from rasa_ft_ext.report.page import write_report
from rasa_ft_ext.report.worries import summary, worries
from rasa_ft_ext.workspace import EVALUATION, MONITORING, write_record
from tests.monitor.trackers import CANNOT_HANDLE, starts, trained_workspace, user

NASTY = "<script>alert(1)</script>\"' \u202e & {{ x }}"
FIRST = date(2025, 5, 14)
CALM = Figures(conversations=90, messages=210, asked=200, answers=200, compared=200, clarifications=2, far=8)
COUNTED = {name for name, field in Figures.model_fields.items() if field.annotation is int}


def monitoring(*days: Figures | None, **values: object) -> Monitoring:
    """Days one after the other; None is a day without a message."""
    figures = [of for of in days if of is not None]
    sums = {name: sum(getattr(of, name) for of in figures) for name in CALM.model_dump() if name in COUNTED}
    fields = {
        "version": "1",
        "dataset_hash": "d",
        "since": None,
        "until": None,
        "far_below": 0.25,
        "total": Figures(**sums),
        "days": tuple(
            Day(date=(FIRST + timedelta(at)).isoformat(), figures=of) for at, of in enumerate(days) if of is not None
        ),
        "trained_commands": {},
        "trained_flows": {},
        "never_trained": {},
    }
    return Monitoring(**(fields | values))


def shown(output: Path, found: Monitoring) -> str:
    write_record(output / MONITORING / MONITORING_FILE, found)
    return write_report(output).read_text(encoding="utf-8")


def like(calm: Figures, **values: int) -> Figures:
    return calm.model_copy(update=values)


def sentences(found: Monitoring) -> str:
    return "\n".join(worry.sentence for worry in worries(found))


def test_monitor_writes_the_report(tmp_path: Path) -> None:
    workspace = trained_workspace(tmp_path)
    lost = user(f"My suitcase, call 0170 1234567 {NASTY}", CANNOT_HANDLE)
    monitor(workspace, [("a", [lost, user("a room", starts("book_hotel"))])], options_of())
    html = (tmp_path / "report.html").read_text(encoding="utf-8")

    assert re.findall(r"<h2>(.*?)</h2>", html) == [
        "At a glance",
        "What users say now",
        "Day by day",
        "Flows never trained",
        "The worst messages",
        "What the examples hold",
        "Conversations",
        "The run",
    ]
    assert "My suitcase, call PHONE_1" in html
    assert "0170" not in html
    assert "50.0 % (1)" in html
    assert "flows that were never trained" in html[: html.index("<table")]
    assert NASTY not in html
    assert "<script>alert" not in html


def test_everything_that_users_or_flows_bring_is_escaped(tmp_path: Path) -> None:
    worst = Worst(
        message=NASTY, reasons=(NASTY,), count=1, date=NASTY, answer=NASTY, similarity=0.1, nearest=NASTY, draft=NASTY
    )
    found = monitoring(CALM, worst=(worst,), never_trained={NASTY: 3}, notes=(NASTY,), since=NASTY, until=NASTY)
    html = shown(tmp_path, found)
    assert "<script" not in html
    assert html.count("&lt;script&gt;") == 11
    assert "{{ x }}" in html
    assert "<bdi>&lt;script" in html


def test_a_calm_time_is_called_one_and_says_on_how_much() -> None:
    found = monitoring(CALM, CALM)
    assert summary(found, worries(found)) == "Nothing stands out in 400 answers of 2 days."
    few = monitoring(Figures(messages=4, asked=3, answers=3, clarifications=1))
    assert summary(few, worries(few)) == (
        "Nothing stands out in 3 answers of one day. That is little to go by: 3 answers in all."
    )


def test_worries_are_what_is_too_high_for_chance() -> None:
    found = monitoring(like(CALM, unparsed=20), never_trained={"a": 1, "b": 7})
    assert sentences(found) == (
        "No command could be read: 10.0 % (20 of 200), which is clearly more than 2 %.\n"
        "Flows that were started and never trained: b (7) and a (1)."
    )
    assert (
        summary(found, worries(found)) == "Look at this: answers without a command and flows that were never trained."
    )


def test_a_rise_on_the_last_day_is_news_though_the_level_is_not() -> None:
    found = monitoring(*[CALM] * 20, like(CALM, clarifications=14))
    assert sentences(found) == "Asked what was meant: 7.0 % (14 of 200) on 2025-06-03, 1.0 % (40 of 4,000) before."
    assert sentences(monitoring(*[CALM] * 20, like(CALM, clarifications=4))) == ""
    assert sentences(monitoring(like(CALM, clarifications=14), *[CALM] * 20)) == ""


def test_days_without_data_have_no_dot_no_line_and_a_row_of_their_own(tmp_path: Path) -> None:
    unanswered = Figures(conversations=1, messages=5)
    found = monitoring(CALM, CALM, None, None, CALM, unanswered, CALM)
    drawn = chart(found.days, "far")
    assert drawn is not None
    assert len(drawn.dots) == 4
    assert drawn.line.count("M") == 3
    html = shown(tmp_path, found)
    assert '<th scope="row">2025-05-16 to 2025-05-17</th><td class="faint" colspan="8">no message' in html
    assert chart([found.days[3]], "far") is None


def test_without_any_message_it_says_so(tmp_path: Path) -> None:
    html = shown(tmp_path, monitoring(notes=("There is no message of a user in this time.",)))
    assert re.findall(r"<h2>(.*?)</h2>", html) == ["What users say now"]
    assert "Nothing can be said" in html
    assert "✓" not in html


def test_a_curve_is_where_its_shares_are() -> None:
    days = monitoring(like(CALM, far=0), like(CALM, far=10), like(CALM, far=30)).days
    drawn = chart(days, "far")
    assert drawn is not None
    assert drawn.top == 0.2
    assert [(round(dot.x), round(dot.y, 6)) for dot in drawn.dots] == [(167, HEIGHT), (500, 75.0), (833, 25.0)]
    assert drawn.dots[1].text == "2025-05-15: 5.0 %, 10 of 200"
    assert drawn.line == "M166.7 100.0L500.0 75.0L833.3 25.0"


def test_a_day_with_few_answers_does_not_set_the_scale() -> None:
    drawn = chart(monitoring(CALM, Figures(messages=2, asked=2, answers=2, unparsed=1)).days, "unparsed")
    assert drawn is not None
    assert (drawn.top, drawn.cut, drawn.dots[1].y) == (0.05, True, 0.0)


def test_a_message_without_a_time_does_not_squeeze_the_curve() -> None:
    drawn = chart((Day(date="1970-01-01", figures=CALM), *monitoring(*[CALM] * 3).days), "far")
    assert drawn is not None
    assert drawn.first == "2023-05-17"
    assert len(drawn.dots) == 3


def test_four_hundred_days_leave_the_page_readable(tmp_path: Path) -> None:
    found = monitoring(*(like(CALM, far=8 + 7 * (at % 2)) for at in range(400)))
    drawn = chart(found.days, "far")
    assert drawn is not None
    assert drawn.smoothed
    heights = [float(point.split()[1]) for point in re.split("[ML]", drawn.line)[8:]]
    assert max(heights) - min(heights) < 10  # where the days themselves go up and down by 35

    html = shown(tmp_path, found)
    assert len(html) < 400_000
    before, folded = html.split("<details>")
    assert before.count('<th scope="row">') == 31
    assert folded.count('<th scope="row">') == 369
    assert html.count('class="dots') < 10


def test_it_stands_beside_an_evaluation_and_one_that_cannot_be_read_does_not_hide_the_other(tmp_path: Path) -> None:
    path = tmp_path / EVALUATION / "evaluation.json"
    subject = Subject(model="m", api_base="http://x/v1", data_hash="d", template_hash="t", rasa_version="3.21.0")
    write_record(path, Evaluation(version="1", subject=subject, verdict=Verdict(passed=True)))
    titles = re.findall(r"<h2>(.*?)</h2>", shown(tmp_path, monitoring(CALM)))
    assert titles.index("Verdict") < titles.index("What users say now")

    path.write_text('{"of": "another version"}')
    html = write_report(tmp_path).read_text(encoding="utf-8")
    assert "is not a Evaluation of this version" in html
    assert "What users say now" in html


@pytest.mark.parametrize("days", [1, 61])
def test_ids_are_unique_and_links_lead_to_them(tmp_path: Path, days: int) -> None:
    html = shown(tmp_path, monitoring(*[CALM] * days))
    ids = re.findall(r' id="(.*?)"', html)
    assert len(ids) == len(set(ids))
    assert {f"#{name}" for name in ids} == set(re.findall(r'href="(.*?)"', html))
