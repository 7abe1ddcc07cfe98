import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from drawn_features import FEATURES, drawn_features, drawn_ngrams, features_of_every_kind

from model.acoustic import MelConfig, log_mel
from model.assets import AssetStore
from model.features import FeatureConfig, FeatureExtractor, Features, collate
from model.lower_layers import LowerLayers, LowerLayersConfig
from model.network import VcemoNetwork
from model.ngrams import NgramConfig, Ngrams, ngrams
from model.sentence import E5Encoder, SentenceConfig
from model.spans import SegmentConfig
from model.speaker import SpeakerStatistics
from model.speech import SpeechConfig, Transcript, TranscriptStatus
from model.words import WordConfig, WordVectors
from training.lower_layers import exported_lower_layers

Array = npt.NDArray[np.float32]


@pytest.fixture
def drawn() -> list[Features]:
    return features_of_every_kind(np.random.default_rng(0))


@pytest.fixture(scope="module")
def samples() -> Array:
    return np.random.default_rng(1).normal(0, 0.1, 16_000).astype(np.float32)


def transcript_of(text: str, *, status: TranscriptStatus = "ok", language: str = "zh") -> Transcript:
    return Transcript(
        text=text,
        language=language,
        status=status,
        avg_logprob=-0.3,
        no_speech_probability=0.0,
        states=np.ones((13, 512), dtype=np.float32),
        num_tokens=4,
        fell_back=False,
    )


def test_a_configuration_comes_back_from_json_with_every_field() -> None:
    config = FeatureConfig(
        segment=SegmentConfig(min_silence_ms=500),
        speech=SpeechConfig(asset="whisper-small", bucket_seconds=(4.0, 8.0)),
        mel=MelConfig(num_mels=40),
        words=WordConfig(asset="zh_core_web_md", dimension=300),
        sentence=SentenceConfig(kind="onnx", name="bert-base-chinese", dimension=768),
        ngrams=NgramConfig(longest=2, buckets=1024),
        lower_layers=LowerLayersConfig(layers=(1, 4), layer_dimension=768),
        state_dimension=768,
    )
    assert FeatureConfig.from_json(json.loads(json.dumps(config.to_json()))) == config


@pytest.mark.parametrize("part", ["segment", "speech", "lower_layers", "mel", "words", "sentence", "ngrams"])
def test_an_unknown_field_of_a_part_is_refused(part: str) -> None:
    document = FeatureConfig().to_json()
    document[part]["loudness"] = 11
    with pytest.raises(TypeError, match="loudness"):
        FeatureConfig.from_json(document)


def test_an_unknown_part_is_refused() -> None:
    with pytest.raises(TypeError, match="pitch"):
        FeatureConfig.from_json(FeatureConfig().to_json() | {"pitch": {}})


def test_a_missing_part_is_refused() -> None:
    document = FeatureConfig().to_json()
    del document["words"]
    with pytest.raises(KeyError, match="words"):
        FeatureConfig.from_json(document)


def test_a_configuration_from_before_there_were_ngrams_is_read() -> None:
    document = FeatureConfig().to_json()
    del document["ngrams"]
    assert FeatureConfig.from_json(document) == FeatureConfig()


def test_mel_without_states_is_no_recording(drawn: list[Features]) -> None:
    with pytest.raises(ValueError, match="both or neither"):
        replace(drawn[0], states=None)


def test_features_of_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="neither sound nor text"):
        Features()


def test_a_speaker_who_is_not_heard_is_refused(drawn: list[Features]) -> None:
    known = drawn[1]
    assert known.speaker is not None
    with pytest.raises(ValueError, match="sound is missing"):
        replace(known, mel=None, states=None)


def test_the_text_of_another_utterance_leaves_the_sound_and_the_speaker(drawn: list[Features]) -> None:
    known, other = drawn[1], drawn[2]
    mixed = known.with_text_of(other)
    assert (mixed.mel, mixed.states, mixed.speaker) == (known.mel, known.states, known.speaker)
    assert (mixed.words, mixed.sentence, mixed.ngrams) == (other.words, other.sentence, other.ngrams)
    mute = known.with_text_of(None)
    assert (mute.words, mute.sentence, mute.ngrams) == (None, None, None)
    assert mute.mel is known.mel


def test_without_sound_the_speaker_is_unknown_as_well(drawn: list[Features]) -> None:
    text = drawn[1].without_sound()
    assert (text.mel, text.states, text.speaker) == (None, None, None)
    assert text.ngrams is drawn[1].ngrams


