from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from drawn_features import FEATURES, drawn_example, drawn_features

from model.labels import EMOTIONS
from training.dataset import Batch, TrainingSet, label_of
from training.experiment import Experiment
from training.feature_cache import Example

EXPERIMENT = Experiment(
    corpora={"casia": 2, "nemo": 0.5}, batch_size=8, texts_per_clip=0.25, time_mask_share=0.0, seed=3
)


def marked(index: int, *, corpus: str = "casia", sound: bool = True, text: bool = True) -> Example:
    """An example whose mel (or sentence, of a text) is ``index`` all over."""
    features = drawn_features(np.random.default_rng(index), frames=20 + index if sound else 0, words=3 if text else 0)
    if features.mel is not None:
        features = replace(features, mel=np.full_like(features.mel, index))
    if features.sentence is not None:
        features = replace(features, sentence=np.full_like(features.sentence, index))
    return drawn_example(features, key=f"{corpus}/{index}", emotion=EMOTIONS[index % 6], corpus=corpus)


CLIPS = [*(marked(index) for index in range(24)), *(marked(index, corpus="nemo") for index in range(24, 36))]
TEXTS = [marked(index, sound=False) for index in range(100, 124)]


def training_set(clips: list[Example] = CLIPS, texts: list[Example] = TEXTS, **changes: Any) -> TrainingSet:
    return TrainingSet(clips, texts, experiment=replace(EXPERIMENT, **changes), features=FEATURES)


def rows(batches: list[Batch]) -> list[tuple[int, int, list[float]]]:
    """(mark of the sound or -1, mark of the text or -1, label) of every row."""
    return [
        (
            int(batch.inputs["mel"][row, 0, 0]) if batch.inputs["modality_mask"][row, 0] else -1,
            int(batch.inputs["sentence"][row, 0]) if batch.inputs["modality_mask"][row, 2] else -1,
            [float(batch.labels[row])],
        )
        for batch in batches
        for row in range(len(batch.labels))
    ]


def test_an_epoch_follows_from_seed_and_number() -> None:
    first, again = (list(training_set(time_mask_share=0.3).batches(1)) for _ in range(2))
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one.labels, other.labels)
        for name, array in one.inputs.items():
            np.testing.assert_array_equal(array, other.inputs[name])


def test_another_epoch_or_another_seed_is_another_order() -> None:
    orders = [rows(list(training_set(seed=seed).batches(epoch))) for seed, epoch in ((3, 1), (3, 2), (4, 1))]
    assert orders[0] != orders[1] != orders[2] != orders[0]


def test_each_corpus_is_shown_as_often_as_the_experiment_says() -> None:
    shown = Counter(sound for sound, _, _ in rows(list(training_set().batches(1))) if sound >= 0)
    assert all(shown[index] == 2 for index in range(24))
    assert sum(shown[index] for index in range(24, 36)) == 6
    assert max(shown[index] for index in range(24, 36)) == 1


def test_texts_are_drawn_in_proportion_to_the_clips_and_none_twice() -> None:
    alone = Counter(text for sound, text, _ in rows(list(training_set().batches(1))) if sound < 0)
    assert sum(alone.values()) == round(54 * 0.25)
    assert max(alone.values()) == 1


def test_there_are_as_many_batches_as_announced() -> None:
    for changes in ({}, {"batch_size": 5}, {"texts_per_clip": 0.0}, {"corpora": {"casia": 1, "nemo": 0}}):
        some = training_set(**changes)
        assert len(list(some.batches(1))) == some.steps_per_epoch()


def test_no_batch_is_larger_than_asked_for() -> None:
    assert max(len(batch.labels) for batch in training_set().batches(1)) == EXPERIMENT.batch_size


def test_labels_stay_with_their_sound_and_their_text() -> None:
    for sound, text, (label,) in rows(list(training_set().batches(1))):
        for mark in (sound, text):
            assert mark < 0 or mark % 6 == label


def test_a_clip_keeps_its_own_text_where_the_experiment_says_so() -> None:
    batches = list(training_set(own_text_probability=1.0, paired_text_probability=0.0).batches(1))
    assert all(sound == text for sound, text, _ in rows(batches) if sound >= 0)


def test_without_any_text_probability_clips_are_sound_alone() -> None:
    batches = list(training_set(own_text_probability=0.0, paired_text_probability=0.0).batches(1))
    assert all(text < 0 for sound, text, _ in rows(batches) if sound >= 0)


def test_a_paired_text_is_of_the_same_label_and_of_the_text_corpora() -> None:
    batches = list(training_set(own_text_probability=0.0, paired_text_probability=1.0).batches(1))
    heard = [(sound, text) for sound, text, _ in rows(batches) if sound >= 0]
    assert all(text >= 100 and text % 6 == sound % 6 for sound, text in heard)


