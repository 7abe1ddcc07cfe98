"""A service that wants a key asks for it in the page, and the key stays in the tab."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from keyed_app import keys_in
from playwright.sync_api import expect
from service_fixtures import Running, serving

from dashboard.conftest import OpenPage
from model.recognizer import EmotionRecognizer


@pytest.fixture
def keyed(recognizer: EmotionRecognizer, tmp_path: Path) -> Iterator[tuple[Running, str]]:
    keys = keys_in(tmp_path / "keys.toml", dashboard="")
    with serving(recognizer, api_keys_file=str(tmp_path / "keys.toml"), state_folder=tmp_path) as running:
        yield running, keys["dashboard"]


def test_a_key_is_asked_for_until_it_is_right_and_stays_in_the_tab(
    open_page: OpenPage, keyed: tuple[Running, str]
) -> None:
    running, key = keyed
    page = open_page(url=running.url, may_fail=True)
    dialog = page.get_by_role("dialog")
    for wrong_or_right in ("vcemo_wrong", key):
        dialog.get_by_label("API key").fill(wrong_or_right)
        dialog.get_by_role("button", name="Use key").click()
        if wrong_or_right != key:
            expect(dialog).to_contain_text("not known")
    expect(dialog).to_be_hidden()
    expect(page.locator(".state")).to_contain_text("No jobs yet")
    page.reload()
    expect(page.locator(".state")).to_contain_text("No jobs yet")
    assert page.evaluate("Object.keys(localStorage)") == []
    page.get_by_role("button", name="Forget key").click()
    page.reload()
    expect(dialog).to_be_visible()


def test_who_gives_no_key_is_told_what_is_missing(open_page: OpenPage, keyed: tuple[Running, str]) -> None:
    page = open_page(url=keyed[0].url, may_fail=True)
    page.get_by_role("dialog").get_by_role("button", name="Cancel").click()
    expect(page.get_by_role("alert")).to_contain_text("An API key is needed")
