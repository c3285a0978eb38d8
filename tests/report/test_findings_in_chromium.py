"""The findings of the checks in a real browser: search, filters, unfolding, and the way to a conversation."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from rasa_ft_ext.report.page import write_report
from scripts.benchmark_report import made_up
from tests.report.chromium import CHROMIUM, Opened

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator

pytestmark = [
    pytest.mark.once,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium: apt-get install chromium"),
]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with 60 findings: 20 problems, 20 warnings and 20 notes."""
    return write_report(made_up(tmp_path_factory.mktemp("checked"), 500, findings=60).root)


@pytest.fixture
def opened(browser: Browser, page: Path) -> Iterator[Opened]:
    found = Opened(browser, page)
    yield found
    assert found.complaints == []
    assert found.requests == [page.resolve().as_uri()]
    found.page.close()


def shown(opened: Opened) -> Locator:
    return opened.page.locator("#findings-groups tbody tr:visible")


def status(opened: Opened) -> str:
    return opened.page.inner_text("#findings-status")


def test_faults_are_unfolded_and_notes_are_not(opened: Opened) -> None:
    assert status(opened) == "All 60 findings"
    assert shown(opened).count() == 10, "five of the problems, five of the warnings"


def test_a_search_unfolds_what_fits_and_folds_it_again(opened: Opened) -> None:
    opened.page.fill("#findings-search", "LINE 5")
    assert status(opened) == "11 of 60 findings"
    assert shown(opened).count() == 11
    assert all("line 5" in text for text in shown(opened).all_inner_texts())
    opened.page.fill("#findings-search", "no such finding")
    assert status(opened) == "0 of 60 findings"
    assert opened.page.locator("details.group:visible").count() == 0
    opened.page.fill("#findings-search", "")
    assert status(opened) == "All 60 findings"
    assert shown(opened).count() == 10


def test_filters_narrow_together(opened: Opened) -> None:
    opened.page.select_option("#findings-severity", "note")
    assert status(opened) == "20 of 60 findings"
    assert shown(opened).count() == 5, "the others are folded"
    opened.page.select_option("#findings-kind", "leak")
    assert status(opened) == "0 of 60 findings"
    opened.page.select_option("#findings-severity", "")
    opened.page.fill("#findings-search", "line 13")
    assert status(opened) == "1 of 60 findings"


def test_a_place_leads_to_its_conversation_with_mouse_and_keyboard(opened: Opened) -> None:
    link = shown(opened).locator("a").first
    name = link.get_attribute("data-test")
    assert name
    opened.choose(kind="failing rephrasings")
    link.click()
    assert opened.status == "Rows 1 to 50 of 50, 500 in all"
    assert opened.page.locator("#browse-list h3").all_inner_texts() == [name]
    opened.page.wait_for_function("document.activeElement.id === 'browse-search'")
    assert opened.page.locator("#browse").evaluate("section => section.getBoundingClientRect().top") < 100
    other = shown(opened).locator("a").nth(1)
    other.focus()
    opened.page.keyboard.press("Enter")
    assert opened.page.locator("#browse-list h3").all_inner_texts() == [other.get_attribute("data-test")]


def test_what_is_folded_is_unfolded_with_the_keyboard(opened: Opened) -> None:
    group = opened.page.locator("details.group").last
    group.locator("summary").first.focus()
    opened.page.keyboard.press("Enter")
    assert group.locator("tbody tr:visible").count() == 5
    opened.page.keyboard.press("Tab")
    assert opened.page.evaluate("document.activeElement.tagName") == "A"


def test_without_script_there_is_no_filter_and_everything_else(browser: Browser, page: Path) -> None:
    opened = Opened(browser, page, java_script_enabled=False)
    assert not opened.page.locator("#findings-form").is_visible()
    assert shown(opened).count() == 10
    assert shown(opened).locator("a").first.get_attribute("href") == "#browse"


@pytest.mark.parametrize("width", [320, 768])
def test_nothing_sticks_out_of_a_narrow_window(browser: Browser, page: Path, width: int) -> None:
    opened = Opened(browser, page, viewport={"width": width, "height": 800})
    opened.page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= width


def test_a_printed_page_has_the_layout_of_a_wide_window(browser: Browser, page: Path) -> None:
    opened = Opened(browser, page, viewport={"width": 700, "height": 800})
    rows = shown(opened).first.locator("td").first
    assert rows.evaluate("cell => getComputedStyle(cell).display") == "block"
    opened.page.emulate_media(media="print")
    assert rows.evaluate("cell => getComputedStyle(cell).display") == "table-cell"
    assert not opened.page.locator("#findings-form").is_visible()
