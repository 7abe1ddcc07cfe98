"""Chromium as Debian ships it, driven by playwright: for pictures of the dashboard, and for its tests."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Final

from playwright.sync_api import Browser, ConsoleMessage, Page, sync_playwright

PHONE: Final[dict[str, Any]] = {"viewport": {"width": 360, "height": 740}, "is_mobile": True, "has_touch": True}
"""The narrowest that is common."""

_NAMES: Final = ("chromium", "chromium-browser", "google-chrome")
_FLAGS: Final = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
_AXE: Final = Path(__file__).parent / "axe" / "axe.min.js"
# Without preload: it would copy a library's style into the page, which the page's policy refuses.
_ASK_AXE: Final = (
    "async () => (await axe.run({ preload: false })).violations.map((one) => `${one.id}: ${one.nodes[0].html}`)"
)


def find_chromium() -> str | None:
    """Return where the browser is, None where there is none."""
    return next((found for found in map(shutil.which, _NAMES) if found), None)


@contextmanager
def chromium(*, microphone: Path | None = None) -> Iterator[Browser]:
    """Start the browser without a window. microphone: a WAV file that it hears, again and again.

    Raises:
        RuntimeError: there is none.
    """
    found = find_chromium()
    if found is None:
        raise RuntimeError(f"none of {', '.join(_NAMES)} is on the path: apt-get install chromium")
    flags = list(_FLAGS)
    if microphone is not None:
        flags += ["--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"]
        flags += [f"--use-file-for-fake-audio-capture={microphone}"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=flags)
        try:
            yield browser
        finally:
            browser.close()


def collect_complaints(page: Page, into: list[str], *, of_console: bool = True) -> None:
    """Append what the browser complains of: scripts that fail, and, of_console, all that it logs as an error."""

    def hear(message: ConsoleMessage) -> None:
        if message.type == "error":
            into.append(message.text)

    page.on("pageerror", lambda error: into.append(str(error)))
    if of_console:
        page.on("console", hear)


def axe_findings(page: Page) -> list[str]:
    """Return what axe-core holds against a page's accessibility: each rule with the first element that breaks it."""
    page.evaluate(_axe())
    found: list[str] = page.evaluate(_ASK_AXE)
    return found


def overflow_pixels(page: Page) -> int:
    """Return how far a page reaches beyond the right edge of its screen."""
    pixels: int = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    return pixels


@cache
def _axe() -> str:
    return _AXE.read_text(encoding="utf-8")
