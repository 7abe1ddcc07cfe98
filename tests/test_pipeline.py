"""The stages joined, with the real recogniser."""

import asyncio
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from service_fixtures import samples_of, wav

from model.errors import AudioTooLong, CorruptAudio, DeadlineExceeded, TooManyChannels, TooManyUtterances
from model.recognizer import EmotionRecognizer, Recognition
from service.batching import BatchFacts
from service.budget import Budget
from service.decoding import Decoder
from service.pipeline import Pipeline
from service.settings import Settings

pytest_plugins = ("service_fixtures",)


@pytest.fixture(scope="module")
def batches() -> list[BatchFacts]:
    return []


@pytest.fixture(scope="module")
def pipeline(recognizer: EmotionRecognizer, batches: list[BatchFacts]) -> Iterator[Pipeline]:
    decoder = Decoder.from_settings(Settings())
    joined = Pipeline(recognizer, decoder=decoder, settings=Settings(), threads=2, on_batch=batches.append)
    yield joined
    joined.close()
    decoder.close()


def recognize(pipeline: Pipeline, *uploads: bytes) -> list[Recognition]:
    async def scenario() -> list[Recognition]:
        return await asyncio.gather(*(pipeline.recognize(upload, budget=Budget(30.0)) for upload in uploads))

    return asyncio.run(scenario())


def probabilities(recognition: Recognition) -> list[float]:
    assert recognition.probabilities is not None
    return list(recognition.probabilities.values())


def test_the_pipeline_answers_as_the_synchronous_whole(
    pipeline: Pipeline, recognizer: EmotionRecognizer, speech: bytes
) -> None:
    (result,) = recognize(pipeline, speech)
    whole = recognizer.recognize(speech)
    assert result.text == whole.text
    assert probabilities(result) == pytest.approx(probabilities(whole), abs=1e-5)


def test_recordings_that_arrive_together_share_batches_and_get_the_answers_they_get_alone(
    pipeline: Pipeline, batches: list[BatchFacts], speech: bytes
) -> None:
    (alone,) = recognize(pipeline, speech)
    batches.clear()
    together = recognize(pipeline, *[speech] * 8)
    assert max(batch.size for batch in batches if batch.stage == "asr") > 1
    for result in together:
        assert result.text == alone.text
        assert probabilities(result) == pytest.approx(probabilities(alone), abs=1e-4)


def test_the_timings_add_up_to_the_total(pipeline: Pipeline, speech: bytes) -> None:
    (result,) = recognize(pipeline, speech)
    timings: dict[str, Any] = dict(result.timings_ms)
    total = timings.pop("total")
    assert set(timings) == {"decode", "vad", "asr", "features", "fusion", "queue"}
    assert sum(timings.values()) == pytest.approx(total, abs=5.0)


def test_silence_goes_through_without_a_label(pipeline: Pipeline) -> None:
    (result,) = recognize(pipeline, wav(np.zeros(32_000, dtype=np.float32)))
    assert (result.status, result.emotion, result.segments) == ("no_speech", None, ())
    assert result.timings_ms["asr"] == 0.0


def test_the_limits_of_the_settings_hold(recognizer: EmotionRecognizer, long_speech: bytes, speech: bytes) -> None:
    settings = Settings(max_utterances=1, max_clip_seconds=60, max_channels=1)
    decoder = Decoder.from_settings(settings)
    pipeline = Pipeline(recognizer, decoder=decoder, settings=settings, threads=1)
    stereo = np.stack([samples_of("first_in_line.wav")[:16_000], samples_of("not_in_service.wav")[:16_000]], axis=1)
    try:
        with pytest.raises(TooManyUtterances):
            recognize(pipeline, long_speech)
        with pytest.raises(TooManyChannels):
            recognize(pipeline, wav(stereo))
        with pytest.raises(AudioTooLong):
            recognize(pipeline, wav(np.zeros(61 * 16_000, dtype=np.float32)))
        with pytest.raises(CorruptAudio):
            recognize(pipeline, b"")
    finally:
        pipeline.close()
        decoder.close()


def test_a_request_that_is_out_of_time_costs_no_recognition(
    pipeline: Pipeline, batches: list[BatchFacts], speech: bytes
) -> None:
    batches.clear()
    with pytest.raises(DeadlineExceeded):
        asyncio.run(pipeline.recognize(speech, budget=Budget(0.0)))
    assert batches == []
