"""A review in a real browser: with the mouse, the keyboard alone, mistakes, two tabs; nothing leaves this machine."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from rasa_ft_ext import api
from rasa_ft_ext.review.decisions import read_decisions
from tests.builders import conversation, rephrased, rephrasing, said
from tests.report.report_builders import NASTY
from tests.review.review_builders import (
    BASEL,
    BERN,
    BOOKING,
    CAR,
    HOTEL,
    ZURICH,
    decided,
    decision,
    prepared,
    served,
)

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [
    pytest.mark.once,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium: apt-get install chromium"),
]
FOCUSED = "document.activeElement.getAttribute('aria-label') || document.activeElement.tagName"
REFUSED = "Failed to load resource: the server responded with a status of 422 (Unprocessable Entity)"
ARGUMENTS = ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=list(ARGUMENTS))
        yield found
        found.close()


class Opened:
    """The page of a review, and everything that it complained of or asked for."""

    def __init__(self, browser: Browser, address: str, **options: Any) -> None:
        self.page: Page = browser.new_page(**options)
        self.complaints: list[str] = []
        self.requests: set[str] = set()
        self.page.set_default_timeout(10_000)
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.requests.add(request.url))
        self.page.goto(address)
        self.page.locator(".review-bar strong", has_text="decided").wait_for()

    def row(self, text: str) -> Locator:
        return self.page.locator(".wording").filter(has=self.page.get_by_text(text, exact=True))

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def saved(self, text: str) -> None:
        self.page.locator(".review-bar .said", has_text=text).wait_for()

    @property
    def progress(self) -> str:
        return self.page.inner_text(".review-bar strong")

    @property
    def focused(self) -> str:
        return str(
            self.page.evaluate("document.activeElement.getAttribute('aria-label') || document.activeElement.tagName")
        )


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return prepared(tmp_path / "out").root


@pytest.fixture
def address(output: Path) -> Iterator[str]:
    with served(output) as found:
        yield found


@pytest.fixture
def opened(browser: Browser, address: str) -> Iterator[Opened]:
    found = Opened(browser, address)
    yield found
    assert found.requests == {f"{address}/", f"{address}/decisions"}
    found.page.close()


def verdicts(output: Path) -> list[tuple[str, str]]:
    return [(of.rephrasing or of.message, of.decision) for of in read_decisions(output / "review.yaml").entries]


def test_what_is_pressed_is_saved_shown_and_there_again_after_a_reload(opened: Opened, output: Path) -> None:
    assert opened.progress == "0 of 7 decided"
    opened.row("a bed").get_by_role("button", name="Accept").click()
    opened.saved("Accepted: “a bed”")
    opened.row("to Zurich").get_by_role("button", name="Reject").click()
    opened.saved("Rejected: “to Zurich”")
    assert verdicts(output) == [("a bed", "accept"), ("to Zurich", "reject")]
    assert opened.progress == "2 of 7 decided"
    assert opened.page.evaluate("document.activeElement.dataset.what") == "reject", "the focus stays on the button"
    opened.page.reload()
    opened.row("a bed").get_by_text("✓ accepted").wait_for()
    pressed = opened.row("to Zurich").get_by_role("button", name="Reject")
    assert pressed.get_attribute("aria-pressed") == "true"
    opened.row("to Zurich").get_by_role("button", name="Undo").click()
    opened.saved("Open again: “to Zurich”")
    assert verdicts(output) == [("a bed", "accept")]
    assert opened.complaints == []


def test_an_edit_that_is_wrong_says_so_at_its_field_and_loses_nothing(opened: Opened, output: Path) -> None:
    opened.row("Basel").get_by_role("button", name="Edit").click()
    commands = opened.page.get_by_label("Commands, one a line")
    assert commands.input_value() == BASEL
    opened.page.get_by_label("Text").fill("Bern")
    commands.fill("SetSlot(town, Bern)")
    opened.page.get_by_label("Note").fill("the capital")
    opened.page.get_by_role("button", name="Save").click()
    opened.page.get_by_text("names the slot town, which the assistant does not have.").wait_for()
    assert commands.get_attribute("aria-invalid") == "true"
    assert opened.page.evaluate("document.activeElement.tagName") == "TEXTAREA"
    assert opened.page.get_by_label("Text").input_value() == "Bern"
    assert not (output / "review.yaml").exists()
    commands.fill(BERN)
    opened.press("Control+Enter")
    opened.saved("Edited: “Basel”")
    assert read_decisions(output / "review.yaml").entries == (
        decision(1, "edit", "Basel", commands=BERN, text="Bern", note="the capital"),
    )
    assert opened.row("Basel").locator(".decided").inner_text().split() == [
        *("✎", "edited", "“Bern”", "SetSlot(city,", "Bern)", "the", "capital")
    ]
    assert not opened.page.locator(".review-form").count()
    assert opened.complaints == [
        "Failed to load resource: the server responded with a status of 422 (Unprocessable Entity)"
    ]


def test_everything_is_done_with_the_keyboard_alone(opened: Opened, output: Path) -> None:
    opened.press("j", "j", "k", "a")
    opened.saved("Accepted: “book a car”")
    assert opened.focused == "rephrasing: I need a car", "it goes on to the next one"
    opened.press("r")
    opened.saved("Rejected: “I need a car”")
    opened.press("j", "j", "e")
    assert opened.focused == "TEXTAREA"
    opened.press("Control+a")
    opened.page.keyboard.type(BERN)
    opened.press("Control+Enter")
    opened.saved("Edited: “Basel”")
    assert opened.focused == "rephrasing: Basel"
    opened.press("e", "Escape")
    assert opened.focused == "rephrasing: Basel"
    assert verdicts(output) == [("book a car", "accept"), ("I need a car", "reject"), ("Basel", "edit")]
    opened.press("k", "k", "k", "u")
    opened.saved("Open again: “I need a car”")
    opened.press("k", "k")
    opened.saved("This is the first one.")
    opened.page.fill("#browse-search", "jarek")
    assert verdicts(output) == [("book a car", "accept"), ("Basel", "edit")], "letters in a field are letters"
    assert opened.complaints == []


def test_enter_leads_from_the_search_to_what_was_found(opened: Opened, output: Path) -> None:
    opened.page.fill("#browse-search", "again to")
    opened.press("Enter", "r")
    opened.saved("Rejected: “again to Basel”")
    opened.page.fill("#browse-search", "to Basel")
    opened.press("Enter")
    assert opened.focused == "message: to Basel"
    opened.press("r")
    opened.saved("Rejected: “to Basel”, and its 2 undecided rephrasings with it")
    opened.press("k", "e")
    opened.page.get_by_label("Commands, one a line").fill(BERN)
    opened.press("Control+Enter")
    opened.saved("Edited: “to Basel”; its 2 undecided rephrasings must have the new label, too")
    assert verdicts(output) == [("to Basel", "edit"), ("again to Basel", "reject")]
    assert opened.complaints == []


def test_the_buttons_are_reached_with_tab_and_their_focus_is_seen(opened: Opened) -> None:
    opened.press("j", "Tab")
    button = opened.page.locator(":focus")
    assert button.inner_text() == "Accept"
    assert button.get_attribute("aria-keyshortcuts") == "a"
    assert button.evaluate("button => getComputedStyle(button).outlineStyle") == "solid"
    assert {of.inner_text() for of in opened.page.locator(".review-bar kbd").all()} == set("areujk")
    assert opened.page.locator(".review-bar .said").get_attribute("aria-live") == "polite"


def test_the_filter_finds_what_is_open_and_what_is_decided(browser: Browser, output: Path) -> None:
    decided(output, decision(0, "accept", "a bed"), decision(1, "edit", commands=BERN), decision(1, "accept", "gone"))
    with served(output) as address:
        opened = Opened(browser, address)
        texts = opened.page.locator("#browse-review option").all_inner_texts()
        assert texts == ["all", "undecided (5)", "accepted (1)", "edited (1)"]
        opened.page.select_option("#browse-review", "edited")
        assert opened.page.locator("#browse-list .say").all_inner_texts() == ["to Basel"]
        opened.page.locator(".misfits summary").click()
        assert "the message has no such rephrasing." in opened.page.locator(".misfits").inner_text()
        opened.page.select_option("#browse-review", "undecided")
        assert opened.page.locator("#browse-list .say").count() == 5
        opened.page.close()


def test_the_form_of_a_rephrasing_begins_with_the_new_label_of_its_message(browser: Browser, output: Path) -> None:
    decided(output, decision(0, "edit", commands=HOTEL))
    with served(output) as address:
        opened = Opened(browser, address)
        opened.row("I need a car").get_by_role("button", name="Edit").click()
        assert opened.page.get_by_label("Commands, one a line").input_value() == HOTEL
        opened.page.close()


def test_what_another_tab_decided_is_shown_and_not_replaced(browser: Browser, opened: Opened, address: str) -> None:
    other = Opened(browser, address)
    other.row("Basel").get_by_role("button", name="Reject").click()
    other.saved("Rejected")
    opened.row("Basel").get_by_role("button", name="Edit").click()
    opened.page.get_by_label("Commands, one a line").fill(BERN)
    opened.page.get_by_role("button", name="Save").click()
    opened.saved("decided otherwise (reject)")
    opened.row("Basel").get_by_text("✗ rejected").wait_for()
    assert opened.page.get_by_label("Commands, one a line").input_value() == BERN, "what was typed is still there"
    opened.page.get_by_role("button", name="Save").click()
    opened.saved("Edited: “Basel”")
    other.page.close()


def test_what_is_typed_is_not_lost_to_a_click_elsewhere(opened: Opened, output: Path) -> None:
    opened.row("Basel").get_by_role("button", name="Edit").click()
    opened.row("to Zurich").get_by_role("button", name="Edit").click()
    commands = opened.page.get_by_label("Commands, one a line")
    assert commands.input_value() == ZURICH, "nothing was typed into the first"
    commands.fill(BERN)
    opened.row("Basel").get_by_role("button", name="Accept").click()
    opened.saved("Save or cancel this edit first.")
    assert (opened.focused, commands.input_value()) == ("TEXTAREA", BERN)
    opened.row("to Zurich").get_by_role("button", name="Reject").focus()
    opened.press("j")
    assert (opened.focused, commands.input_value()) == ("TEXTAREA", BERN)
    opened.press("Escape", "a")
    opened.saved("Accepted: “to Zurich”")
    assert verdicts(output) == [("to Zurich", "accept")]


def test_a_server_that_has_ended_is_told(browser: Browser, output: Path) -> None:
    with served(output) as address:
        opened = Opened(browser, address)
    opened.row("Basel").get_by_role("button", name="Accept").click()
    opened.saved("Not saved: the server does not answer.")
    assert opened.progress == "0 of 7 decided"
    opened.page.close()


def test_keys_lead_on_to_the_next_page(browser: Browser, tmp_path: Path) -> None:
    many = {0: [rephrasing(f"car {number}", CAR) for number in range(120)]}
    output = prepared(tmp_path, found=(rephrased(BOOKING, many),)).root
    with served(output) as address:
        opened = Opened(browser, address)
        for _ in range(101):
            opened.press("j")
        assert opened.focused == "rephrasing: car 99"
        opened.press("k")
        assert opened.focused == "rephrasing: car 98"
        opened.page.close()


def test_what_others_wrote_is_shown_as_text_and_never_runs(browser: Browser, tmp_path: Path) -> None:
    nasty = conversation(said(f"hi {NASTY}", CAR))
    output = prepared(tmp_path, [nasty], [rephrased(nasty, {0: [rephrasing(NASTY, CAR)]})]).root
    with served(output) as address:
        opened = Opened(browser, address)
        opened.press("j", "j", "e")
        opened.page.get_by_label("Note").fill(NASTY)
        opened.page.get_by_label("Text").fill(f"{NASTY} it")
        opened.press("Control+Enter")
        opened.saved("Edited")
        opened.page.reload()
        opened.page.locator(".decided", has_text="✎ edited").wait_for()
        assert opened.page.evaluate("window.bad") is None
        assert opened.page.locator("img").count() == 0
        assert opened.complaints == []
        opened.page.close()


def test_nothing_sticks_out_of_a_narrow_window(browser: Browser, output: Path) -> None:
    decided(output, decision(0, "accept", "a bed", note="a" * 200), decision(1, "edit", commands=BERN))
    with served(output) as address:
        opened = Opened(browser, address)
        opened.press("j", "j", "e")
        for width in (320, 390, 1280):
            opened.page.set_viewport_size({"width": width, "height": 800})
            for scheme in ("light", "dark"):
                opened.page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
                assert opened.page.evaluate("document.documentElement.scrollWidth") <= width, (width, scheme)
        opened.page.close()


def test_the_report_shows_the_decisions_and_asks_for_nothing(browser: Browser, output: Path) -> None:
    decided(output, decision(0, "accept", "a bed"), decision(1, "edit", commands=BERN))
    api.dataset(output)
    api.split(output, train_frac=1.0)
    page = browser.new_page()
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.goto((output / "report.html").as_uri())
    assert page.locator("#browse-list").get_by_text("left out: not the label of the review").count() == 2
    page.select_option("#browse-review", "edited")
    assert page.locator("#browse-list .decided").inner_text().split("\n") == ["✎ edited", BERN]
    assert page.locator(".review-buttons").count() == 0
    assert requests == [(output / "report.html").as_uri()]
    page.close()
