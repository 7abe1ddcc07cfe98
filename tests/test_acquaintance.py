from collections import Counter
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from drawn_features import drawn_example, drawn_features

from model.speaker import SpeakerStatistics
from training.acquaintance import MOST_CLIPS, Acquaintance
from training.feature_cache import Example

EMOTIONS = ("angry", "neutral")
GROUPS = [("casia", "anna", ""), ("casia", "anna", "telephone"), ("casia", "bernd", ""), ("nemo", "anna", "")]
PER_GROUP = 12
FRAMES = 20


def clip(index: int) -> Example:
    """A clip whose mel is one in the column of its index, and zero elsewhere: what is heard of it can be counted."""
    corpus, speaker, variant = GROUPS[index // PER_GROUP]
    mel = np.zeros((FRAMES, 80), dtype=np.float32)
    mel[:, index] = 1.0
    features = replace(drawn_features(np.random.default_rng(index), steps=3), mel=mel)
    key, emotion = f"{corpus}/{speaker}-{index % PER_GROUP}", EMOTIONS[index % 2]
    return replace(drawn_example(features, key=key, emotion=emotion, speaker=speaker, corpus=corpus), variant=variant)


CLIPS = [clip(index) for index in range(len(GROUPS) * PER_GROUP)]


def heard(statistics: SpeakerStatistics) -> npt.NDArray[np.float64]:
    """How often each clip was heard."""
    return statistics.mel.total / FRAMES


def draws(example: Example, count: int = 300, *, clips: list[Example] = CLIPS) -> list[npt.NDArray[np.float64]]:
    acquaintance, generator = Acquaintance(clips), np.random.default_rng(0)
    return [heard(acquaintance.drawn(example, generator)) for _ in range(count)]


@pytest.mark.parametrize("index", [3, 15, 27, 40])
def test_a_clip_is_heard_with_others_of_its_speaker_corpus_and_variant_only(index: int) -> None:
    group = index // PER_GROUP
    total = np.sum(draws(CLIPS[index]), axis=0)
    strangers = np.ones(80, dtype=bool)
    strangers[group * PER_GROUP : (group + 1) * PER_GROUP] = False
    assert not total[strangers].any()
    assert (total[~strangers][:PER_GROUP] > 0).all()


def test_the_clip_itself_is_always_heard() -> None:
    assert all(counts[3] >= 1 for counts in draws(CLIPS[3]))


def test_as_little_as_itself_is_heard_and_as_much_as_the_longest_call() -> None:
    sizes = Counter(round(float(counts.sum())) for counts in draws(CLIPS[3], 3000))
    assert (min(sizes), max(sizes)) == (1, MOST_CLIPS)
    # Much of a call is its beginning.
    assert sum(count for size, count in sizes.items() if size <= 6) > 1000


def test_some_calls_are_of_one_emotion_almost_throughout_and_others_are_mixed() -> None:
    mel_is_angry = np.arange(80) % 2 == 0
    shares = [counts[mel_is_angry].sum() / counts.sum() for counts in draws(CLIPS[3], 1000) if counts.sum() > 20]
    assert min(shares) < 0.1
    assert max(shares) > 0.9
    assert any(0.4 < share < 0.6 for share in shares)


def test_states_and_mel_are_of_the_same_clips() -> None:
    acquaintance, generator = Acquaintance(CLIPS), np.random.default_rng(0)
    for _ in range(20):
        statistics = acquaintance.drawn(CLIPS[0], generator)
        assert statistics.mel.count * 3 == statistics.states.count * FRAMES


def test_two_who_have_no_name_are_strangers() -> None:
    nobody = [replace(one, clip=replace(one.clip, speaker=None)) for one in CLIPS]
    total = np.sum(draws(nobody[3], clips=nobody), axis=0)
    assert np.flatnonzero(total).tolist() == [3]


def test_the_same_generator_draws_the_same() -> None:
    for one, again in zip(draws(CLIPS[5], 20), draws(CLIPS[5], 20), strict=True):
        np.testing.assert_array_equal(one, again)


def test_clips_without_sound_are_passed_over() -> None:
    text = drawn_example(drawn_features(np.random.default_rng(0), frames=0), key="text")
    assert draws(CLIPS[3], 1, clips=[*CLIPS, text])[0][3] >= 1
