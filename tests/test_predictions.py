import json
from dataclasses import replace
from pathlib import Path

import numpy as np
from drawn_features import FEATURES, drawn_example, drawn_features, small_network

from model.labels import EMOTIONS
from training.feature_cache import Example
from training.inference import predict_logits
from training.predictions import Prediction, predictions, write_predictions


def test_the_utterances_of_a_clip_are_averaged_by_their_length() -> None:
    generator, network = np.random.default_rng(0), small_network("whisper")
    drawn = [drawn_features(generator) for _ in range(3)]
    examples = [
        drawn_example(features, key=key, seconds=seconds, sentence="201", emotion="sad")
        for features, key, seconds in zip(drawn, ("one", "two", "one"), (3.0, 1.0, 1.0), strict=True)
    ]
    logits = predict_logits(network, drawn, config=FEATURES)
    one, two = predictions(network, examples, features=FEATURES, emotions=EMOTIONS, view="both")
    assert (one.key, one.speaker, one.sentence, EMOTIONS[one.emotion]) == ("one", "anna", "201", "sad")
    np.testing.assert_allclose(one.logits, 0.75 * logits[0] + 0.25 * logits[2], atol=1e-6)
    np.testing.assert_allclose(two.logits, logits[1], atol=1e-6)


def example_with(seed: int, *, words: int) -> Example:
    return drawn_example(drawn_features(np.random.default_rng(seed), words=words), key=f"clip-{seed}")


def test_a_view_shows_the_network_what_it_is_named_after() -> None:
    network, example = small_network("whisper"), example_with(0, words=4)
    rows = {
        view: predictions(network, [example], features=FEATURES, emotions=EMOTIONS, view=view)[0]
        for view in ("both", "sound", "text")
    }
    other = example_with(1, words=4).features
    same_sound = replace(example, features=replace(example.features, words=other.words, sentence=other.sentence))
    same_text = replace(example, features=replace(example.features, mel=other.mel, states=other.states))
    assert predictions(network, [same_sound], features=FEATURES, emotions=EMOTIONS, view="sound") == [rows["sound"]]
    assert predictions(network, [same_text], features=FEATURES, emotions=EMOTIONS, view="text") == [rows["text"]]
    assert predictions(network, [same_text], features=FEATURES, emotions=EMOTIONS, view="both") != [rows["both"]]


def test_a_clip_without_text_is_left_out_of_the_view_of_text() -> None:
    network, examples = small_network("whisper"), [example_with(0, words=4), example_with(1, words=0)]
    assert [one.key for one in predictions(network, examples, features=FEATURES, emotions=EMOTIONS, view="text")] == [
        "clip-0"
    ]
    assert predictions(network, examples[1:], features=FEATURES, emotions=EMOTIONS, view="text") == []


def test_predictions_are_written_so_that_every_figure_can_be_computed_again(tmp_path: Path) -> None:
    row = Prediction(key="casia/1", speaker="anna", sentence="201", emotion=2, logits=(0.123456789, -1.0))
    write_predictions(
        tmp_path / "runs" / "anna.jsonl", {"both": [row], "text": []}, emotions=EMOTIONS, fold="anna", seed=3
    )
    (line,) = (tmp_path / "runs" / "anna.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(line) == {
        "view": "both",
        "fold": "anna",
        "seed": 3,
        "key": "casia/1",
        "speaker": "anna",
        "sentence": "201",
        "emotion": "happy",
        "logits": [0.12346, -1.0],
    }
