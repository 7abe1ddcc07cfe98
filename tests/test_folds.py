import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from drawn_features import FEATURES, SMALL, drawn_example, drawn_features, small_network

from model.labels import EMOTIONS
from model.network import VcemoNetwork
from training.dataset import TrainingSet
from training.experiment import Experiment
from training.feature_cache import Example
from training.folds import Corpora, Prediction, predictions, trained_network, write_predictions
from training.trainer import predict_logits

SPEAKERS = ("anna", "bernd", "carla")
EXPERIMENT = Experiment(network=SMALL, corpora={"casia": 1, "nemo": 1}, epochs=1, batch_size=8)


@pytest.fixture(scope="module")
def corpora() -> Corpora:
    """Six clips a speaker; the mel of a clip is the number of its speaker all over. nemo has an anna of its own."""
    generator = np.random.default_rng(0)
    clips = []
    for number, (corpus, speaker) in enumerate([*(("casia", name) for name in SPEAKERS), ("nemo", "anna")]):
        for emotion in EMOTIONS:
            features = drawn_features(generator, frames=20)
            marked = replace(features, mel=np.full((20, 80), number, dtype=np.float32))
            key = f"{corpus}/{speaker}-{emotion}"
            clips.append(drawn_example(marked, key=key, emotion=emotion, speaker=speaker, corpus=corpus))
    return Corpora(clips=clips, texts=[drawn_example(drawn_features(generator, frames=0), key="text")])


def fold(corpora: Corpora, runs: Path, *, left_out: str | None, epochs: list[int]) -> VcemoNetwork:
    return trained_network(
        corpora,
        left_out=left_out,
        experiment=EXPERIMENT,
        features=FEATURES,
        runs=runs,
        on_epoch=lambda epoch, _: epochs.append(epoch),
    )


def test_the_speakers_of_a_corpus_are_its_own(corpora: Corpora) -> None:
    assert corpora.speakers("casia") == ["anna", "bernd", "carla"]
    assert corpora.speakers("nemo") == ["anna"]


@pytest.mark.parametrize("left_out", SPEAKERS)
def test_a_speaker_is_either_trained_on_or_tested(corpora: Corpora, left_out: str) -> None:
    part = corpora.training_part(corpus="casia", left_out=left_out)
    tested = corpora.of_speaker(corpus="casia", speaker=left_out)
    assert len(tested) == 6
    assert {clip.clip.key for clip in part} | {clip.clip.key for clip in tested} == {
        clip.clip.key for clip in corpora.clips
    }
    assert not {clip.clip.key for clip in part} & {clip.clip.key for clip in tested}


def test_a_speaker_of_that_name_in_another_corpus_stays(corpora: Corpora) -> None:
    part = corpora.training_part(corpus="casia", left_out="anna")
    assert {(clip.clip.corpus, clip.clip.speaker) for clip in part} == {
        ("casia", "bernd"),
        ("casia", "carla"),
        ("nemo", "anna"),
    }


def test_without_a_speaker_to_leave_out_everyone_is_trained_on(corpora: Corpora) -> None:
    assert corpora.training_part(corpus="casia", left_out=None) == list(corpora.clips)


def test_no_batch_holds_a_sound_of_the_speaker_left_out(corpora: Corpora) -> None:
    part = corpora.training_part(corpus="casia", left_out="bernd")
    training_set = TrainingSet(part, corpora.texts, experiment=EXPERIMENT, features=FEATURES)
    heard = {
        int(mark)
        for epoch in range(3)
        for batch in training_set.batches(epoch)
        for mark, present in zip(batch.inputs["mel"][:, 0, 0], batch.inputs["modality_mask"][:, 0], strict=True)
        if present
    }
    assert heard == {0, 2, 3}


def test_a_network_is_trained_once_and_then_found(corpora: Corpora, tmp_path: Path) -> None:
    epochs: list[int] = []
    drawn = [clip.features for clip in corpora.clips]
    first = predict_logits(fold(corpora, tmp_path, left_out="anna", epochs=epochs), drawn, config=FEATURES)
    again = predict_logits(fold(corpora, tmp_path, left_out="anna", epochs=epochs), drawn, config=FEATURES)
    assert epochs == [1]
    np.testing.assert_array_equal(first, again)
    fold(corpora, tmp_path, left_out=None, epochs=epochs)
    assert epochs == [1, 1]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["all.safetensors", "anna.safetensors"]


def test_the_utterances_of_a_clip_are_averaged_by_their_length() -> None:
    generator, network = np.random.default_rng(0), small_network("whisper")
    drawn = [drawn_features(generator) for _ in range(3)]
    examples = [
        drawn_example(features, key=key, seconds=seconds, sentence="201", emotion="sad")
        for features, key, seconds in zip(drawn, ("one", "two", "one"), (3.0, 1.0, 1.0), strict=True)
    ]
    logits = predict_logits(network, drawn, config=FEATURES)
    one, two = predictions(network, examples, features=FEATURES, view="both")
    assert (one.key, one.speaker, one.sentence, EMOTIONS[one.emotion]) == ("one", "anna", "201", "sad")
    np.testing.assert_allclose(one.logits, 0.75 * logits[0] + 0.25 * logits[2], atol=1e-6)
    np.testing.assert_allclose(two.logits, logits[1], atol=1e-6)


def example_with(seed: int, *, words: int) -> Example:
    return drawn_example(drawn_features(np.random.default_rng(seed), words=words), key=f"clip-{seed}")


def test_a_view_shows_the_network_what_it_is_named_after() -> None:
    network, example = small_network("whisper"), example_with(0, words=4)
    rows = {
        view: predictions(network, [example], features=FEATURES, view=view)[0] for view in ("both", "sound", "text")
    }
    other = example_with(1, words=4).features
    same_sound = replace(example, features=replace(example.features, words=other.words, sentence=other.sentence))
    same_text = replace(example, features=replace(example.features, mel=other.mel, states=other.states))
    assert predictions(network, [same_sound], features=FEATURES, view="sound") == [rows["sound"]]
    assert predictions(network, [same_text], features=FEATURES, view="text") == [rows["text"]]
    assert predictions(network, [same_text], features=FEATURES, view="both") != [rows["both"]]


def test_a_clip_without_text_is_left_out_of_the_view_of_text() -> None:
    network, examples = small_network("whisper"), [example_with(0, words=4), example_with(1, words=0)]
    assert [one.key for one in predictions(network, examples, features=FEATURES, view="text")] == ["clip-0"]
    assert predictions(network, examples[1:], features=FEATURES, view="text") == []


def test_predictions_are_written_so_that_every_figure_can_be_computed_again(tmp_path: Path) -> None:
    row = Prediction(key="casia/1", speaker="anna", sentence="201", emotion=2, logits=(0.123456789, -1.0))
    write_predictions(tmp_path / "runs" / "anna.jsonl", {"both": [row], "text": []})
    (line,) = (tmp_path / "runs" / "anna.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(line) == {
        "view": "both",
        "key": "casia/1",
        "speaker": "anna",
        "emotion": "happy",
        "logits": [0.12346, -1.0],
    }
