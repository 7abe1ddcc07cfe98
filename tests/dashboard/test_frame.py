"""The page around everything: languages, light and dark, phones, and what axe-core says of each place."""

import pytest
from playwright.sync_api import expect

from dashboard.conftest import OpenPage, check_looks


def test_both_languages_have_the_same_words(open_page: OpenPage) -> None:
    english, chinese = open_page().evaluate(
        "async () => [(await import('./dashboard/words_en.js')).ENGLISH,"
        " (await import('./dashboard/words_zh.js')).CHINESE]"
    )
    assert english.keys() == chinese.keys()
    assert all(chinese[key].strip() for key in english)


def test_the_language_is_the_browsers_until_another_is_chosen(open_page: OpenPage) -> None:
    page = open_page(locale="zh-CN")
    expect(page.get_by_role("heading", level=1)).to_have_text("录音")
    assert page.locator("html").get_attribute("lang") == "zh-CN"
    page.get_by_role("button", name="English").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Recordings")
    page.reload()
    expect(page.get_by_role("heading", level=1)).to_have_text("Recordings")


def test_the_page_is_dark_where_the_system_is_until_told_otherwise(open_page: OpenPage) -> None:
    page = open_page(color_scheme="dark")
    ground = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(ground)
    page.get_by_role("button", name="Light or dark").click()
    light = page.evaluate(ground)
    assert dark == "rgb(18, 21, 26)"
    assert light == "rgb(245, 246, 248)"


@pytest.mark.parametrize("place", ["", "live", "talk"])
def test_every_place_can_be_used_by_everybody_and_on_a_phone(open_page: OpenPage, place: str) -> None:
    check_looks(open_page(place))


def test_a_reader_without_a_mouse_gets_to_the_content_first(open_page: OpenPage) -> None:
    page = open_page()
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="To the content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()
