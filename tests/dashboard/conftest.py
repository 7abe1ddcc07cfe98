"""A real browser before one real service: Chromium as Debian ships it, the committed bundle, real speech.

Everything lives as long as this folder's tests: playwright keeps an event loop in this thread, and tests elsewhere
start their own.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser, BrowserContext, Page
from service_fixtures import Running, samples_of, serving, wav

from bench.browser import chromium, find_chromium
from model.recognizer import EmotionRecognizer

pytest_plugins = ("service_fixtures",)

PATIENCE_MS = 20_000
RULES = """
[[rule]]
name = "customer-speaks"
role = "customer"
sentiment_below = 1.0
severity = "critical"
"""

OpenPage = Callable[..., Page]


@pytest.fixture(scope="package")
def two_sides(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real speech on two channels: the agent, then the customer."""
    agent, customer = samples_of("first_in_line.wav")[:32_000], samples_of("not_in_service.wav")[:26_000]
    sides = np.zeros((100_000, 2), dtype=np.float32)
    sides[4_000 : 4_000 + len(agent), 0] = agent
    sides[60_000 : 60_000 + len(customer), 1] = customer
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
def complaints() -> Iterator[list[str]]:
    """What the browser complained about: errors of scripts, and whatever the page's policy refused."""
    heard: list[str] = []
    yield heard
    assert heard == []


@pytest.fixture
def open_page(browser: Browser, running: Running, complaints: list[str]) -> Iterator[OpenPage]:
    contexts: list[BrowserContext] = []

    def opened(place: str = "", *, url: str = running.url, may_fail: bool = False, **options: Any) -> Page:
        context = browser.new_context(**{"locale": "en-GB", "viewport": {"width": 1280, "height": 900}, **options})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        if not may_fail:
            page.on("console", lambda message: message.type == "error" and complaints.append(message.text))
        page.goto(f"{url}/dashboard#/{place}")
        page.get_by_role("heading", level=1).wait_for()
        return page

    yield opened
    for context in contexts:
        context.close()
