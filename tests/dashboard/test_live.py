"""A call while it goes on: talked into the page, and seen on the board of somebody else."""

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect
from service_fixtures import Running

from bench.browser import PHONE, axe_findings, overflow_pixels
from dashboard.conftest import OpenPage


def stream(page: Page, recording: Path, *, is_fast: bool) -> None:
    page.get_by_label("File").check()
    page.get_by_label("Recording").set_input_files(recording)
    page.get_by_label("as fast as the service takes it").set_checked(is_fast)
    page.get_by_role("button", name="Begin").click()


def test_a_call_is_heard_seen_on_the_board_and_summed_up(
    open_page: OpenPage, running: Running, two_sides: Path
) -> None:
    board, page = open_page("live"), open_page("talk")
    expect(board.locator("main")).to_contain_text("No call is running")
    stream(page, two_sides, is_fast=False)
    on_board = board.locator(".running").first
    expect(on_board).to_contain_text("live")
    expect(page.locator(".utterance", has_text="Agent")).to_contain_text("not judged")
    page.get_by_role("heading", name="The whole call").wait_for()
    expect(page.locator(".utterance")).to_have_count(2)
    expect(page.locator(".alert")).to_contain_text("customer-speaks")
    expect(on_board.locator(".alert")).to_contain_text("customer-speaks")
    expect(board.get_by_role("alert")).to_contain_text("Critical")
    expect(on_board).to_contain_text("ended")
    customer = page.locator(".utterance", has_text="Customer")
    customer.get_by_role("button", name="fear").click()
    expect(customer).to_contain_text("corrected")


def test_what_the_microphone_hears_is_judged(open_page: OpenPage) -> None:
    page = open_page("talk", permissions=["microphone"])
    page.get_by_role("button", name="Begin").click()
    page.locator(".utterance .badge").first.wait_for()
    page.get_by_role("button", name="End").click()
    page.get_by_role("heading", name="The whole call").wait_for()
    expect(page.get_by_role("button", name="Play", exact=True)).to_be_enabled()


def test_a_dropped_connection_is_taken_up_where_it_was(open_page: OpenPage, two_sides: Path) -> None:
    page = open_page("talk", may_fail=True)
    page.evaluate(
        "() => { const Real = WebSocket; globalThis.opened = [];"
        "globalThis.WebSocket = class extends Real { constructor(...all) { super(...all); opened.push(this); } }; }"
    )
    stream(page, two_sides, is_fast=False)
    page.locator(".utterance").first.wait_for()
    page.evaluate("opened[0].onclose({ code: 1006, reason: '' }); opened[0].onclose = null; opened[0].close()")
    page.get_by_role("heading", name="The whole call").wait_for()
    expect(page.locator(".utterance")).to_have_count(2)
    assert page.evaluate("opened.length") == 2
    assert "session_id=" in page.evaluate("opened[1].url")


@pytest.mark.parametrize("options", [{}, {"color_scheme": "dark"}, PHONE], ids=["light", "dark", "phone"])
def test_axe_finds_nothing_wrong_with_a_board_of_calls(open_page: OpenPage, options: dict[str, object]) -> None:
    page = open_page("live", **options)
    page.locator(".running").first.wait_for()
    assert axe_findings(page) == []
    assert overflow_pixels(page) == 0
