"""A call while it goes on: talked into the page, and seen on the board of somebody else."""

from pathlib import Path

from playwright.sync_api import Page, expect

from dashboard.conftest import OpenPage, check_looks

COUNT_SOCKETS = """() => {
  globalThis.sockets = [];
  const Real = WebSocket;
  globalThis.WebSocket = class extends Real {
    constructor(...all) { super(...all); sockets.push(this); }
  };
}"""


def stream(page: Page, recording: Path) -> None:
    page.get_by_label("File").check()
    page.get_by_label("Recording").set_input_files(recording)
    page.get_by_role("button", name="Begin").click()


def test_a_call_is_heard_seen_on_the_board_and_summed_up(open_page: OpenPage, two_sides: Path) -> None:
    board, page = open_page("live"), open_page("talk")
    stream(page, two_sides)
    on_board = board.locator(".running").first
    expect(on_board).to_contain_text("live")
    page.get_by_role("heading", name="The whole call").wait_for()
    expect(page.locator(".utterance")).to_have_count(2)
    expect(page.locator(".utterance.partial")).to_have_count(0)
    expect(page.locator(".utterance", has_text="Agent")).to_contain_text("not judged")
    expect(page.locator(".alert")).to_contain_text("customer-speaks")
    expect(on_board.locator(".alert")).to_contain_text("customer-speaks")
    expect(board.get_by_role("alert")).to_contain_text("Critical")
    expect(on_board).to_contain_text("ended")
    expect(on_board.locator("tr").nth(1)).to_contain_text("not judged")
    check_looks(board)
    customer = page.locator(".utterance", has_text="Customer")
    customer.get_by_role("button", name="fear").click()
    expect(customer).to_contain_text("corrected")


def test_a_dropped_connection_is_taken_up_where_it_was(open_page: OpenPage, two_sides: Path) -> None:
    page = open_page("talk")
    page.evaluate(COUNT_SOCKETS)
    stream(page, two_sides)
    page.locator(".utterance").first.wait_for()
    # As when a network goes: the page hears of it without a word from the service.
    page.evaluate("sockets[0].onclose({ code: 1006, reason: '' }); sockets[0].onclose = null; sockets[0].close()")
    page.get_by_role("heading", name="The whole call").wait_for()
    expect(page.locator(".utterance")).to_have_count(2)
    assert page.evaluate("sockets.length") == 2
    assert "session_id=" in page.evaluate("sockets[1].url")


def test_what_the_microphone_hears_is_judged_and_can_be_played(open_page: OpenPage) -> None:
    page = open_page("talk", permissions=["microphone"])
    page.get_by_label("Who speaks on which channel").fill("customer")
    page.get_by_role("button", name="Begin").click()
    page.locator(".utterance.partial").wait_for()
    page.get_by_role("button", name="End").click()
    page.get_by_role("heading", name="The whole call").wait_for()
    expect(page.locator(".utterance .badge").first).to_contain_text("%")
    expect(page.get_by_role("button", name="Play", exact=True)).to_be_enabled()
