from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drawn_features import FEATURES, drawn_example, drawn_features, features_of_every_kind

from model.acoustic import MelConfig
from model.features import FeatureConfig, Features
from model.lower_layers import LowerLayersConfig
from model.sentence import SentenceConfig
from model.spans import SegmentConfig
from model.speech import SpeechConfig
from training.augmentation import Change
from training.corpora.manifest import Clip
from training.feature_cache import (
    CLIPS_PER_SHARD,
    DECODER_FIELDS,
    TEXTS_PER_SHARD,
    Example,
    Shard,
    load_shard,
    save_shard,
    shard_path,
    sharded,
    without_sound,
    without_text,
)

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


def path_of(*clips: Clip, config: FeatureConfig = FEATURES, assets: Any = ASSETS, **facts: Any) -> Path:
    return shard_path(Path("/cache"), corpus="casia", clips=clips, config=config, assets=assets, **facts)


def assert_same_features(found: Features, expected: Features) -> None:
    for name in ("mel", "states", "words", "sentence"):
        one, other = getattr(found, name), getattr(expected, name)
        assert (one is None) == (other is None), name
        if other is not None:
            assert one.dtype == (np.float32 if name == "sentence" else np.float16)
            # Sequences are kept in half precision.
            np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-3)


def test_examples_come_back_with_every_modality_there_or_not(tmp_path: Path, examples: list[Example]) -> None:
    path = tmp_path / "features" / "casia.npz"
    kept = [*examples[:-1], replace(examples[-1], variant="noise")]
    save_shard(path, Shard(examples=kept, skipped={"casia/9": "no speech found"}))
    loaded = load_shard(path, [example.clip for example in reversed(examples)])
    assert loaded.skipped == {"casia/9": "no speech found"}
    assert [one.clip for one in loaded.examples] == [one.clip for one in kept]
    for one, example in zip(loaded.examples, kept, strict=True):
        assert replace(one, features=example.features) == example
        assert_same_features(one.features, example.features)


def test_several_utterances_of_a_clip_keep_their_order(tmp_path: Path) -> None:
    drawn = [drawn_features(np.random.default_rng(seed), frames=20 + seed) for seed in range(3)]
    thrice = [drawn_example(features, key="one", seconds=1.5 + k) for k, features in enumerate(drawn)]
    save_shard(tmp_path / "some.npz", Shard(examples=thrice, skipped={}))
    loaded = load_shard(tmp_path / "some.npz", [thrice[0].clip]).examples
    assert [one.seconds for one in loaded] == [1.5, 2.5, 3.5]
    assert [len(one.features.mel) for one in loaded if one.features.mel is not None] == [20, 21, 22]


@pytest.mark.parametrize("frames", [0, 30])
def test_a_shard_of_text_or_of_sound_alone_is_kept_as_well(tmp_path: Path, frames: int) -> None:
    features = drawn_features(np.random.default_rng(0), frames=frames, words=0 if frames else 5)
    example = drawn_example(features, key="one")
    save_shard(tmp_path / "some.npz", Shard(examples=[example], skipped={}))
    (loaded,) = load_shard(tmp_path / "some.npz", [example.clip]).examples
    assert_same_features(loaded.features, features)


def test_a_shard_whose_clips_were_all_skipped_says_why(tmp_path: Path) -> None:
    save_shard(tmp_path / "none.npz", Shard(examples=[], skipped={"1": "empty text"}))
    assert load_shard(tmp_path / "none.npz", []) == Shard(examples=[], skipped={"1": "empty text"})


def test_the_labels_come_from_the_manifest_of_today(tmp_path: Path, examples: list[Example]) -> None:
    save_shard(tmp_path / "some.npz", Shard(examples=examples, skipped={}))
    relabelled = [replace(example.clip, emotion="fear") for example in examples]
    assert {one.clip.emotion for one in load_shard(tmp_path / "some.npz", relabelled).examples} == {"fear"}


def test_a_saved_file_leaves_no_part_behind_and_replaces_the_old(tmp_path: Path, examples: list[Example]) -> None:
    path = tmp_path / "some.npz"
    save_shard(path, Shard(examples=examples, skipped={}))
    save_shard(path, Shard(examples=examples[:1], skipped={}))
    assert list(tmp_path.iterdir()) == [path]
    assert len(load_shard(path, [example.clip for example in examples]).examples) == 1


def test_a_file_that_cannot_be_completed_leaves_nothing_behind(tmp_path: Path, examples: list[Example]) -> None:
    taken = tmp_path / "taken.npz"
    (taken / "inside").mkdir(parents=True)
    with pytest.raises(OSError, match="taken"):
        save_shard(taken, Shard(examples=examples, skipped={}))
    assert list(tmp_path.iterdir()) == [taken]


def test_shards_hold_neighbours_of_one_kind_in_order(clip: Clip) -> None:
    recordings = [replace(clip, key=str(number)) for number in range(CLIPS_PER_SHARD + 3)]
    texts = [replace(clip, key=f"text {number}", audio=None) for number in range(TEXTS_PER_SHARD + 1)]
    shards = list(sharded([*recordings, *texts, clip]))
    assert [len(shard) for shard in shards] == [CLIPS_PER_SHARD, 3, TEXTS_PER_SHARD, 1, 1]
    assert [one for shard in shards for one in shard] == [*recordings, *texts, clip]


