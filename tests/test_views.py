from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from drawn_features import drawn_example, drawn_features

from model.labels import EMOTIONS
from model.speaker import SpeakerStatistics
from training.dataset import label_of
from training.feature_cache import Example
from training.views import CLASH, PAIR, PAIR_TEXT, LeftOut, calls, num_views, shuffled_audio, views, with_texts

SPEAKERS = ("anna", "bernd")


def clip(number: int, *, speaker: str, emotion: str, words: int = 2) -> Example:
    features = drawn_features(np.random.default_rng(number), frames=10 + number, steps=2 + number, words=words)
    return drawn_example(features, key=f"{speaker}/{number}", emotion=emotion, speaker=speaker)


CLIPS = [
    clip(number, speaker=speaker, emotion=EMOTIONS[number % 6], words=2 * (number % 2))
    for speaker in SPEAKERS
    for number in range(12)
]
LOUD = [one for one in CLIPS if label_of(one) != "neutral"]
TEXTS = [
    drawn_example(drawn_features(np.random.default_rng(100 + k), frames=0), key=f"text/{k}", emotion=EMOTIONS[k % 6])
    for k in range(18)
]
MANY_NEUTRAL = [
    clip(number, speaker=speaker, emotion="neutral" if number < 16 else EMOTIONS[number % 3])
    for speaker in SPEAKERS
    for number in range(40)
]


def text_of(example: Example) -> tuple[int, int, int]:
    return id(example.features.words), id(example.features.sentence), id(example.features.ngrams)


@pytest.mark.parametrize(
    "left_out",
    [
        LeftOut(clips=CLIPS),
        LeftOut(clips=LOUD),
        LeftOut(clips=CLIPS, conditions={"telephone": CLIPS, "two_seconds": LOUD}),
        LeftOut(clips=LOUD, texts={"posts": TEXTS, "more": TEXTS[:3]}),
    ],
    ids=["clips", "without neutral ones", "conditions", "texts"],
)
def test_there_are_as_many_views_as_announced_and_each_has_a_name(left_out: LeftOut) -> None:
    names = [name for name, _ in views(left_out, orders=3)]
    assert len(names) == num_views(left_out, orders=3)
    assert len(set(names)) == len(names)


def test_a_view_shows_what_it_is_named_after() -> None:
    conditions, texts = {"telephone": CLIPS[:5]}, {"posts": TEXTS}
    shown = dict(views(LeftOut(clips=CLIPS, conditions=conditions, texts=texts), orders=1))
    assert shown["both"] is CLIPS
    assert [one.clip.key for one in shown["sound"]] == [one.clip.key for one in CLIPS]
    assert all(one.features.sentence is None and one.features.mel is not None for one in shown["sound"])
    # A clip that was not transcribed has no text to be judged by.
    assert [one.clip.key for one in shown["text"]] == [one.clip.key for one in CLIPS if one.features.words is not None]
    assert all(one.features.mel is None for one in shown["text"])
    assert (shown["condition telephone"], shown["posts posts"]) == (CLIPS[:5], TEXTS)
    assert all(one.features.speaker is None for name in ("both", "sound", "shuffled") for one in shown[name])
    assert all(one.features.speaker is not None for name in ("call 0", "neutral call 0") for one in shown[name])
    assert [text_of(one) for one in shown[PAIR_TEXT]] == [text_of(one) for one in shown[PAIR]]
    assert all(one.features.mel is None for one in shown[PAIR_TEXT])


def test_clips_are_paired_with_the_first_texts_only() -> None:
    first, second = TEXTS[:9], TEXTS[9:]
    shown = dict(views(LeftOut(clips=CLIPS, texts={"first": first, "second": second}), orders=0))
    known = {text_of(one) for one in first}
    assert all(text_of(one) in known for name in (PAIR, CLASH) for one in shown[name])


def test_without_neutral_clips_no_call_is_mostly_neutral() -> None:
    assert {name for name, _ in views(LeftOut(clips=LOUD), orders=2) if "call" in name} == {"call 0", "call 1"}


def test_every_turn_of_a_call_knows_what_was_heard_of_its_speaker_up_to_its_end() -> None:
    heard = calls(CLIPS, order=0)
    for speaker in SPEAKERS:
        total: SpeakerStatistics | None = None
        for turn in (one for one in heard if one.clip.speaker == speaker):
            mel, states = turn.features.mel, turn.features.states
            assert mel is not None
            assert states is not None
            own = SpeakerStatistics.of(mel=mel, states=states)
            total = own if total is None else total + own
            known = turn.features.speaker
            assert known is not None
            assert (known.mel.count, known.states.count) == (total.mel.count, total.states.count)
            np.testing.assert_allclose(known.mel.total, total.mel.total)
            np.testing.assert_allclose(known.states.squares, total.states.squares)
        assert total is not None
        assert total.mel.count == sum(10 + number for number in range(12))