def test_a_collated_batch_carries_the_inputs_of_the_network(drawn: list[Features]) -> None:
    assert tuple(collate(drawn, config=FEATURES)) == VcemoNetwork.INPUTS


def test_sequences_are_padded_with_zeros_up_to_the_longest(drawn: list[Features]) -> None:
    batch = collate(drawn, config=FEATURES)
    assert batch["mel"].shape == (5, 90, 80)
    assert batch["states"].shape == (5, 23, 512)
    assert batch["words"].shape == (5, 90, 100)
    assert batch["sentence"].shape == (5, 384)
    for row, item in enumerate(drawn):
        for name in ("mel", "states", "words"):
            rows: Array | None = getattr(item, name)
            present = 0 if rows is None else len(rows)
            assert not batch[name][row, present:].any()
            if rows is not None:
                np.testing.assert_array_equal(batch[name][row, :present], rows)


def test_ngrams_are_padded_with_weights_of_zero(drawn: list[Features]) -> None:
    batch = collate(drawn, config=FEATURES)
    assert batch["ngrams"].shape == batch["ngram_weights"].shape == (5, 3 * 90)
    for buckets, weights, item in zip(batch["ngrams"], batch["ngram_weights"], drawn, strict=True):
        number = 0 if item.ngrams is None else len(item.ngrams.buckets)
        assert not buckets[number:].any()
        assert not weights[number:].any()
        if item.ngrams is not None:
            np.testing.assert_array_equal(buckets[:number], item.ngrams.buckets)
            np.testing.assert_array_equal(weights[:number], item.ngrams.weights)


@pytest.mark.parametrize("kept", [None, drawn_ngrams(np.random.default_rng(0), number=0)])
def test_of_texts_without_ngrams_a_single_empty_column_is_left(drawn: list[Features], kept: Ngrams | None) -> None:
    batch = collate([replace(item, ngrams=kept) for item in drawn], config=FEATURES)
    assert batch["ngrams"].shape == (5, 1)
    assert not batch["ngram_weights"].any()


def test_of_a_speaker_the_mean_and_deviation_are_given_and_of_a_stranger_zeros(drawn: list[Features]) -> None:
    batch = collate(drawn, config=FEATURES)
    assert batch["speaker_rows"].tolist() == [[0, 0], [300, 40], [0, 0], [300, 40], [0, 0]]
    assert batch["speaker_mel"].shape == (5, 2, 80)
    assert batch["speaker_states"].shape == (5, 2, 512)
    for mel, states, item in zip(batch["speaker_mel"], batch["speaker_states"], drawn, strict=True):
        if item.speaker is None:
            assert not mel.any()
            assert not states.any()
        else:
            np.testing.assert_array_equal(mel, item.speaker.mel.mean_and_deviation)
            np.testing.assert_array_equal(states, item.speaker.states.mean_and_deviation)


def test_of_a_speaker_without_a_frame_zeros_are_given(drawn: list[Features]) -> None:
    assert drawn[0].states is not None
    heard = SpeakerStatistics.of(mel=np.zeros((0, 80), dtype=np.float32), states=drawn[0].states)
    batch = collate([replace(drawn[0], speaker=heard)], config=FEATURES)
    assert batch["speaker_rows"].tolist() == [[0, 1]]
    assert not batch["speaker_mel"].any()


def test_lengths_are_at_least_one_and_the_mask_says_what_is_there(drawn: list[Features]) -> None:
    batch = collate(drawn, config=FEATURES)
    assert batch["mel_lengths"].tolist() == [1, 37, 90, 50, 1]
    assert batch["states_lengths"].tolist() == [1, 5, 23, 12, 1]
    assert batch["words_lengths"].tolist() == [1, 3, 90, 1, 7]
    assert batch["modality_mask"].tolist() == [[1, 1, 1], [1, 1, 1], [1, 1, 1], [1, 0, 0], [0, 1, 1]]


def test_types_are_those_that_the_export_was_traced_with(drawn: list[Features]) -> None:
    types = {name: array.dtype for name, array in collate(drawn, config=FEATURES).items()}
    whole: set[Any] = {types.pop(name) for name in ("mel_lengths", "states_lengths", "words_lengths", "ngrams")}
    assert whole == {np.dtype(np.int64)}
    assert set(types.values()) == {np.dtype(np.float32)}


def test_a_sentence_without_known_words_keeps_its_vector() -> None:
    item = replace(drawn_features(np.random.default_rng(2)), words=None)
    batch = collate([item], config=FEATURES)
    assert batch["modality_mask"].tolist() == [[1, 0, 1]]
    np.testing.assert_array_equal(batch["sentence"], [item.sentence])