def test_the_same_content_has_the_same_path_whatever_its_labels(clip: Clip) -> None:
    path = path_of(clip)
    assert path.parent == Path("/cache/features/casia")
    relabelled = replace(clip, emotion="fear", speaker="bob", sentence=None, session="2", split="dev", corpus="mine")
    assert path == path_of(clip) == path_of(relabelled)


def test_all_that_decides_the_features_decides_the_path(clip: Clip) -> None:
    assert clip.audio is not None
    paths = [
        path_of(clip),
        path_of(clip, config=replace(FEATURES, sentence=SentenceConfig(max_tokens=64))),
        path_of(clip, config=replace(FEATURES, speech=SpeechConfig(beam_size=1))),
        path_of(clip, config=replace(FEATURES, segment=SegmentConfig(threshold=0.4))),
        path_of(clip, assets={"whisper-base": {"model.bin": "ffff"}}),
        path_of(replace(clip, key="casia/2")),
        path_of(replace(clip, language="pl")),
        path_of(clip, clip),
        path_of(clip, change=Change("noise")),
        path_of(clip, change=Change("noise", seed=1)),
        path_of(clip, change=Change("pitch")),
        path_of(clip, change=Change("noise", of="recording")),
        path_of(clip, change=Change("noise", seed=1, of="recording")),
        path_of(clip, change=Change("pitch", of="recording")),
        path_of(replace(clip, audio=None)),
    ]
    # Of the same size: what counts is the sound itself.
    clip.audio.write_bytes(b"dnuos")
    paths.append(path_of(clip))
    assert len(set(paths)) == len(paths)


def test_a_recording_that_only_moved_keeps_its_path(clip: Clip, tmp_path: Path) -> None:
    assert clip.audio is not None
    before = path_of(clip)
    assert path_of(replace(clip, audio=clip.audio.rename(tmp_path / "moved.wav"))) == before


def test_a_transcript_decides_only_where_it_is_read(clip: Clip) -> None:
    assert path_of(clip) == path_of(replace(clip, text="再见"))
    text = replace(clip, audio=None)
    assert path_of(text) != path_of(replace(text, text="再见"))


def test_the_features_of_text_outlive_a_change_of_the_ear(clip: Clip) -> None:
    text = replace(clip, audio=None)
    louder = replace(FEATURES, mel=MelConfig(floor=1e-3))
    assert path_of(text) == path_of(text, config=louder, assets={})
    assert path_of(text) != path_of(text, config=replace(FEATURES, sentence=SentenceConfig(max_tokens=64)))
    assert path_of(clip) != path_of(clip, config=louder)


def test_a_recording_changed_as_a_whole_hangs_on_the_decoder_and_the_readers_as_its_transcript_does(
    clip: Clip,
) -> None:
    change = Change("noise", of="recording")
    decoder = replace(FEATURES, speech=SpeechConfig(beam_size=1))
    reader = replace(FEATURES, sentence=SentenceConfig(max_tokens=64))
    assert len({path_of(clip, change=change, config=config) for config in (FEATURES, decoder, reader)}) == 3


@pytest.mark.parametrize(
    ("language", "change"),
    [("pl", None), ("zh", Change("noise")), ("pl", Change("noise")), ("pl", Change("noise", of="recording"))],
)
def test_sound_without_a_transcript_of_its_own_outlives_a_change_of_decoder_and_text(
    clip: Clip, language: str, change: Change | None
) -> None:
    heard = replace(clip, language=language)
    before = path_of(heard, change=change)
    decoder = replace(FEATURES, speech=SpeechConfig(beam_size=1, max_tokens_base=9))
    reader = replace(FEATURES, sentence=SentenceConfig(max_tokens=64))
    for config in (decoder, reader):
        assert path_of(heard, change=change, config=config) == before
    assert path_of(heard, change=change, assets=ASSETS | {"words": {"vectors": "beef"}}) == before
    encoder = replace(FEATURES, speech=SpeechConfig(tail_seconds=4.0))
    louder = replace(FEATURES, mel=MelConfig(floor=1e-3))
    lower = replace(FEATURES, lower_layers=LowerLayersConfig(layers=(2,)))
    cut = replace(FEATURES, segment=SegmentConfig(threshold=0.4))
    for config in (encoder, louder, lower, cut):
        assert path_of(heard, change=change, config=config) != before
    assert path_of(heard, change=change, assets={"whisper-base": {"model.bin": "ffff"}}) != before


def test_the_fields_that_only_the_decoder_reads_are_fields_of_its_configuration() -> None:
    assert {field.name for field in fields(SpeechConfig)} > set(DECODER_FIELDS)


@pytest.mark.parametrize("corpus", ["../elsewhere", "/etc/manifest.jsonl", "..", "mine, gold text"])
def test_no_name_of_a_corpus_leads_out_of_the_cache(clip: Clip, corpus: str) -> None:
    path = shard_path(Path("/cache"), corpus=corpus, clips=[clip], config=FEATURES, assets=ASSETS)
    assert path.resolve().parent.parent == Path("/cache/features")


def test_an_example_can_be_judged_by_sound_or_by_text_alone(examples: list[Example]) -> None:
    example = examples[1]
    heard, read = without_text(example).features, without_sound(example).features
    assert (heard.words, heard.sentence, read.mel, read.states) == (None,) * 4
    assert heard.mel is example.features.mel
    assert read.sentence is example.features.sentence
