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


def test_a_clip_without_a_label_cannot_be_trained_on() -> None:
    with pytest.raises(AssertionError, match="casia/0 has no label"):
        label_of(replace(CLIPS[0], clip=replace(CLIPS[0].clip, emotion=None)))
