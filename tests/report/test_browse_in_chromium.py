"""The report in a real browser: search, filters, pages, keyboard; no error, no request, nothing that others wrote runs.

The run that is searched is made up by `scripts/benchmark_report.py`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from rasa_ft_ext.report.page import write_report
from scripts.benchmark_report import made_up
from tests.report.chromium import CHROMIUM, Opened
from tests.report.report_builders import NASTY, prepared

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = [
    pytest.mark.once,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium: apt-get install chromium"),
]


@pytest.fixture(scope="module")
def big(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 10 tests with 500 wordings: 50 messages, 250 passing and 200 failing rephrasings."""
    return write_report(made_up(tmp_path_factory.mktemp("big"), 500).root)


@pytest.fixture(scope="module")
def nasty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepared(tmp_path_factory.mktemp("nasty")).root / "report.html"


@pytest.fixture
def opened(browser: Browser, big: Path) -> Iterator[Opened]:
    found = Opened(browser, big)
    yield found
    assert found.complaints == []
    assert found.requests == [big.resolve().as_uri()]
    found.page.close()


def test_it_opens_with_the_first_page_of_all_rows(opened: Opened) -> None:
    assert opened.status == "Rows 1 to 100 of 500"
    assert len(opened.said) == 100
    assert not opened.page.locator("#browse-unscripted").count()
    assert opened.page.locator("noscript *").count() == 0


def test_search_finds_texts_whatever_their_case_and_marks_them(opened: Opened) -> None:
    opened.search("TEST 3: i would")
    assert opened.status == "Rows 1 to 50 of 50, 500 in all"
    assert all("of test 3: I would" in text for text in opened.said)
    assert opened.page.locator("#browse-list mark").first.inner_text() == "test 3: I would"
    opened.search("zürich")
    assert all("Zürich" in text for text in opened.said)
    opened.search("no such text <b>")
    assert opened.status == "Nothing fits; there are 500 rows."
    assert opened.said == []


def test_filters_narrow_together_and_are_cleared_at_once(opened: Opened) -> None:
    opened.choose(kind="failing rephrasings")
    assert opened.status == "Rows 1 to 100 of 200, 500 in all"
    opened.choose(flow="flow_2")
    assert opened.status == "Rows 1 to 4 of 4, 500 in all"
    assert set(opened.page.locator("#browse-list .kind").all_inner_texts()) == {"✗ fails"}
    assert opened.page.locator("#browse-list .context").count() == 1, "the message that they rephrase is shown"
    opened.search("number 3")
    assert opened.status == "Rows 1 to 1 of 1, 500 in all"
    opened.page.get_by_role("button", name="Clear all").click()
    opened.page.get_by_text("Rows 1 to 100 of 500", exact=True).wait_for()


@pytest.mark.parametrize(
    ("name", "value", "rows"),
    [
        ("kind", "messages of the tests", 50),
        ("kind", "passing rephrasings", 250),
        ("side", "train", 400),
        ("side", "validation", 100),
        ("command", "StartFlow", 100),
        ("command", "SetSlot", 460),
        ("slot", "slot_4", 100),
        ("reason", "other commands", 200),
        ("file", "area/tests_0.yml", 500),
    ],
)
def test_each_filter_counts_and_shows_the_same_rows(opened: Opened, name: str, value: str, rows: int) -> None:
    option = opened.page.locator(f"#browse-{name} option[value='{value}']")
    assert option.text_content() == f"{value} ({rows})"
    opened.choose(**{name: value})
    assert re.match(rf"Rows 1 to {min(rows, 100)} of {rows}\b", opened.status)
    assert len(opened.said) == min(rows, 100)


def test_pages_lead_through_all_rows(opened: Opened) -> None:
    seen = opened.said
    following = opened.page.locator("#browse-next")
    while following.is_enabled():
        following.click()
        seen += opened.said
    assert opened.status == "Rows 401 to 500 of 500"
    assert len(set(seen)) == 500
    opened.page.click("#browse-previous")
    assert opened.status == "Rows 301 to 400 of 500"
    opened.search("test 1:")
    assert opened.status == "Rows 1 to 50 of 50, 500 in all"
    assert not opened.page.locator(".pager").is_visible()


def test_a_whole_conversation_and_back_to_where_one_was(opened: Opened) -> None:
    opened.choose(kind="failing rephrasings")
    opened.page.click("#browse-next")
    opened.page.get_by_role("button", name="Whole conversation").nth(1).click()
    assert opened.status == "One whole conversation: traveller number 6 asks for several things"
    assert len(opened.said) == 50
    assert opened.focused == "browse-back"
    opened.page.keyboard.press("Enter")
    assert opened.status == "Rows 101 to 200 of 200, 500 in all"
    assert opened.focused == "Whole conversation"