def test_where_no_text_has_the_label_a_clip_is_sound_alone() -> None:
    happy = [text for text in TEXTS if label_of(text) == "happy"]
    batches = list(training_set(texts=happy, own_text_probability=0.0, paired_text_probability=1.0).batches(1))
    for sound, text, _ in rows(batches):
        assert sound < 0 or (text >= 0) == (sound % 6 == EMOTIONS.index("happy"))


def test_masking_blanks_one_stretch_of_at_most_its_share_with_the_mean() -> None:
    ramp = np.arange(40, dtype=np.float32)[:, None].repeat(80, axis=1)
    one = drawn_features(np.random.default_rng(0), frames=40)
    clip = drawn_example(replace(one, mel=ramp), key="ramp")
    some = training_set([clip], [], corpora={"casia": 16}, time_mask_share=0.25, batch_size=16)
    (batch,) = some.batches(1)
    sizes = set()
    for mel in batch.inputs["mel"]:
        blanked = np.flatnonzero(mel[:, 0] != ramp[:, 0])
        sizes.add(len(blanked))
        assert len(blanked) <= 10
        assert (mel[blanked] == ramp.mean()).all()
        assert len(blanked) == 0 or np.ptp(blanked) == len(blanked) - 1
    assert len(sizes) > 3
    np.testing.assert_array_equal(ramp[:, 0], np.arange(40))


def with_copies(clips: list[Example], *variants: str) -> list[Example]:
    """The clips, and for each variant a copy of each whose mark is higher by a hundred times its number."""
    copies = [
        replace(
            one,
            features=replace(one.features, mel=np.full_like(one.features.mel, mark_of(one) + 100 * number)),
            variant=variant,
        )
        for number, variant in enumerate(variants, start=1)
        for one in clips
    ]
    return [*clips, *copies]


def mark_of(example: Example) -> int:
    assert example.features.mel is not None
    return int(example.features.mel[0, 0])


def shown(some: TrainingSet, *, epochs: int = 20) -> list[int]:
    """The marks of all sounds of some epochs."""
    return [sound for epoch in range(epochs) for sound, _, _ in rows(list(some.batches(epoch))) if sound >= 0]


def test_without_a_probability_every_copy_is_shown_beside_its_clip() -> None:
    some = training_set(with_copies(CLIPS[:6], "noise"), [], corpora={"casia": 1})
    assert Counter(shown(some, epochs=1)) == Counter([*range(6), *range(100, 106)])


