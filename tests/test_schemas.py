"""The answer's shape, and the contract that holds it."""

import json
from typing import get_args

import numpy as np
import pytest
from jsonschema import Draft202012Validator
from service_fixtures import ROOT, samples_of

from model.audio import Recording
from model.labels import EMOTIONS
from model.recognizer import EmotionRecognizer, JudgedUtterance
from model.segment import Utterance
from model.speech import Transcript
from service.answers import answer_of
from service.examples import PREDICT_ANSWER
from service.roles import Roles
from service.schemas import Emotion, PredictAnswer, predict_schema

pytest_plugins = ("service_fixtures",)

CONTRACT = ROOT / "docs" / "schema" / "predict-v1.json"
LAPS = {"decode": 0.4, "vad": 6.6, "asr": 99.5, "features": 9, "fusion": 3, "queue": 1, "total": 119.6}


def judged(*, channel: int = 0, probabilities: list[float] | None, status: str = "ok") -> JudgedUtterance:
    samples = samples_of("not_in_service.wav")[:16_000]
    transcript = Transcript(
        text="你好",
        language="zh",
        status=status,  # type: ignore[arg-type]
        avg_logprob=-0.31234,
        no_speech_probability=0.01,
        states=np.zeros((1, 512), dtype=np.float32),
        num_tokens=2,
        fell_back=False,
    )
    row = None if probabilities is None else np.array(probabilities, dtype=np.float32)
    utterance = Utterance(samples=samples, channel=channel, start_ms=0, end_ms=1000)
    return JudgedUtterance(utterance=utterance, transcript=transcript, probabilities=row)


def recorded(*, channels: int) -> Recording:
    samples = np.stack([samples_of("not_in_service.wav")] * channels)
    return Recording(samples=samples, source_sample_rate_hz=8000, source_channels=2, clipped=False)


def answer(
    recognizer: EmotionRecognizer,
    *segments: JudgedUtterance,
    channels: int = 1,
    roles: tuple[str, ...] = (),
    redact_transcript: bool = False,
) -> PredictAnswer:
    recognition = recognizer.summarise(recorded(channels=channels), segments, timings_ms=LAPS)
    return answer_of(
        recognition,
        request_id="one",
        facts=recognizer.bundle.facts,
        roles=Roles(names=roles),
        redact_transcript=redact_transcript,
    )


def test_the_published_schema_is_the_one_that_is_served() -> None:
    assert json.loads(CONTRACT.read_text(encoding="utf-8")) == predict_schema(), (
        "run: python -m service schema > docs/schema/predict-v1.json"
    )


def test_the_documented_example_keeps_the_contract() -> None:
    Draft202012Validator(json.loads(CONTRACT.read_text(encoding="utf-8"))).validate(PREDICT_ANSWER)
    assert PredictAnswer.model_validate(PREDICT_ANSWER).model_dump() == PREDICT_ANSWER


def test_the_emotions_of_the_answer_are_those_of_the_model() -> None:
    assert get_args(Emotion) == EMOTIONS


@pytest.mark.parametrize("seed", range(20))
def test_rounding_keeps_the_sum(recognizer: EmotionRecognizer, seed: int) -> None:
    probabilities = np.random.default_rng(seed).dirichlet(np.full(6, 0.3)).tolist()
    result = answer(recognizer, judged(probabilities=probabilities))
    assert result.probabilities is not None
    assert set(result.probabilities) == set(EMOTIONS)
    assert sum(result.probabilities.values()) == pytest.approx(1.0, abs=1e-3)
    assert result.emotion is not None
    assert result.confidence == result.probabilities[result.emotion] == max(result.probabilities.values())


def test_milliseconds_are_integers(recognizer: EmotionRecognizer) -> None:
    timings = answer(recognizer, judged(probabilities=[0.5, 0.1, 0.1, 0.1, 0.1, 0.1])).timings_ms
    assert timings.model_dump() == {
        "decode": 0,
        "vad": 7,
        "asr": 100,
        "features": 9,
        "fusion": 3,
        "queue": 1,
        "total": 120,
    }


def test_silence_is_given_no_label(recognizer: EmotionRecognizer) -> None:
    result = answer(recognizer, judged(probabilities=None, status="no_speech"))
    assert (result.emotion, result.confidence, result.probabilities, result.sentiment) == (None, None, None, None)
    assert result.transcript.status == "no_speech"
    assert result.segments[0].emotion is None


def test_anger_is_a_negative_sentiment(recognizer: EmotionRecognizer) -> None:
    result = answer(recognizer, judged(probabilities=[0.9, 0.02, 0.02, 0.02, 0.02, 0.02]))
    assert result.sentiment is not None
    assert result.sentiment.label == "negative"
    assert result.sentiment.score == pytest.approx(-0.92)


def test_texts_can_be_withheld(recognizer: EmotionRecognizer) -> None:
    segment = judged(probabilities=[0.5, 0.1, 0.1, 0.1, 0.1, 0.1])
    result = answer(recognizer, segment, redact_transcript=True)
    assert result.transcript.text is None
    assert result.segments[0].text is None
    assert "你好" not in result.model_dump_json()


def test_roles_go_to_channels_and_only_where_channels_differ(recognizer: EmotionRecognizer) -> None:
    row = [0.5, 0.1, 0.1, 0.1, 0.1, 0.1]
    segments = [judged(channel=channel, probabilities=row) for channel in (0, 1, 2)]
    roles = ("agent", "customer")
    result = answer(recognizer, *segments, channels=3, roles=roles)
    assert [segment.role for segment in result.segments] == ["agent", "customer", None]
    assert answer(recognizer, segments[0], channels=1, roles=roles).segments[0].role is None
