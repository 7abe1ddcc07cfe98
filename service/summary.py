"""A conversation in figures: who talks how much, how each side feels and changes, who interrupts whom.

Pure functions over segments, so that a recording, a job and a call that still goes on are summed up alike.
"""

from collections.abc import Sequence
from itertools import groupby
from typing import Final

from service.schemas import DECIMALS, CallSummary, Emotion, Moment, RoleSummary, Segment, Sentiment

_QUARTERS: Final = 4
_MOST_MOMENTS: Final = 3
_BEFORE_INTERRUPTION_MS: Final = 500
"""Who has spoken for less has hardly begun: both did, at the same time."""
_AFTER_INTERRUPTION_MS: Final = 200
"""Who speaks on for less had finished: voice activity is not more exact than that."""


def summary_of(
    segments: Sequence[Segment], *, duration_ms: int, roles: Sequence[str | None], judged: Sequence[bool]
) -> CallSummary | None:
    """Sum up a recording, or as much of it as there is; None where nobody speaks.

    roles, judged: of every channel in order: who speaks there, and whether their emotion may be inferred.
    """
    spoken = sorted((one for one in segments if one.status != "no_speech"), key=lambda one: (one.start_ms, one.channel))
    if not spoken:
        return None
    by_channel = [[one for one in spoken if one.channel == channel] for channel in range(len(roles))]
    talk_ms = [sum(one.end_ms - one.start_ms for one in own) for own in by_channel]
    speech_ms, overlap_ms = _speech_and_overlap_ms(spoken)
    return CallSummary(
        duration_ms=duration_ms,
        speech_ms=speech_ms,
        silence_ms=max(0, duration_ms - speech_ms),
        overlap_ms=overlap_ms,
        roles=[
            RoleSummary(
                channel=channel,
                role=roles[channel],
                judged=judged[channel],
                utterances=len(own),
                talk_ms=talk_ms[channel],
                talk_share=round(talk_ms[channel] / max(1, sum(talk_ms)), DECIMALS),
                emotions=_emotions(own),
                sentiment=_sentiment(own),
                sentiment_by_quarter=(by_quarter := _sentiment_by_quarter(own, duration_ms)),
                shift=_shift(by_quarter),
                strongest=_strongest(own),
                interruptions=_interruptions(own, [one for one in spoken if one.channel != channel]),
                longest_turn_ms=_longest_turn_ms(spoken, channel),
            )
            for channel, own in enumerate(by_channel)
        ],
    )


def _speech_and_overlap_ms(spoken: Sequence[Segment]) -> tuple[int, int]:
    """Return in which time at least one speaks, and in which at least two do."""
    changes = sorted([(one.start_ms, 1) for one in spoken] + [(one.end_ms, -1) for one in spoken])
    at_least = [0, 0, 0]
    num_speaking, since = 0, 0
    for moment, change in changes:
        at_least[min(2, num_speaking)] += moment - since
        num_speaking, since = num_speaking + change, moment
    return at_least[1] + at_least[2], at_least[2]


def _emotions(own: Sequence[Segment]) -> dict[Emotion, float] | None:
    weighted = [(one.end_ms - one.start_ms, one.probabilities) for one in own if one.probabilities is not None]
    talked = sum(length for length, _ in weighted)
    if not talked:
        return None
    labels = weighted[0][1]
    return {
        label: round(sum(length * probabilities[label] for length, probabilities in weighted) / talked, DECIMALS)
        for label in labels
    }


def _sentiment(own: Sequence[Segment]) -> Sentiment | None:
    emotions = _emotions(own)
    if emotions is None:
        return None
    return Sentiment.of({str(label): share for label, share in emotions.items()})


def _sentiment_by_quarter(own: Sequence[Segment], duration_ms: int) -> list[float | None] | None:
    scored = [(one.start_ms, one.end_ms, one.sentiment.score) for one in own if one.sentiment is not None]
    if not scored:
        return None
    scores: list[float | None] = []
    for quarter in range(_QUARTERS):
        begin, end = quarter * duration_ms / _QUARTERS, (quarter + 1) * duration_ms / _QUARTERS
        weighted = [
            (min(to, end) - max(start, begin), score) for start, to, score in scored if start < end and to > begin
        ]
        talked = sum(length for length, _ in weighted)
        mean = sum(length * score for length, score in weighted) / talked if talked else None
        scores.append(None if mean is None else round(mean, DECIMALS))
    return scores


def _shift(by_quarter: Sequence[float | None] | None) -> float | None:
    heard = [score for score in by_quarter or () if score is not None]
    return round(heard[-1] - heard[0], DECIMALS) if len(heard) > 1 else None


def _strongest(own: Sequence[Segment]) -> list[Moment]:
    moments = [
        Moment(
            segment_id=one.id,
            start_ms=one.start_ms,
            end_ms=one.end_ms,
            emotion=one.emotion,
            confidence=one.confidence,
        )
        for one in own
        if one.emotion is not None and one.confidence is not None and one.emotion != "neutral"
    ]
    return sorted(moments, key=lambda moment: (-moment.confidence, moment.start_ms))[:_MOST_MOMENTS]


def _interruptions(own: Sequence[Segment], others: Sequence[Segment]) -> list[int]:
    return [
        one.start_ms
        for one in own
        if any(
            other.start_ms + _BEFORE_INTERRUPTION_MS < one.start_ms < other.end_ms - _AFTER_INTERRUPTION_MS
            for other in others
        )
    ]


def _longest_turn_ms(spoken: Sequence[Segment], channel: int) -> int:
    turns = (
        sum(one.end_ms - one.start_ms for one in turn)
        for speaker, turn in groupby(spoken, key=lambda one: one.channel)
        if speaker == channel
    )
    return max(turns, default=0)
