import pytest

from model.labels import EMOTIONS, FOUR_EMOTIONS, VALENCE, sentiment


def certain(emotion: str) -> dict[str, float]:
    return {each: float(each == emotion) for each in EMOTIONS}


def test_there_are_six_emotions_in_alphabetical_order() -> None:
    assert len(EMOTIONS) == 6
    assert list(EMOTIONS) == sorted(EMOTIONS)


def test_the_four_emotions_are_among_the_six() -> None:
    assert set(FOUR_EMOTIONS) < set(EMOTIONS)


def test_every_emotion_has_a_valence() -> None:
    assert set(VALENCE) == set(EMOTIONS)


@pytest.mark.parametrize(
    ("emotion", "expected"),
    [
        ("angry", ("negative", -1.0)),
        ("fear", ("negative", -1.0)),
        ("sad", ("negative", -1.0)),
        ("happy", ("positive", 1.0)),
        ("neutral", ("neutral", 0.0)),
        ("surprise", ("neutral", 0.0)),
    ],
)
def test_certainty_gives_the_valence_of_the_emotion(emotion: str, expected: tuple[str, float]) -> None:
    assert sentiment(certain(emotion)) == expected


def test_sentiment_is_expected_valence_and_neutral_near_zero() -> None:
    assert sentiment({"happy": 0.5, "sad": 0.25, "neutral": 0.25}) == ("neutral", 0.25)
    assert sentiment({"happy": 0.75, "sad": 0.125, "neutral": 0.125}) == ("positive", 0.625)
    assert sentiment({"happy": 0.125, "sad": 0.25, "angry": 0.625}) == ("negative", -0.75)
