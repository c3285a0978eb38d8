"""A page of the report in a real browser, with everything that it complains of and asks for."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


class Opened:
    """A page, and everything that it complained of or asked for."""

    def __init__(self, browser: Browser, path: Path, **options: Any) -> None:
        self.page: Page = browser.new_page(**options)
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.page.set_default_timeout(10_000)
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(path.resolve().as_uri())

    def choose(self, **values: str) -> None:
        for name, value in values.items():
            self.page.select_option(f"#browse-{name}", value)

    def search(self, text: str) -> None:
        self.page.fill("#browse-search", text)

    @property
    def status(self) -> str:
        return self.page.inner_text("#browse-status")

    @property
    def said(self) -> list[str]:
        return self.page.locator("#browse-list .say").all_inner_texts()

    @property
    def focused(self) -> str:
        return str(self.page.evaluate("document.activeElement.id || document.activeElement.textContent"))
