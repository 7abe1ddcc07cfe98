import json
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from drawn_features import FEATURES, drawn_features, features_of_every_kind

from model.acoustic import MelConfig, log_mel
from model.features import FeatureConfig, FeatureExtractor, Features, collate
from model.network import VcemoNetwork
from model.segment import SegmentConfig
from model.sentence import SentenceConfig
from model.speech import SpeechConfig, Transcript, TranscriptStatus
from model.words import WordConfig

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
        state_dimension=768,
    )
    assert FeatureConfig.from_json(json.loads(json.dumps(config.to_json()))) == config


@pytest.mark.parametrize("part", ["segment", "speech", "mel", "words", "sentence"])
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


def test_mel_without_states_is_no_recording(drawn: list[Features]) -> None:
    with pytest.raises(ValueError, match="both or neither"):
        replace(drawn[0], states=None)


def test_features_of_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="neither sound nor text"):
        Features()


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


def test_lengths_are_at_least_one_and_the_mask_says_what_is_there(drawn: list[Features]) -> None:
    batch = collate(drawn, config=FEATURES)
    assert batch["mel_lengths"].tolist() == [1, 37, 90, 50, 1]
    assert batch["states_lengths"].tolist() == [1, 5, 23, 12, 1]
    assert batch["words_lengths"].tolist() == [1, 3, 90, 1, 7]
    assert batch["modality_mask"].tolist() == [[1, 1, 1], [1, 1, 1], [1, 1, 1], [1, 0, 0], [0, 1, 1]]


def test_types_are_those_that_the_export_was_traced_with(drawn: list[Features]) -> None:
    types = {name: array.dtype for name, array in collate(drawn, config=FEATURES).items()}
    lengths: set[Any] = {types.pop(name) for name in ("mel_lengths", "states_lengths", "words_lengths")}
    assert lengths == {np.dtype(np.int64)}
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


@pytest.mark.parametrize("status", ["low_confidence", "no_speech"])
def test_a_transcript_that_is_not_trusted_counts_for_nothing(
    feature_extractor: FeatureExtractor, samples: Array, status: TranscriptStatus
) -> None:
    features = feature_extractor.of_speech(samples, transcript_of("今天天气很好", status=status))
    assert features.words is None
    assert features.sentence is None
    assert features.mel is not None


def test_a_transcript_in_another_language_counts_for_nothing(
    feature_extractor: FeatureExtractor, samples: Array
) -> None:
    features = feature_extractor.of_speech(samples, transcript_of("nice weather today", language="en"))
    assert features.words is None
    assert features.sentence is None


def test_a_transcript_of_unknown_words_keeps_its_sentence(feature_extractor: FeatureExtractor, samples: Array) -> None:
    features = feature_extractor.of_speech(samples, transcript_of("？！"))
    assert features.words is None
    assert features.sentence is not None


def test_text_alone_has_no_sound(feature_extractor: FeatureExtractor) -> None:
    features = feature_extractor.of_text("今天天气很好")
    assert features.mel is None
    assert features.words is not None
    with pytest.raises(ValueError, match="neither sound nor text"):
        feature_extractor.of_text("  ")
