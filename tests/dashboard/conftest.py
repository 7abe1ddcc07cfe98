"""A real browser before one real service: Chromium as Debian ships it, the committed bundle, real speech.

Everything lives as long as this folder's tests: playwright keeps an event loop in this thread, and tests elsewhere
start their own.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect
from service_fixtures import Running, samples_of, serving, wav

from bench.browser import PHONE, axe_findings, chromium, collect_complaints, find_chromium, overflow_pixels
from model.recognizer import EmotionRecognizer

PATIENCE_MS = 20_000
RULES = """
[[rule]]
name = "customer-speaks"
role = "customer"
sentiment_below = 1.0
severity = "critical"
"""

OpenPage = Callable[..., Page]

expect.set_options(timeout=PATIENCE_MS)


@pytest.fixture(scope="package")
def two_sides(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real speech on two channels: the agent, then the customer."""
    agent, customer = samples_of("first_in_line.wav")[:19_200], samples_of("not_in_service.wav")[:26_000]
    sides = np.zeros((72_000, 2), dtype=np.float32)
    sides[4_000 : 4_000 + len(agent), 0] = agent
    sides[36_000 : 36_000 + len(customer), 1] = customer
    path = tmp_path_factory.mktemp("recordings") / "two_sides.wav"
    path.write_bytes(wav(sides))
    return path


@pytest.fixture(scope="package")
def browser(two_sides: Path) -> Iterator[Browser]:
    """Its microphone hears the recording."""
    if find_chromium() is None:
        pytest.skip("there is no Chromium: apt-get install chromium")
    with chromium(microphone=two_sides) as found:
        yield found


@pytest.fixture(scope="package")
def running(recognizer: EmotionRecognizer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("state")
    (folder / "rules.toml").write_text(RULES, encoding="utf-8")
    with serving(
        recognizer,
        channel_roles="agent,customer",
        unjudged_roles="agent",
        alert_rules_file=str(folder / "rules.toml"),
        state_folder=folder,
    ) as service:
        yield service


@pytest.fixture
def open_page(browser: Browser, running: Running) -> Iterator[OpenPage]:
    """Open pages; in the end the browser has complained of nothing: no script failed, nothing broke the policy."""
    with opener(browser, running.url) as opened:
        yield opened


@pytest.fixture(scope="module")
def judged(browser: Browser, running: Running, two_sides: Path) -> Iterator[Page]:
    """The page of the judged recording, for tests that change nothing but where its reader is."""
    with opener(browser, running.url) as opened:
        yield give(opened(), two_sides)


@contextmanager
def opener(browser: Browser, url: str) -> Iterator[OpenPage]:
    contexts: list[BrowserContext] = []
    complaints: list[str] = []

    def opened(place: str = "", *, url: str = url, may_fail: bool = False, **options: Any) -> Page:
        context = browser.new_context(**{"locale": "en-GB", "viewport": {"width": 1280, "height": 900}, **options})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        collect_complaints(page, complaints, of_console=not may_fail)
        page.goto(f"{url}/dashboard#/{place}")
        page.get_by_role("heading", level=1).wait_for()
        return page

    yield opened
    for context in contexts:
        context.close()
    assert complaints == []


def give(page: Page, recording: Path) -> Page:
    """Upload a recording, and wait until it is judged."""
    page.get_by_label("Drop a recording here").set_input_files(recording)
    page.get_by_role("heading", name="Transcript").wait_for()
    return page


def check_looks(page: Page) -> None:
    """Nothing is wrong with a page in the light and in the dark, and it fits a phone."""
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        assert axe_findings(page) == []
    page.set_viewport_size(PHONE["viewport"])
    assert overflow_pixels(page) == 0
    assert axe_findings(page) == []
