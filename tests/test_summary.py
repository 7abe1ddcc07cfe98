"""A conversation in figures, against small ones counted by hand."""

from typing import Any

import pytest

from service.schemas import CallSummary, Emotion, Segment, Sentiment
from service.summary import summary_of

ROLES = ("agent", "customer")


def segment(
    channel: int, start_ms: int, end_ms: int, emotion: Emotion | None = None, share: float = 1.0, **changes: Any
) -> Segment:
    """A segment whose emotion has this share, neutral the rest."""
    probabilities: dict[Emotion, float] | None = None
    if emotion is not None:
        probabilities = {"angry": 0.0, "fear": 0.0, "happy": 0.0, "neutral": 1 - share, "sad": 0.0, "surprise": 0.0}
        probabilities[emotion] += share
    fields: dict[str, Any] = {
        "id": f"{channel}-{start_ms}",
        "start_ms": start_ms,
        "end_ms": end_ms,
        "channel": channel,
        "role": ROLES[channel],
        "text": "好",
        "status": "ok",
        "judged": emotion is not None,
        "emotion": emotion,
        "confidence": None if probabilities is None else max(probabilities.values()),
        "probabilities": probabilities,
        "sentiment": None
        if probabilities is None
        else Sentiment.of({str(label): share for label, share in probabilities.items()}),
    }
    return Segment(**fields | changes)


def summary(*segments: Segment, duration_ms: int = 8000, judged: tuple[bool, bool] = (True, True)) -> CallSummary:
    found = summary_of(segments, duration_ms=duration_ms, roles=ROLES, judged=judged)
    assert found is not None
    return found


def test_times_are_counted_on_one_timeline() -> None:
    found = summary(segment(0, 0, 3000, "neutral"), segment(1, 2000, 5000, "angry"), segment(0, 6000, 7000, "neutral"))
    assert (found.duration_ms, found.speech_ms, found.silence_ms, found.overlap_ms) == (8000, 6000, 2000, 1000)
    agent, customer = found.roles
    assert (agent.role, agent.channel, agent.utterances, agent.talk_ms) == ("agent", 0, 2, 4000)
    assert (customer.role, customer.channel, customer.utterances, customer.talk_ms) == ("customer", 1, 1, 3000)
    assert (agent.talk_share, customer.talk_share) == pytest.approx((4 / 7, 3 / 7), abs=1e-6)


def test_emotions_weigh_by_the_time_talked() -> None:
    customer = summary(segment(1, 0, 3000, "angry", 0.8), segment(1, 4000, 5000, "happy", 0.6)).roles[1]
    assert customer.emotions == pytest.approx(
        {"angry": 0.6, "fear": 0, "happy": 0.15, "neutral": 0.25, "sad": 0, "surprise": 0}
    )
    assert customer.sentiment is not None
    assert customer.sentiment.label == "negative"
    assert customer.sentiment.score == pytest.approx(-0.45)


def test_sentiment_goes_by_quarter_and_what_crosses_a_border_counts_in_both() -> None:
    # Quarters of 2 s: angry until 3 s, nothing in the third, happy in the fourth.
    customer = summary(segment(1, 0, 3000, "angry"), segment(1, 3500, 4000, "neutral"), segment(1, 7000, 8000, "happy"))
    quarters = customer.roles[1].sentiment_by_quarter
    assert quarters is not None
    assert quarters[:2] == [-1.0, pytest.approx(-1000 / 1500, abs=1e-6)]
    assert quarters[2:] == [None, 1.0]
    assert customer.roles[1].shift == 2.0


def test_who_speaks_in_one_quarter_alone_has_no_shift() -> None:
    assert summary(segment(1, 0, 1500, "angry")).roles[1].shift is None


def test_the_strongest_moments_are_the_surest_that_are_not_neutral() -> None:
    shares = (0.6, 0.9, 0.7, 0.8)
    angry = [segment(1, number * 1000, number * 1000 + 900, "angry", share) for number, share in enumerate(shares)]
    customer = summary(*angry, segment(1, 5000, 6000, "neutral"), segment(0, 6500, 7000, "neutral")).roles[1]
    assert [moment.segment_id for moment in customer.strongest] == ["1-1000", "1-3000", "1-2000"]
    assert (customer.strongest[0].emotion, customer.strongest[0].confidence) == ("angry", 0.9)


@pytest.mark.parametrize(
    ("begins_ms", "is_one"),
    [(1400, False), (1600, True), (2700, True), (2900, False), (3100, False)],
    ids=["both begin", "after half a second", "before the end", "at the end", "after the end"],
)
def test_who_begins_while_the_other_speaks_on_interrupts(begins_ms: int, is_one: bool) -> None:
    agent, customer = summary(segment(0, 1000, 3000, "neutral"), segment(1, begins_ms, 4000, "neutral")).roles
    assert customer.interruptions == ([begins_ms] if is_one else [])
    assert agent.interruptions == []


def test_a_turn_lasts_until_another_side_begins_and_pauses_do_not_count() -> None:
    turns = [segment(0, 0, 1000), segment(0, 4000, 5000), segment(1, 5500, 6000), segment(0, 6500, 7500)]
    agent, customer = summary(*turns).roles
    assert (agent.longest_turn_ms, customer.longest_turn_ms) == (2000, 500)


def test_who_is_not_judged_is_counted_and_says_nothing_of_feeling() -> None:
    agent = summary(segment(0, 0, 1000), segment(1, 2000, 3000, "sad"), judged=(False, True)).roles[0]
    assert (agent.judged, agent.utterances, agent.talk_ms) == (False, 1, 1000)
    feeling = [agent.emotions, agent.sentiment, agent.sentiment_by_quarter, agent.shift]
    assert feeling == [None] * 4
    assert agent.strongest == []


def test_what_the_recogniser_took_for_no_speech_is_silence() -> None:
    noise = segment(1, 4000, 8000, status="no_speech", judged=True)
    assert summary(segment(0, 0, 1000, "neutral"), noise).silence_ms == 7000
    assert summary_of([noise], duration_ms=8000, roles=ROLES, judged=(True, True)) is None


def test_a_side_that_is_silent_has_its_place() -> None:
    customer = summary(segment(0, 0, 1000, "neutral")).roles[1]
    assert (customer.utterances, customer.talk_ms, customer.talk_share, customer.longest_turn_ms) == (0, 0, 0, 0)
    assert customer.emotions is None
