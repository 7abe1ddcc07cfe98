from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from drawn_features import FEATURES, drawn_example, drawn_features, features_of_every_kind

from model.acoustic import MelConfig
from model.features import Features
from model.sentence import SentenceConfig
from training.corpora.manifest import Clip
from training.feature_cache import Example, cache_path, load_examples, save_examples, without_sound, without_text

ASSETS = {"whisper-base": {"model.bin": "d01c"}}


@pytest.fixture
def examples() -> list[Example]:
    drawn = features_of_every_kind(np.random.default_rng(0))
    with_sentence_only = replace(drawn[0], words=None)
    return [drawn_example(features, key=str(index)) for index, features in enumerate([*drawn, with_sentence_only])]


@pytest.fixture
def clip(tmp_path: Path) -> Clip:
    recording = tmp_path / "clip.wav"
    recording.write_bytes(b"sound")
    return Clip(
        key="casia/1",
        corpus="casia",
        audio=recording,
        emotion="sad",
        speaker="anna",
        sentence="1",
        text="你好",
        language="zh",
    )


def path_of(*clips: Clip, config: object = FEATURES, assets: object = ASSETS) -> Path:
    return cache_path(Path("/cache"), corpus="casia", clips=clips, config=config, assets=assets)  # type: ignore[arg-type]


def assert_same_features(found: Features, expected: Features) -> None:
    for name in ("mel", "states", "words", "sentence"):
        one, other = getattr(found, name), getattr(expected, name)
        assert (one is None) == (other is None), name
        if other is not None:
            assert one.dtype == np.float32
            # Sequences are kept in half precision.
            np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-3)


def test_examples_come_back_with_every_modality_there_or_not(tmp_path: Path, examples: list[Example]) -> None:
    path = tmp_path / "features" / "casia.npz"
    save_examples(path, examples)
    loaded = load_examples(path, [example.clip for example in reversed(examples)])
    assert [one.clip for one in loaded] == [one.clip for one in examples]
    for one, example in zip(loaded, examples, strict=True):
        assert replace(one, features=example.features) == example
        assert_same_features(one.features, example.features)


def test_several_utterances_of_a_clip_keep_their_order(tmp_path: Path) -> None:
    drawn = [drawn_features(np.random.default_rng(seed), frames=20 + seed) for seed in range(3)]
    twice = [drawn_example(features, key="one", seconds=1.5 + k) for k, features in enumerate(drawn)]
    save_examples(tmp_path / "some.npz", twice)
    loaded = load_examples(tmp_path / "some.npz", [twice[0].clip])
    assert [one.seconds for one in loaded] == [1.5, 2.5, 3.5]
    assert [len(one.features.mel) for one in loaded if one.features.mel is not None] == [20, 21, 22]


@pytest.mark.parametrize("frames", [0, 30])
def test_a_corpus_of_text_or_of_sound_alone_is_kept_as_well(tmp_path: Path, frames: int) -> None:
    features = drawn_features(np.random.default_rng(0), frames=frames, words=0 if frames else 5)
    save_examples(tmp_path / "some.npz", [drawn_example(features, key="one")])
    (loaded,) = load_examples(tmp_path / "some.npz", [drawn_example(features, key="one").clip])
    assert_same_features(loaded.features, features)


def test_a_corpus_without_any_utterance_is_kept_as_well(tmp_path: Path) -> None:
    save_examples(tmp_path / "none.npz", [])
    assert load_examples(tmp_path / "none.npz", []) == []


def test_the_labels_come_from_the_manifest_of_today(tmp_path: Path, examples: list[Example]) -> None:
    save_examples(tmp_path / "some.npz", examples)
    relabelled = [replace(example.clip, emotion="fear") for example in examples]
    assert {one.clip.emotion for one in load_examples(tmp_path / "some.npz", relabelled)} == {"fear"}


def test_a_saved_file_leaves_no_part_behind_and_replaces_the_old(tmp_path: Path, examples: list[Example]) -> None:
    path = tmp_path / "some.npz"
    save_examples(path, examples)
    save_examples(path, examples[:1])
    assert list(tmp_path.iterdir()) == [path]
    assert len(load_examples(path, [example.clip for example in examples])) == 1


def test_the_same_content_has_the_same_path(clip: Clip) -> None:
    assert path_of(clip) == path_of(clip)
    assert path_of(clip).parent == Path("/cache/features")
    assert path_of(clip).name.startswith("casia-")


def test_all_that_decides_the_features_decides_the_path(clip: Clip) -> None:
    other_config = replace(FEATURES, sentence=SentenceConfig(max_tokens=64))
    paths = {
        path_of(clip),
        path_of(clip, config=other_config),
        path_of(clip, assets={"whisper-base": {"model.bin": "ffff"}}),
        path_of(replace(clip, text="再见")),
        path_of(replace(clip, key="casia/2")),
        path_of(clip, clip),
    }
    assert clip.audio is not None
    clip.audio.write_bytes(b"more sound")
    paths.add(path_of(clip))
    assert len(paths) == 7


def test_the_features_of_text_outlive_a_change_of_the_ear(clip: Clip) -> None:
    text = replace(clip, audio=None)
    louder = replace(FEATURES, mel=MelConfig(floor=1e-3))
    assert path_of(text) == path_of(text, config=louder, assets={})
    assert path_of(text) != path_of(text, config=replace(FEATURES, sentence=SentenceConfig(max_tokens=64)))
    assert path_of(text, clip) != path_of(text, clip, config=louder)


def test_an_example_can_be_judged_by_sound_or_by_text_alone(examples: list[Example]) -> None:
    example = examples[1]
    heard, read = without_text(example).features, without_sound(example).features
    assert (heard.words, heard.sentence, read.mel, read.states) == (None,) * 4
    assert heard.mel is example.features.mel
    assert read.sentence is example.features.sentence