@pytest.mark.parametrize(("probability", "highest"), [(0.0, 0.0), (0.5, 0.6), (1.0, 1.0)])
def test_a_copy_is_shown_instead_of_its_clip_as_often_as_asked(probability: float, highest: float) -> None:
    clips = with_copies(CLIPS[:12], "telephone", "speed")
    some = training_set(clips, [], corpora={"casia": 1}, copy_probability=probability)
    marks = shown(some)
    assert len(marks) == 20 * 12 == 20 * len(shown(some, epochs=1))
    assert Counter(mark % 100 for mark in marks) == dict.fromkeys(range(12), 20)
    share = np.mean([mark >= 100 for mark in marks])
    assert highest - 0.2 <= share <= highest
    if probability:
        assert {mark // 100 for mark in marks} >= {1, 2}


def test_an_operation_that_was_drawn_twice_gives_two_copies() -> None:
    clips = with_copies(CLIPS[:6], "telephone", "telephone-1", "speed")
    marks = shown(training_set(clips, [], corpora={"casia": 1}, copy_probability=1.0))
    assert {mark // 100 for mark in marks if mark % 100 == 3} == {1, 2, 3}


def test_a_copy_is_of_the_same_utterance_where_a_clip_has_several() -> None:
    """The features of a copy come with its own label and text: these must be those of what it stands for."""
    several = [
        replace(one, clip=replace(one.clip, key="casia/0", emotion="angry"), seconds=1.0 + mark_of(one))
        for one in CLIPS[:3]
    ]
    both = TrainingSet(
        with_copies(several, "telephone", "telephone-1"),
        [],
        experiment=replace(EXPERIMENT, corpora={"casia": 1}, copy_probability=0.7),
        features=FEATURES,
    )
    for epoch in range(20):
        # Each of the three is shown once, as itself or as a copy of its own; no two copies of one.
        marks = [sound for sound, _, _ in rows(list(both.batches(epoch)))]
        assert sorted(mark % 100 for mark in marks) == [0, 1, 2]


def test_a_clip_that_has_no_copy_is_shown_itself() -> None:
    clips = [*with_copies(CLIPS[:3], "telephone"), *CLIPS[3:6]]
    marks = shown(training_set(clips, [], corpora={"casia": 1}, copy_probability=1.0), epochs=1)
    assert sorted(marks) == [3, 4, 5, 100, 101, 102]


def test_clips_of_two_corpora_with_the_same_key_keep_their_own_copies() -> None:
    nemo = [replace(one, clip=replace(one.clip, key=f"casia/{mark_of(one) - 24}")) for one in CLIPS[24:30]]
    both = [*with_copies(CLIPS[:6], "noise"), *with_copies(nemo, "noise")]
    some = training_set(both, [], corpora={"casia": 1, "nemo": 1}, copy_probability=1.0)
    assert sorted(shown(some, epochs=1)) == sorted([*range(100, 106), *range(124, 130)])


def of_speakers(*, variant: str = "") -> list[Example]:
    """Six clips each of anna and bernd in two corpora; the mel of each is a number of its speaker all over."""
    found = []
    for number, (corpus, speaker) in enumerate([("casia", "anna"), ("casia", "bernd"), ("nemo", "anna")]):
        for emotion in EMOTIONS:
            features = drawn_features(np.random.default_rng(number), frames=10, steps=2)
            mark = 10 * (number + 1) + (5 if variant else 0)
            features = replace(features, mel=np.full_like(features.mel, mark))
            key = f"{corpus}/{speaker}-{emotion}"
            one = drawn_example(features, key=key, emotion=emotion, speaker=speaker, corpus=corpus)
            found.append(replace(one, variant=variant))
    return found


@pytest.mark.parametrize("copy_probability", [None, 0.5])
def test_what_was_heard_of_a_speaker_is_of_the_same_voice_corpus_and_line(copy_probability: float | None) -> None:
    clips = [*of_speakers(), *of_speakers(variant="telephone")]
    some = training_set(
        clips,
        TEXTS,
        corpora={"casia": 1, "nemo": 1},
        known_speaker_probability=1.0,
        copy_probability=copy_probability,
        time_mask_share=0.5,
    )
    marks = set()
    for epoch in range(5):
        for batch in some.batches(epoch):
            for row, present in enumerate(batch.inputs["modality_mask"][:, 0]):
                frames, steps = batch.inputs["speaker_rows"][row]
                mean, deviation = batch.inputs["speaker_mel"][row]
                if not present:
                    assert frames == steps == 0
                    continue
                # At least the clip itself was heard, and whole clips only.
                assert frames >= 10
                assert frames % 10 == 0
                assert frames == 5 * steps
                np.testing.assert_allclose(mean, batch.inputs["mel"][row, 0], rtol=1e-5)
                np.testing.assert_allclose(deviation, 0, atol=0.05)
                marks.add(round(float(mean[0])))
    assert marks == {10, 15, 20, 25, 30, 35}


@pytest.mark.parametrize(("probability", "expected"), [(0.0, 0.0), (0.5, 0.5), (1.0, 1.0)])
def test_a_speaker_is_known_as_often_as_asked(probability: float, expected: float) -> None:
    some = training_set(of_speakers(), [], corpora={"casia": 1, "nemo": 1}, known_speaker_probability=probability)
    known = np.concatenate(
        [batch.inputs["speaker_rows"][:, 0] > 0 for epoch in range(20) for batch in some.batches(epoch)]
    )
    assert len(known) == 20 * 18
    assert known.mean() == pytest.approx(expected, abs=0.1)


def uneven_texts() -> list[Example]:
    """Ninety happy texts and ten sad ones."""
    texts = [marked(index, sound=False) for index in range(100, 200)]
    return [
        replace(one, clip=replace(one.clip, emotion="happy" if number < 90 else "sad"))
        for number, one in enumerate(texts)
    ]


def share_of_sad(balance: float) -> float:
    some = training_set(CLIPS[:24], uneven_texts(), corpora={"casia": 1}, text_balance=balance, texts_per_clip=0.5)
    drawn = [
        (text, label) for epoch in range(40) for sound, text, (label,) in rows(list(some.batches(epoch))) if sound < 0
    ]
    assert len(drawn) == 40 * 12
    return float(np.mean([label == EMOTIONS.index("sad") for _, label in drawn]))


def test_balance_draws_texts_of_rare_emotions_more_often() -> None:
    as_they_are, halfway, even = (share_of_sad(balance) for balance in (0.0, 0.5, 1.0))
    assert as_they_are == pytest.approx(0.1, abs=0.05)
    assert as_they_are + 0.05 < halfway < even - 0.05
    # None twice in an epoch: of ten sad ones somewhat less than half of twelve can be drawn.
    assert 0.35 < even <= 0.5


def test_balanced_texts_are_not_drawn_twice_either() -> None:
    some = training_set(CLIPS, uneven_texts(), text_balance=1.0, texts_per_clip=1.0)
    alone = Counter(text for sound, text, _ in rows(list(some.batches(1))) if sound < 0)
    assert sum(alone.values()) == 54
    assert max(alone.values()) == 1


def test_a_batch_says_which_corpus_a_sound_is_of() -> None:
    for batch in training_set().batches(1):
        for row, corpus in enumerate(batch.corpora):
            if batch.inputs["modality_mask"][row, 0]:
                assert corpus == (0 if batch.inputs["mel"][row, 0, 0] < 24 else 1)


def test_a_clip_without_a_label_cannot_be_trained_on() -> None:
    with pytest.raises(AssertionError, match="casia/0 has no label"):
        label_of(replace(CLIPS[0], clip=replace(CLIPS[0].clip, emotion=None)))
