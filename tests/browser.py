"""A real browser for tests, if this machine has one, with a record of all that it asks for and complains of."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
WHICH, REQUIRED = "FDA_TEST_BROWSER", "FDA_REQUIRE_BROWSER"
TIMEOUT_MS = 30_000


def browser_path() -> str:
    """Where the browser is. Without one the test is skipped, or fails where one is promised."""
    found = os.environ.get(WHICH) or next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        reason = f"no browser: {', '.join(NAMES)} are not on PATH, and {WHICH} names none"
        if os.environ.get(REQUIRED) == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    return found


@contextmanager
def started_browser() -> Iterator[Browser]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # A container's user is root, whose browser has no sandbox; the pages are ours.
        arguments = ["--no-sandbox", "--autoplay-policy=no-user-gesture-required", "--mute-audio"]
        browser = playwright.chromium.launch(executable_path=browser_path(), args=arguments)
        yield browser
        browser.close()


@dataclass
class Tab:
    """A tab, and what went wrong in it."""

    page: Page
    base: str
    asked: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, browser: Browser, base: str, **settings: object) -> Tab:
        context = browser.new_context(**settings)  # type: ignore[arg-type]
        context.set_default_timeout(TIMEOUT_MS)
        return cls.of_page(context.new_page(), base)

    @classmethod
    def of_page(cls, page: Page, base: str) -> Tab:
        tab = cls(page, base)
        page.on("request", lambda request: tab.asked.append(request.url))
        page.on("console", lambda message: tab.complaints.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: tab.complaints.append(str(error)))
        return tab

    def goto(self, path: str) -> None:
        self.page.goto(self.base + path)

    def check(self) -> None:
        """Nothing was asked of another machine, and the browser has nothing to complain of."""
        elsewhere = [url for url in self.asked if not url.startswith((f"{self.base}/", "data:", "blob:"))]
        assert (elsewhere, self.complaints) == ([], [])
        assert self.asked
