"""Debian's Chromium, headless, driven by Playwright."""

from __future__ import annotations

import io
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np

_NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next(filter(None, map(shutil.which, _NAMES)), None)
_ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    # no errand of its own, and no name resolves: a report is one file that needs no network;
    # this machine can be reached, so that a test can see that a page does not
    "--disable-background-networking",
    "--disable-component-update",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)


class Browser:
    """One page in a headless Chromium; `problems` collects what its console complains of.

    `requests` collects what it asks for.
    """

    def __init__(self) -> None:
        from playwright.sync_api import sync_playwright

        self._playwright = sync_playwright().start()
        self._browser = self._playwright.chromium.launch(
            executable_path=CHROMIUM, args=list(_ARGUMENTS)
        )
        self._context: Any = None
        self.page: Any = None
        self.problems: list[str] = []
        self.requests: list[str] = []

    def close(self) -> None:
        """End the browser."""
        self._browser.close()
        self._playwright.stop()

    def open(self, address: str, width: int, height: int, **media: str) -> None:
        """Open a page in a window of a size, with media features such as color_scheme="dark"."""
        if self._context is not None:
            self._context.close()
        size = {"width": width, "height": height}
        self._context = self._browser.new_context(viewport=size, accept_downloads=True, **media)
        self.page = self._context.new_page()
        self.requests = []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("console", lambda message: self.problems.append(message.text))
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.goto(address)

    def evaluate(self, expression: str) -> Any:
        """Return the value of a JavaScript expression."""
        return self.page.evaluate(expression)

    def wait_for(self, expression: str, seconds: float = 60) -> None:
        """Wait until a JavaScript expression is true (the page's policy forbids to poll in it)."""
        end = time.monotonic() + seconds
        while not self.evaluate(expression):
            assert time.monotonic() < end, f"never true: {expression}; {self.problems}"
            self.page.wait_for_timeout(30)

    def press(self, keys: str) -> None:
        """Press a key on the keyboard."""
        self.page.keyboard.press(keys)

    def screenshot(self) -> np.ndarray:
        """Return the window as uint8 [H, W, 3]."""
        from PIL import Image

        with Image.open(io.BytesIO(self.page.screenshot())) as picture:
            return np.asarray(picture.convert("RGB"))

    def download(self, selector: str) -> str:
        """Click on something and return the text of the file that it gives."""
        with self.page.expect_download() as found:
            self.page.click(selector)
        return Path(found.value.path()).read_text(encoding="utf-8")
