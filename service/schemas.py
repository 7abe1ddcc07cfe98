"""The answer as JSON; fields are only ever added within a schema version."""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from model.labels import sentiment

SCHEMA_VERSION: Final = "1"
DECIMALS: Final = 6
"""Six rounded probabilities still add up to 1 within 3e-4."""

Emotion = Literal["angry", "fear", "happy", "neutral", "sad", "surprise"]
Share = Annotated[float, Field(ge=0, le=1)]
Milliseconds = Annotated[int, Field(ge=0)]
TranscriptState = Literal["ok", "no_speech", "low_confidence"]

SentimentScore = Annotated[float, Field(ge=-1, le=1)]
"""Expected valence, from -1 (negative) to 1 (positive)."""


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
    score: SentimentScore
    """Expected valence, from -1 (negative) to 1 (positive)."""

    @classmethod
    def of(cls, probabilities: Mapping[str, float]) -> Self:
        """Fold probabilities; sums of rounded ones may exceed one by a millionth."""
        label, score = sentiment(probabilities)
        return cls.model_validate({"label": label, "score": round(min(1.0, max(-1.0, score)), DECIMALS)})


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
    """When somebody begins to speak."""
    end_ms: Milliseconds
    channel: int
    """Counted from zero."""
    role: str | None
    """Who speaks on this channel, where the service was told and the recording has several."""
    text: str | None
    status: TranscriptState
    judged: bool
    """False where the emotion of this role must not be inferred: it was written down for the timeline, no more."""
    emotion: Emotion | None
    """Null where the recogniser heard no speech, or was not to judge it."""
    confidence: Share | None
    probabilities: dict[Emotion, Share] | None
    sentiment: Sentiment | None


class Moment(_Part):
    """A segment that stands out."""

    segment_id: str
    start_ms: Milliseconds
    end_ms: Milliseconds
    emotion: Emotion
    confidence: Share


class RoleSummary(_Part):
    """One side of a call. What says how somebody feels is null, or empty, where nothing was judged."""

    channel: int
    role: str | None
    judged: bool
    utterances: int
    talk_ms: Milliseconds
    talk_share: Share
    """Of all that is talked, by everybody."""
    emotions: dict[Emotion, Share] | None
    """Mean probabilities, weighted by the time talked; they add up to 1."""
    sentiment: Sentiment | None
    """Of these."""
    sentiment_by_quarter: Annotated[list[SentimentScore | None], Field(min_length=4, max_length=4)] | None
    """Score in each quarter of the recording; null in those in which this side says nothing."""
    shift: Annotated[float, Field(ge=-2, le=2)] | None
    """Score of the last quarter with speech less that of the first; null where only one has any."""
    strongest: Annotated[list[Moment], Field(max_length=3)]
    """The surest segments that are not neutral, the surest first."""
    interruptions: list[Milliseconds]
    """When this side begins while another has been speaking for more than half a second and goes on."""
    longest_turn_ms: Milliseconds
    """Longest time talked before another side begins."""


class CallSummary(_Part):
    """A recording as a conversation, on one timeline."""

    duration_ms: Milliseconds
    speech_ms: Milliseconds
    """In which anybody speaks."""
    silence_ms: Milliseconds
    """In which nobody does."""
    overlap_ms: Milliseconds
    """In which two or more do."""
    roles: list[RoleSummary]
    """One a channel, in order."""


class Alert(_Part):
    """A rule has found what it looks for."""

    id: str
    """Names the alert within its recording: its rule and the utterance that completed it."""
    rule: str
    severity: Literal["info", "warning", "critical"]
    role: str | None
    channel: int
    at_ms: Milliseconds
    """End of the utterance that completed it."""
    segment_ids: list[str]
    """The utterances that count, in order."""
    message: str


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
    """The most probable emotion, weighted by the length of speech; null where nobody speaks that may be judged."""
    confidence: Share | None
    """Its calibrated probability."""
    probabilities: dict[Emotion, Share] | None
    """Of every label; they add up to 1."""
    sentiment: Sentiment | None
    transcript: TranscriptAnswer
    audio: AudioAnswer
    segments: list[Segment]
    summary: CallSummary | None
    """Each side, and how they take turns; null where nobody speaks."""
    alerts: list[Alert]
    """What the service's rules have found, in order of time; empty where it has none."""
    warnings: list[str]
    """Codes such as clipped, truncated, identical_channels, no_speech, text_not_trusted, other_language, uncertain,
    role_unknown (not judged, because it might be a role that must not be)."""
    timings_ms: Timings


def predict_schema() -> dict[str, Any]:
    """Return the JSON Schema of the answer, as kept in docs/schema/predict-v1.json."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **PredictAnswer.model_json_schema(mode="serialization"),
    }
