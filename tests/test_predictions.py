import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from drawn_features import FEATURES, drawn_example, drawn_features, small_network

from training.inference import predict_logits
from training.prediction_rows import PredictionRow, read_predictions
from training.predictions import predictions, write_predictions


def test_the_utterances_of_a_clip_are_averaged_by_their_length() -> None:
    generator, network = np.random.default_rng(0), small_network("whisper")
    drawn = [drawn_features(generator) for _ in range(3)]
    examples = [
        drawn_example(features, key=key, seconds=seconds, sentence="201", emotion="sad")
        for features, key, seconds in zip(drawn, ("one", "two", "one"), (3.0, 1.0, 1.0), strict=True)
    ]
    logits = predict_logits(network, drawn, config=FEATURES)
    one, two = predictions(network, examples, features=FEATURES, view="both", fold="anna", seed=3)
    assert (one.key, one.speaker, one.sentence, one.emotion) == ("one", "anna", "201", "sad")
    assert (one.view, one.fold, one.seed) == ("both", "anna", 3)
    np.testing.assert_allclose(one.logits, 0.75 * logits[0] + 0.25 * logits[2], atol=1e-5)
    np.testing.assert_allclose(two.logits, logits[1], atol=1e-5)


def test_texts_have_no_length_and_are_averaged_alike() -> None:
    network = small_network("whisper")
    drawn = [drawn_features(np.random.default_rng(k), frames=0) for k in range(2)]
    texts = [drawn_example(features, key="text", seconds=0.0) for features in drawn]
    (row,) = predictions(network, texts, features=FEATURES, view="posts ewect", fold="anna", seed=0)
    np.testing.assert_allclose(row.logits, predict_logits(network, drawn, config=FEATURES).mean(0), atol=1e-5)


def test_what_is_read_back_is_what_was_said(tmp_path: Path) -> None:
    examples = [drawn_example(drawn_features(np.random.default_rng(k)), key=str(k), sentence="7") for k in range(3)]
    network = small_network("whisper")
    rows = predictions(network, examples, features=FEATURES, view="both", fold="anna", seed=3)
    write_predictions(tmp_path / "predictions.jsonl", rows)
    assert read_predictions(tmp_path / "predictions.jsonl") == rows


def test_of_nothing_nothing_is_said() -> None:
    assert predictions(small_network("whisper"), [], features=FEATURES, view="text", fold="anna", seed=0) == []


def test_predictions_are_written_so_that_every_figure_can_be_computed_again(tmp_path: Path) -> None:
    rows = [
        PredictionRow(
            key="casia/1",
            speaker="anna",
            sentence="201",
            emotion="happy",
            logits=(0.12346, -1.0),
            view="both",
            fold="anna",
            seed=3,
        ),
        PredictionRow(key="ewect/1", emotion="sad", logits=(1.0, 2.0), view="posts ewect", fold="anna"),
    ]
    path = tmp_path / "runs" / "predictions.jsonl"
    write_predictions(path, rows)
    first, second = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    assert first == {
        "view": "both",
        "fold": "anna",
        "seed": 3,
        "key": "casia/1",
        "speaker": "anna",
        "sentence": "201",
        "emotion": "happy",
        "logits": [0.12346, -1.0],
    }
    # What is unknown is left out.
    assert set(second) == {"view", "fold", "seed", "key", "emotion", "logits"}
    assert read_predictions(path) == rows


def test_predictions_are_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "predictions.jsonl"
    row = PredictionRow(key="1", emotion="sad", logits=(1.0,))
    write_predictions(path, [row])
    with pytest.raises(ZeroDivisionError):
        write_predictions(path, (replace(row, seed=1 // number) for number in (1, 0)))
    assert read_predictions(path) == [row]
