"""The stages joined, with the real recogniser."""

import asyncio
import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import soundfile
from service_fixtures import samples_of, wait_until, wav

from model.errors import AudioTooLong, CorruptAudio, DeadlineExceeded, TooManyChannels, TooManyUtterances
from model.recognizer import EmotionRecognizer, Recognition
from model.speaker import Conversation
from service.batching import BatchFacts
from service.budget import Budget
from service.decoding import Decoder
from service.options import Options
from service.pipeline import Pipeline
from service.roles import Roles
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


def recognize(pipeline: Pipeline, *uploads: bytes, options: Options = Options()) -> list[Recognition]:
    async def scenario() -> list[Recognition]:
        return await asyncio.gather(*(pipeline.recognize(upload, Budget(30.0), options) for upload in uploads))

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


@pytest.fixture(scope="module")
def dialogue() -> bytes:
    """Two sides, two utterances each, of different voices."""
    left, right = (samples_of(name)[:16_000] for name in ("first_in_line.wav", "not_in_service.wav"))
    sides = np.zeros((2, 9 * 16_000), np.float32)
    for number, words in enumerate((left, right, left, right)):
        sides[number % 2, number * 32_000 : number * 32_000 + 16_000] = words
    return wav(sides.T)


def rows(recognition: Recognition) -> list[list[float] | None]:
    return [None if one.probabilities is None else one.probabilities.tolist() for one in recognition.segments]


def test_each_side_is_judged_beside_what_was_heard_of_it_before(
    pipeline: Pipeline, recognizer: EmotionRecognizer, dialogue: bytes
) -> None:
    (adapted,), (alone,) = recognize(pipeline, dialogue), recognize(pipeline, dialogue, options=Options(adapt=False))
    expected = recognizer.recognize(dialogue, conversation=Conversation())
    assert len(adapted.segments) == 4
    for found, whole in zip(rows(adapted), rows(expected), strict=True):
        assert found == pytest.approx(whole, abs=1e-4)
    assert rows(alone)[2] != pytest.approx(rows(adapted)[2], abs=1e-3)


def test_what_comes_later_changes_nothing_of_what_was_said(pipeline: Pipeline, dialogue: bytes) -> None:
    samples, rate = soundfile.read(io.BytesIO(dialogue), dtype="float32")
    (whole,), (half,) = recognize(pipeline, dialogue), recognize(pipeline, wav(samples[: round(5.5 * rate)]))
    assert len(half.segments) == 3
    for found, expected in zip(rows(half)[:2], rows(whole)[:2], strict=True):
        assert found == pytest.approx(expected, abs=1e-3)


def test_who_must_not_be_judged_is_written_down_and_nothing_else_is_computed(
    pipeline: Pipeline, batches: list[BatchFacts], dialogue: bytes
) -> None:
    (everybody,) = recognize(pipeline, dialogue)
    batches.clear()
    roles = Roles(names=("agent", "customer"), unjudged=frozenset({"agent"}))
    (found,) = recognize(pipeline, dialogue, options=Options(roles=roles))

    def items(stage: str) -> int:
        return sum(one.size for one in batches if one.stage == stage)

    wait_until(lambda: items("fusion"))  # told of after its items are answered
    assert {stage: items(stage) for stage in ("asr", "features", "fusion")} == {"asr": 4, "features": 2, "fusion": 2}
    assert items("lower_layers") in (0, 2)
    for one, other in zip(found.segments, everybody.segments, strict=True):
        assert one.transcript.text == other.transcript.text
        assert one.judged == (one.utterance.channel == 1)
        assert (one.probabilities is None) == (one.utterance.channel == 0)
    assert rows(found)[1] == pytest.approx(rows(everybody)[1], abs=1e-4)


def test_a_recording_that_may_hold_an_unjudged_role_is_not_judged_at_all(pipeline: Pipeline, speech: bytes) -> None:
    roles = Roles(names=("agent", "customer"), unjudged=frozenset({"agent"}))
    (found,) = recognize(pipeline, speech, options=Options(roles=roles))
    assert (found.emotion, found.probabilities, [one.judged for one in found.segments]) == (None, None, [False])
    assert found.text
