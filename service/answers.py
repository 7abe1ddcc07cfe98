"""From a recognition to the answer."""

from collections.abc import Mapping, Sequence
from typing import cast

from model.bundle import BundleFacts
from model.recognizer import JudgedUtterance, Recognition
from service.alerts import AlertRule, alerts_of
from service.roles import Roles
from service.schemas import (
    DECIMALS,
    SCHEMA_VERSION,
    AudioAnswer,
    Emotion,
    ModelName,
    PredictAnswer,
    Segment,
    Sentiment,
    Timings,
    TranscriptAnswer,
)
from service.summary import summary_of


def answer_of(
    recognition: Recognition,
    *,
    request_id: str,
    facts: BundleFacts,
    roles: Roles = Roles(),
    rules: Sequence[AlertRule] = (),
    redact_transcript: bool = False,
) -> PredictAnswer:
    """Turn a recognition into the answer. rules: that raise alerts."""
    of_channels = roles.of_channels(len(recognition.recording.samples))
    probabilities = _rounded(recognition.probabilities)
    segments = [
        segment_of(
            one, labels=facts.labels, role=of_channels[one.utterance.channel], redact_transcript=redact_transcript
        )
        for one in recognition.segments
    ]
    return PredictAnswer(
        schema_version=SCHEMA_VERSION,
        request_id=request_id,
        model=ModelName(name=facts.name, version=facts.version, asr=facts.features.speech.asset),
        emotion=_emotion(probabilities),
        confidence=_round(recognition.confidence),
        probabilities=probabilities,
        sentiment=Sentiment.of(recognition.probabilities) if recognition.probabilities is not None else None,
        transcript=_transcript(recognition, redact_transcript=redact_transcript),
        audio=_audio(recognition),
        segments=segments,
        summary=summary_of(
            segments,
            duration_ms=recognition.recording.duration_ms,
            roles=of_channels,
            judged=[roles.may_judge(role) for role in of_channels],
        ),
        alerts=alerts_of(rules, segments),
        warnings=[*recognition.warnings, *_unknown_roles(segments)],
        timings_ms=Timings.of(recognition.timings_ms),
    )


def segment_of(
    one: JudgedUtterance, *, labels: Sequence[str], role: str | None, redact_transcript: bool = False
) -> Segment:
    """Turn one utterance into its segment. labels: of its probabilities, in order."""
    utterance = one.utterance
    named = None
    if one.probabilities is not None:
        named = dict(zip(labels, one.probabilities.tolist(), strict=True))
    probabilities = _rounded(named)
    emotion = _emotion(probabilities)
    return Segment(
        id=utterance.id,
        start_ms=utterance.start_ms,
        end_ms=utterance.end_ms,
        channel=utterance.channel,
        role=role,
        text=None if redact_transcript else one.transcript.text,
        status=one.transcript.status,
        judged=one.judged,
        emotion=emotion,
        confidence=probabilities[emotion] if probabilities and emotion else None,
        probabilities=probabilities,
        sentiment=Sentiment.of(named) if named is not None else None,
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


def _unknown_roles(segments: Sequence[Segment]) -> list[str]:
    return ["role_unknown"] if any(not one.judged and one.role is None for one in segments) else []


def _rounded(probabilities: Mapping[str, float] | None) -> dict[Emotion, float] | None:
    if probabilities is None:
        return None
    # What a bundle may be labelled with is checked by pydantic, where the answer is built.
    return {cast(Emotion, label): round(share, DECIMALS) for label, share in probabilities.items()}


def _emotion(probabilities: dict[Emotion, float] | None) -> Emotion | None:
    if probabilities is None:
        return None
    emotion: Emotion = max(probabilities, key=probabilities.__getitem__)
    return emotion


def _round(value: float | None) -> float | None:
    return None if value is None else round(value, DECIMALS)
