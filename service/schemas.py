"""The answer as JSON; fields are only ever added within a schema version."""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, Self, cast

from pydantic import BaseModel, ConfigDict, Field

from model.bundle import BundleFacts
from model.labels import sentiment
from model.recognizer import JudgedUtterance, Recognition

SCHEMA_VERSION: Final = "1"

Emotion = Literal["angry", "fear", "happy", "neutral", "sad", "surprise"]
Share = Annotated[float, Field(ge=0, le=1)]
Milliseconds = Annotated[int, Field(ge=0)]
TranscriptState = Literal["ok", "no_speech", "low_confidence"]

_DECIMALS: Final = 6
"""Six rounded probabilities still add up to 1 within 3e-4."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)


class ModelName(_Part):
    """What judged the recording."""

    name: str
    version: str
    asr: str
    """The speech recogniser, by its asset's name."""


class Sentiment(_Part):
    """The emotions folded into one axis."""

    label: Literal["negative", "neutral", "positive"]
    score: Annotated[float, Field(ge=-1, le=1)]
    """Expected valence, from -1 (negative) to 1 (positive)."""


class TranscriptAnswer(_Part):
    """What was said."""

    text: str | None
    """Null where the service is set to withhold texts."""
    language: str
    """Of most of what was said; text in another than the model's own does not count for the emotion."""
    status: TranscriptState
    """low_confidence: the text was not trusted and the emotion was judged by the sound alone."""
    avg_logprob: float | None
    no_speech_probability: float | None


class AudioAnswer(_Part):
    """The recording as it was received."""

    duration_ms: Milliseconds
    sample_rate_hz: int
    channels: int
    speech_ms: Milliseconds
    clipped: bool


class Segment(_Part):
    """One utterance of one channel."""

    id: str
    """Names the segment within its recording: its channel and where it begins, as in 0-1230."""
    start_ms: Milliseconds
    end_ms: Milliseconds
    channel: int
    """Counted from zero."""
    role: str | None
    """Who speaks on this channel, where the service was told and the recording has several."""
    text: str | None
    emotion: Emotion | None
    """Null where the recogniser heard no speech."""
    confidence: Share | None
    probabilities: dict[Emotion, Share] | None


class Timings(_Part):
    """Where the time went; the parts add up to the total."""

    decode: Milliseconds
    vad: Milliseconds
    asr: Milliseconds
    features: Milliseconds
    fusion: Milliseconds
    queue: Milliseconds
    """Waiting before any of the stages."""
    total: Milliseconds
    """From the last byte of the upload to the answer."""

    @classmethod
    def of(cls, timings_ms: Mapping[str, float]) -> Self:
        """Round to integer milliseconds."""
        return cls(**{stage: round(milliseconds) for stage, milliseconds in timings_ms.items()})


class PredictAnswer(_Part):
    """The emotion of a recording, with a calibrated probability; never a forced label on silence."""

    schema_version: Literal["1"]
    request_id: str
    model: ModelName
    emotion: Emotion | None
    """The most probable emotion, weighted by the length of speech; null where nobody speaks."""
    confidence: Share | None
    """Its calibrated probability."""
    probabilities: dict[Emotion, Share] | None
    """Of every label; they add up to 1."""
    sentiment: Sentiment | None
    transcript: TranscriptAnswer
    audio: AudioAnswer
    segments: list[Segment]
    warnings: list[str]
    """Codes such as clipped, truncated, identical_channels, no_speech, text_not_trusted, other_language, uncertain."""
    timings_ms: Timings


def predict_schema() -> dict[str, Any]:
    """Return the JSON Schema of the answer, as kept in docs/schema/predict-v1.json."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **PredictAnswer.model_json_schema(mode="serialization"),
    }


def answer_of(
    recognition: Recognition,
    *,
    request_id: str,
    facts: BundleFacts,
    roles: tuple[str, ...] = (),
    redact_transcript: bool = False,
) -> PredictAnswer:
    """Turn a recognition into the answer.

    roles: of the channels in order; given to segments only where the channels differ.
    """
    told_apart = roles if len(recognition.recording.samples) > 1 else ()
    probabilities = _rounded(recognition.probabilities)
    return PredictAnswer(
        schema_version=SCHEMA_VERSION,
        request_id=request_id,
        model=ModelName(name=facts.name, version=facts.version, asr=facts.features.speech.asset),
        emotion=_emotion(probabilities),
        confidence=_round(recognition.confidence),
        probabilities=probabilities,
        sentiment=_sentiment(recognition.probabilities),
        transcript=_transcript(recognition, redact_transcript=redact_transcript),
        audio=_audio(recognition),
        segments=[
            _segment(one, labels=facts.labels, roles=told_apart, redact_transcript=redact_transcript)
            for one in recognition.segments
        ],
        warnings=list(recognition.warnings),
        timings_ms=Timings.of(recognition.timings_ms),
    )


def _transcript(recognition: Recognition, *, redact_transcript: bool) -> TranscriptAnswer:
    return TranscriptAnswer(
        text=None if redact_transcript else recognition.text,
        language=recognition.language,
        status=recognition.status,
        avg_logprob=_round(recognition.avg_logprob),
        no_speech_probability=_round(recognition.no_speech_probability),
    )


def _audio(recognition: Recognition) -> AudioAnswer:
    recording = recognition.recording
    return AudioAnswer(
        duration_ms=recording.duration_ms,
        sample_rate_hz=recording.source_sample_rate_hz,
        channels=recording.source_channels,
        speech_ms=recognition.speech_ms,
        clipped=recording.clipped,
    )


def _segment(
    judged: JudgedUtterance, *, labels: tuple[str, ...], roles: tuple[str, ...], redact_transcript: bool
) -> Segment:
    utterance = judged.utterance
    probabilities = None
    if judged.probabilities is not None:
        probabilities = _rounded(dict(zip(labels, judged.probabilities.tolist(), strict=True)))
    emotion = _emotion(probabilities)
    return Segment(
        id=f"{utterance.channel}-{utterance.start_ms}",
        start_ms=utterance.start_ms,
        end_ms=utterance.end_ms,
        channel=utterance.channel,
        role=roles[utterance.channel] if utterance.channel < len(roles) else None,
        text=None if redact_transcript else judged.transcript.text,
        emotion=emotion,
        confidence=probabilities[emotion] if probabilities and emotion else None,
        probabilities=probabilities,
    )


def _sentiment(probabilities: Mapping[str, float] | None) -> Sentiment | None:
    if probabilities is None:
        return None
    label, score = sentiment(probabilities)
    return Sentiment.model_validate({"label": label, "score": round(score, _DECIMALS)})


def _rounded(probabilities: Mapping[str, float] | None) -> dict[Emotion, float] | None:
    if probabilities is None:
        return None
    # What a bundle may be labelled with is checked by pydantic, where the answer is built.
    return {cast(Emotion, label): round(share, _DECIMALS) for label, share in probabilities.items()}


def _emotion(probabilities: dict[Emotion, float] | None) -> Emotion | None:
    if probabilities is None:
        return None
    emotion: Emotion = max(probabilities, key=probabilities.__getitem__)
    return emotion


def _round(value: float | None) -> float | None:
    return None if value is None else round(value, _DECIMALS)