def test_a_call_has_every_clip_once_and_changes_nothing_else() -> None:
    known = {one.clip.key: one for one in CLIPS}
    heard = calls(CLIPS, order=1)
    assert Counter(one.clip.key for one in heard) == Counter(list(known))
    for one in heard:
        own = known[one.clip.key]
        assert (one.clip, text_of(one)) == (own.clip, text_of(own))
        assert one.features.mel is own.features.mel
        assert one.features.states is own.features.states


def test_orders_differ_and_each_is_the_same_every_time() -> None:
    orders = [[one.clip.key for one in calls(CLIPS, order=order)] for order in (0, 0, 1, 2)]
    assert orders[0] == orders[1]
    assert orders[0] != orders[2] != orders[3] != orders[0]


def test_who_has_no_name_is_a_stranger_in_every_call() -> None:
    nobody = [replace(one, clip=replace(one.clip, speaker=None)) for one in CLIPS]
    for one in calls(nobody, order=0):
        assert one.features.mel is not None
        assert one.features.speaker is not None
        assert one.features.speaker.mel.count == len(one.features.mel)


def test_a_neutral_call_keeps_all_neutral_clips_and_so_many_others_that_they_are_eighty_percent() -> None:
    for speaker in SPEAKERS:
        turns = [one for one in calls(MANY_NEUTRAL, order=0, neutral_share=0.8) if one.clip.speaker == speaker]
        assert Counter(label_of(one) == "neutral" for one in turns) == {True: 16, False: 4}
        assert len({one.clip.key for one in turns}) == 20


def test_other_orders_of_a_neutral_call_keep_other_clips() -> None:
    kept = [
        {one.clip.key for one in calls(MANY_NEUTRAL, order=order, neutral_share=0.8) if label_of(one) != "neutral"}
        for order in range(4)
    ]
    assert len(set().union(*kept)) > len(kept[0])


def test_a_clip_that_was_left_out_of_a_neutral_call_was_not_heard() -> None:
    turns = calls(MANY_NEUTRAL, order=0, neutral_share=0.8)
    last = [one for one in turns if one.clip.speaker == "bernd"][-1]
    assert last.features.speaker is not None
    frames = [0 if one.features.mel is None else len(one.features.mel) for one in turns if one.clip.speaker == "bernd"]
    assert last.features.speaker.mel.count == sum(frames)


def test_shuffled_audio_leaves_text_and_label_where_they_are() -> None:
    shuffled = shuffled_audio(CLIPS)
    for one, example in zip(shuffled, CLIPS, strict=True):
        assert one.clip == example.clip
        assert text_of(one) == text_of(example)
    sounds = [id(one.features.mel) for one in shuffled]
    assert sounds != [id(example.features.mel) for example in CLIPS]
    assert sorted(sounds) == sorted(id(example.features.mel) for example in CLIPS)
    states_of_mel = {id(example.features.mel): id(example.features.states) for example in CLIPS}
    assert all(id(one.features.states) == states_of_mel[id(one.features.mel)] for one in shuffled)


@pytest.mark.parametrize("agree", [True, False])
def test_texts_always_agree_or_never_do(agree: bool) -> None:
    emotion_of_text = {text_of(text): label_of(text) for text in TEXTS}
    paired = with_texts(CLIPS, TEXTS, agree=agree)
    assert [one.clip for one in paired] == [one.clip for one in CLIPS]
    for one, example in zip(paired, CLIPS, strict=True):
        assert (emotion_of_text[text_of(one)] == label_of(one)) is agree
        assert one.features.mel is example.features.mel
    assert len({text_of(one) for one in paired}) > 6


def test_disagreeing_texts_are_of_every_other_emotion_alike_however_many_there_are() -> None:
    uneven = [*TEXTS, *(one for one in TEXTS * 20 if label_of(one) == "happy")]
    angry: Any = [one for one in CLIPS if label_of(one) == "angry"] * 100
    emotion_of_text = {text_of(text): label_of(text) for text in TEXTS}
    counts = Counter(emotion_of_text[text_of(one)] for one in with_texts(angry, uneven, agree=False))
    assert set(counts) == set(EMOTIONS) - {"angry"}
    assert max(counts.values()) < 2 * min(counts.values())


def test_a_clip_whose_emotion_no_text_has_is_not_paired() -> None:
    happy = [one for one in TEXTS if label_of(one) == "happy"]
    assert {label_of(one) for one in with_texts(CLIPS, happy, agree=True)} == {"happy"}
    assert {label_of(one) for one in with_texts(CLIPS, happy, agree=False)} == set(EMOTIONS) - {"happy"}
