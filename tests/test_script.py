import pytest

from model.script import bare, simplified


def test_traditional_characters_become_simplified_ones() -> None:
    assert simplified("就算下雨也要去臺灣聽演講") == "就算下雨也要去台湾听演讲"


@pytest.mark.parametrize("text", ["", "今天天气很好。", "OK 123", "🙂"])
def test_text_that_is_already_simplified_or_of_another_script_stays(text: str) -> None:
    assert simplified(text) == text


def test_simplifying_twice_changes_nothing_more() -> None:
    once = simplified("電話無法接通，請稍後再撥")
    assert simplified(once) == once


def test_what_is_compared_has_neither_punctuation_nor_spaces_nor_case() -> None:
    assert bare("您好， 臺北 —— Hello_World！") == "您好台北helloworld"


def test_punctuation_alone_is_nothing_to_compare() -> None:
    assert bare("。，！？…《》") == ""
