from pathlib import Path

import pytest

from model.whole_file import whole_file


def test_a_file_takes_its_place_when_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "not" / "there" / "yet.json"
    with whole_file(path) as part:
        part.write_text("new")
        assert not path.exists()
    assert path.read_text() == "new"
    assert list(path.parent.iterdir()) == [path]


def test_after_an_error_what_was_there_before_still_is(tmp_path: Path) -> None:
    path = tmp_path / "kept.json"
    path.write_text("old")

    def write_half() -> None:
        with whole_file(path) as part:
            part.write_text("ne")
            raise OSError("full")

    with pytest.raises(OSError, match="full"):
        write_half()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_two_may_write_one_file(tmp_path: Path) -> None:
    path = tmp_path / "shared.json"
    with whole_file(path) as first, whole_file(path) as second:
        first.write_text("first")
        second.write_text("second")
    assert path.read_text() == "first"
