import json
from pathlib import Path
from typing import Any

import pytest

from model.errors import CorpusError
from training.prediction_rows import PredictionRow, read_predictions

ROW = {
    "view": "both",
    "key": "casia/anna-angry-201",
    "speaker": "anna",
    "emotion": "angry",
    "logits": [1, 0, 0, 0, 0, 0],
}


def written(folder: Path, *rows: dict[str, Any]) -> Path:
    path = folder / "predictions.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_a_row_keeps_every_field(tmp_path: Path) -> None:
    path = written(tmp_path, ROW | {"group": "Ses01", "fold": 3, "seed": 2, "sentence": "201"})
    assert read_predictions(path) == [
        PredictionRow(
            key="casia/anna-angry-201",
            emotion="angry",
            logits=(1.0, 0.0, 0.0, 0.0, 0.0, 0.0),
            view="both",
            speaker="anna",
            sentence="201",
            group="Ses01",
            fold="3",
            seed=2,
        )
    ]


def test_what_a_row_does_not_say_is_unknown_and_its_fold_is_the_speaker(tmp_path: Path) -> None:
    (row,) = read_predictions(written(tmp_path, ROW | {"sentence": None, "seed": None}))
    assert (row.sentence, row.group, row.fold, row.seed) == ("", "", "", 0)
    assert row.fold_name == "anna"
    assert PredictionRow(key="k", emotion="sad", logits=()).fold_name == "all"


def test_one_view_can_be_chosen(tmp_path: Path) -> None:
    path = written(tmp_path, ROW, ROW | {"view": "text"})
    assert [row.view for row in read_predictions(path, view="text")] == ["text"]
    with pytest.raises(CorpusError, match=r"view 'sound'; it has \['both', 'text'\]"):
        read_predictions(path, view="sound")


@pytest.mark.parametrize(
    "change", [{"logits": ["much"]}, {"logits": None}, {"logits": [float("nan")]}, {"seed": "one"}], ids=str
)
def test_a_line_that_is_no_prediction_is_named(tmp_path: Path, change: dict[str, Any]) -> None:
    with pytest.raises(CorpusError, match="line 2 is no prediction"):
        read_predictions(written(tmp_path, ROW, ROW | change))


def test_a_missing_key_and_broken_json_are_named(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="line 1 is no prediction: KeyError"):
        read_predictions(written(tmp_path, {"logits": [1.0]}))
    broken = tmp_path / "broken.jsonl"
    broken.write_text('{"key": \n', encoding="utf-8")
    with pytest.raises(CorpusError, match="line 1"):
        read_predictions(broken)