def test_a_trusted_transcript_gives_every_modality(feature_extractor: FeatureExtractor, samples: Array) -> None:
    features = feature_extractor.of_speech(samples, transcript_of("今天天气很好"))
    assert features.mel is not None
    assert features.words is not None
    assert features.sentence is not None
    np.testing.assert_array_equal(features.mel, log_mel(samples))
    assert features.states is not None
    assert features.states.shape == (13, 512)
    assert features.words.shape[1] == 100
    assert features.sentence.shape == (384,)
    assert features.speaker is None


def test_the_ngrams_are_those_of_the_transcript(feature_extractor: FeatureExtractor, samples: Array) -> None:
    expected = ngrams("今天天气很好", config=NgramConfig())
    assert expected is not None
    for features in (
        feature_extractor.of_speech(samples, transcript_of("今天天气很好")),
        feature_extractor.of_text("今天天气很好"),
    ):
        assert features.ngrams is not None
        np.testing.assert_array_equal(features.ngrams.buckets, expected.buckets)
        np.testing.assert_array_equal(features.ngrams.weights, expected.weights)


@pytest.mark.parametrize("status", ["low_confidence", "no_speech"])
def test_a_transcript_that_is_not_trusted_counts_for_nothing(
    feature_extractor: FeatureExtractor, samples: Array, status: TranscriptStatus
) -> None:
    features = feature_extractor.of_speech(samples, transcript_of("今天天气很好", status=status))
    assert features.words is None
    assert features.sentence is None
    assert features.ngrams is None
    assert features.mel is not None


def test_a_transcript_in_another_language_counts_for_nothing(
    feature_extractor: FeatureExtractor, samples: Array
) -> None:
    features = feature_extractor.of_speech(samples, transcript_of("nice weather today", language="en"))
    assert features.words is None
    assert features.sentence is None
    assert features.ngrams is None


def test_a_transcript_of_unknown_words_keeps_its_sentence(feature_extractor: FeatureExtractor, samples: Array) -> None:
    features = feature_extractor.of_speech(samples, transcript_of("？！"))
    assert features.words is None
    assert features.sentence is not None


def test_text_alone_has_no_sound(feature_extractor: FeatureExtractor) -> None:
    features = feature_extractor.of_text("今天天气很好")
    assert features.mel is None
    assert features.words is not None
    assert features.speaker is None


def test_a_text_without_a_character_is_refused(feature_extractor: FeatureExtractor) -> None:
    with pytest.raises(ValueError, match="the text is empty"):
        feature_extractor.of_text("  ")


@pytest.mark.parametrize("text", ["", "  "])
def test_an_empty_transcript_leaves_the_sound(feature_extractor: FeatureExtractor, samples: Array, text: str) -> None:
    features = feature_extractor.of_speech(samples, transcript_of(text))
    assert (features.words, features.sentence, features.ngrams) == (None, None, None)
    assert features.mel is not None


@pytest.mark.parametrize("with_last", [True, False])
def test_lower_layers_stand_behind_the_last_or_in_its_place(
    assets: AssetStore,
    word_vectors: WordVectors,
    sentence_encoder: E5Encoder,
    samples: Array,
    tmp_path: Path,
    with_last: bool,
) -> None:
    config = replace(FEATURES, lower_layers=LowerLayersConfig(layers=(1,), with_last=with_last))
    with pytest.raises(ValueError, match=r"lower layers \(1,\) are to be read"):
        FeatureExtractor(config, words=word_vectors, sentence=sentence_encoder)
    path = exported_lower_layers(tmp_path, whisper=assets.path("whisper-base"), layers=(1,), name="whisper")
    lower = LowerLayers(path, config=config.lower_layers)
    extractor = FeatureExtractor(config, words=word_vectors, sentence=sentence_encoder, lower_layers=lower)
    transcript = transcript_of("今天天气很好")
    features = extractor.of_speech(samples, transcript)
    assert features.states is not None
    expected = [*([transcript.states] if with_last else []), lower.encode(samples)]
    np.testing.assert_array_equal(features.states, np.concatenate(expected, axis=1))
    assert collate([features], config=config)["states"].shape == (1, 13, config.step_dimension)


def test_lower_layers_stand_beside_the_last_step_by_step() -> None:
    lower = LowerLayersConfig(layers=(1,), states_per_step=2)
    with pytest.raises(ValueError, match="of 2 states a step do not stand beside the last layer's 4"):
        FeatureConfig(lower_layers=lower)
    assert FeatureConfig(lower_layers=replace(lower, with_last=False)).step_dimension == 512