def test_everything_is_reached_and_done_with_the_keyboard(opened: Opened) -> None:
    opened.page.locator("nav a").last.focus()
    press = opened.page.keyboard.press
    press("Tab")
    assert opened.focused == "browse-search"
    opened.page.keyboard.type("test 3:")
    assert opened.status.startswith("Rows 1 to 50 of 50")
    press("Tab")
    assert opened.focused == "browse-kind"
    opened.page.keyboard.type("fail")
    assert opened.status.startswith("Rows 1 to 20 of 20")
    for name in ("side", "command", "flow", "slot", "reason", "file"):
        press("Tab")
        assert opened.focused == f"browse-{name}"
    press("Tab")
    press("Enter")
    opened.page.get_by_text("Rows 1 to 100 of 500", exact=True).wait_for()
    press("Tab")
    press("Enter")
    assert opened.status.startswith("One whole conversation")
    press("Enter")
    opened.page.locator("#browse-next").focus()
    press("Enter")
    assert opened.status == "Rows 101 to 200 of 500"


def test_every_field_and_button_has_a_name(opened: Opened) -> None:
    for role, number in (("combobox", 7), ("searchbox", 1)):
        fields = opened.page.locator("main").get_by_role(role)
        assert fields.count() == number
        assert all(
            fields.nth(at).evaluate("field => field.labels[0].firstChild.textContent.trim()") for at in range(number)
        )
    buttons = opened.page.get_by_role("button")
    assert all(buttons.nth(at).inner_text().strip() for at in range(buttons.count()))


def test_what_others_wrote_is_shown_as_text_and_never_runs(browser: Browser, nasty: Path) -> None:
    opened = Opened(browser, nasty)
    assert f"I need a car {NASTY}" in opened.page.locator("#browse-list .say").all_text_contents()
    opened.search("<img")
    opened.page.get_by_role("button", name="Whole conversation").first.click()
    assert opened.page.evaluate("window.bad") is None
    assert opened.page.locator("img").count() == 0
    assert opened.complaints == []
    assert opened.requests == [nasty.resolve().as_uri()]


def test_the_policy_keeps_another_script_and_a_request_away(browser: Browser, nasty: Path, tmp_path: Path) -> None:
    html = nasty.read_text(encoding="utf-8")
    other = "<script>window.bad = 3</script><img src='http://127.0.0.1:9/x.png' onerror='window.bad = 4'></main>"
    tampered = tmp_path / "tampered.html"
    tampered.write_text(html.replace("</main>", other), encoding="utf-8")
    opened = Opened(browser, tampered)
    assert opened.status.startswith("Rows 1 to ")
    assert opened.page.evaluate("window.bad") is None
    assert sum("Content Security Policy" in text for text in opened.complaints) >= 2


def test_without_script_every_conversation_can_be_unfolded(browser: Browser, nasty: Path) -> None:
    opened = Opened(browser, nasty, java_script_enabled=False)
    folded = opened.page.locator("#browse details")
    assert folded.count() == 2
    assert not opened.page.locator("#browse-app").is_visible()
    assert opened.page.locator("#browse-unscripted").is_visible()
    folded.first.locator("summary").click()
    assert f"I need a car {NASTY}" in folded.first.locator(".say").all_text_contents()
    assert "✗ fails" in folded.first.inner_text()
    assert opened.requests == [nasty.resolve().as_uri()]


@pytest.mark.parametrize("width", [320, 390, 1280])
@pytest.mark.parametrize("file", ["big", "nasty"])
def test_nothing_sticks_out_of_a_narrow_window(
    browser: Browser, request: pytest.FixtureRequest, file: str, width: int
) -> None:
    opened = Opened(browser, request.getfixturevalue(file), viewport={"width": width, "height": 800})
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= width


def test_dark_mode_and_print_have_colours_of_their_own(browser: Browser, big: Path) -> None:
    page = Opened(browser, big, color_scheme="dark").page
    paper = "getComputedStyle(document.body).backgroundColor"
    assert page.evaluate(paper) == "rgb(20, 24, 29)"
    page.emulate_media(media="print")
    assert page.evaluate(paper) == "rgb(255, 255, 255)"
    assert not page.locator(".filters").is_visible()
    assert page.locator("#browse-list article").first.is_visible()
