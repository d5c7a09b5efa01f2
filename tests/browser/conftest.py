"""A headless Chromium that reaches no network."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest
from screens import WIDE

try:
    from playwright.sync_api import Browser, Page, sync_playwright
except ModuleNotFoundError:
    sync_playwright = None

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    missing = [
        told
        for told, there in (
            ("Playwright (pip install playwright)", sync_playwright),
            ("Chromium (apt-get install chromium)", CHROMIUM),
        )
        if not there
    ]
    if missing:
        told = f"no {' and no '.join(missing)}"
        if os.environ.get("SNAKESHED_TEST_BROWSER") == "required":
            pytest.fail(told)
        pytest.skip(told)
    with sync_playwright() as playwright:
        # Without its sandbox it also runs as root.
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


class Opened:
    """A page, and what it complained of or asked for."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.complaints: list[str] = []
        self.asked: list[str] = []
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("dialog", self._dialog)
        page.on("request", lambda request: self.asked.append(request.url))

    def _console(self, message) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)

    def _dialog(self, dialog) -> None:
        self.complaints.append(f"a dialog: {dialog.message}")
        dialog.dismiss()

    def outside(self) -> list[str]:
        """Addresses that are neither the page's own file nor inside it."""
        own = self.page.url.partition("#")[0]
        return [url for url in self.asked if url != own and not url.startswith("data:")]


@pytest.fixture
def open_page(chromium):
    """Open a file at a width; what went wrong in it fails the test at its end."""
    contexts, opened = [], []

    def open_it(path, size=None, **options) -> Page:
        context = chromium.new_context(viewport=size or WIDE, offline=True, **options)
        contexts.append(context)
        page = Opened(context.new_page())
        opened.append(page)
        page.page.goto(path.as_uri())
        return page.page

    yield open_it
    complaints = [(each.complaints, each.outside()) for each in opened]
    for context in contexts:
        context.close()
    assert complaints == [([], [])] * len(opened)
