"""What the server sends over a stream, as JSON; ``seq`` rises from message to message of a session."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from service.schemas import Alert, CallSummary, Emotion, Milliseconds, ModelName, Segment, SentimentScore, Share


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)


class Message(_Part):
    """Any of them."""

    seq: Annotated[int, Field(ge=0)] = 0


class SessionMessage(Message):
    """The first: which call this is, and from where on its sound is wanted.

    Its ``seq`` is that of the last message before, as far as the client has said, and 0 in a call that begins.
    """

    type: Literal["session"] = "session"
    session_id: str
    received_ms: Milliseconds
    """What was received, and is kept; send what follows."""
    resume_seconds: float
    """How long the call waits for its client after a broken connection."""
    model: ModelName


class PartialMessage(Message):
    """Somebody speaks; sent again as the utterance grows, and replaced by its segment."""

    type: Literal["partial"] = "partial"
    segment_id: str
    channel: int
    role: str | None
    start_ms: Milliseconds
    end_ms: Milliseconds
    text: str | None
    """Null until a pause was long enough to listen."""


class SpeakerState(_Part):
    """What has been heard of the speaker of a channel so far."""

    utterances: int
    emotions: dict[Emotion, Share] | None
    """Mean probabilities, weighted by the time talked; null before anything was judged."""
    sentiment: SentimentScore | None


class SegmentMessage(Message):
    """An utterance has ended and is judged; final."""

    type: Literal["segment"] = "segment"
    segment: Segment
    speaker: SpeakerState


class AlertMessage(Message):
    """An alert; follows the segment that raised it."""

    type: Literal["alert"] = "alert"
    alert: Alert


class AckMessage(Message):
    """How much has been received and is kept: a client that must lose nothing keeps what is beyond."""

    type: Literal["ack"] = "ack"
    received_ms: Milliseconds


class SummaryMessage(Message):
    """The last, behind everything else, once the client has said that the call is over."""

    type: Literal["summary"] = "summary"
    summary: CallSummary | None
    segments: int


class LiveRole(_Part):
    """One side of a call on the board: how it sounds now, and so far."""

    channel: int
    role: str | None
    judged: bool
    """False where the emotion of this role must not be inferred."""
    emotion: Emotion | None
    """Of what was said last."""
    confidence: Share | None
    sentiment: SentimentScore | None
    """Over the call so far."""
    talk_ms: Milliseconds


class BoardCall(_Part):
    """A call on the live board."""

    session_id: str
    started_at: str
    state: Literal["live", "waiting", "ended"]
    """waiting: the connection broke, and the client may come back."""
    duration_ms: Milliseconds
    roles: list[LiveRole]
    alerts: list[Alert]


class Board(_Part):
    """Every live call of this process, the newest first."""

    calls: list[BoardCall]
