from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from drawn_features import FEATURES, SMALL, drawn_example, drawn_features

from model.errors import CorpusError
from model.labels import EMOTIONS
from training.dataset import TrainingSet
from training.experiment import Experiment, Protocol
from training.feature_cache import Example
from training.protocols import Corpora, Fold, everyone, folds, with_shuffled_labels

SPEAKERS = ("anna", "bernd", "carla")


def clip(corpus: str, speaker: str, emotion: str, *, mark: int = 0, **facts: Any) -> Example:
    features = drawn_features(np.random.default_rng(0), frames=20)
    marked = replace(features, mel=np.full((20, 80), mark, dtype=np.float32))
    number = facts.pop("number", 0)
    example = drawn_example(
        marked, key=f"{corpus}/{speaker}-{emotion}-{number}", emotion=emotion, speaker=speaker, corpus=corpus
    )
    return replace(example, clip=replace(example.clip, **facts))


@pytest.fixture(scope="module")
def corpora() -> Corpora:
    """Six clips a speaker; the mel of a clip is the number of its speaker all over. nemo has an anna of its own."""
    pairs = [*(("casia", name) for name in SPEAKERS), ("nemo", "anna")]
    clips = [
        clip(corpus, speaker, emotion, mark=number)
        for number, (corpus, speaker) in enumerate(pairs)
        for emotion in EMOTIONS
    ]
    copies = [replace(one, variant="noise") for one in clips]
    return Corpora(clips=clips, copies=copies, texts=[drawn_example(drawn_features(np.random.default_rng(1)), key="t")])


def experiment(**protocol: Any) -> Experiment:
    names = {"casia": 1.0, "nemo": 1.0}
    return Experiment(network=SMALL, corpora=names, epochs=1, batch_size=8, protocol=Protocol(**protocol))


def who(examples: Any) -> set[tuple[str, str]]:
    return {(example.clip.corpus, example.clip.speaker) for example in examples}


def test_every_speaker_is_left_out_once(corpora: Corpora) -> None:
    found = folds(corpora, experiment())
    assert [fold.name for fold in found] == list(SPEAKERS)
    for fold in found:
        assert who(fold.test) == {("casia", fold.name)}
        assert who(fold.train) == {("casia", name) for name in SPEAKERS if name != fold.name} | {("nemo", "anna")}
        assert not fold.dev


def test_a_copy_is_trained_on_only_with_its_original(corpora: Corpora) -> None:
    for fold in folds(corpora, experiment(dev="own")):
        assert not [example for example in [*fold.dev, *fold.test] if example.variant]
        counted = Counter(example.clip.key for example in fold.train)
        assert set(counted.values()) == {2}


def test_the_dev_speaker_is_another_one_and_each_is_it_once(corpora: Corpora) -> None:
    found = folds(corpora, experiment(dev="own"))
    assert [who(fold.dev) for fold in found] == [{("casia", "bernd")}, {("casia", "carla")}, {("casia", "anna")}]
    for fold in found:
        assert not who(fold.train) & (who(fold.dev) | who(fold.test))


def test_a_dev_part_that_is_the_test_part_has_to_be_asked_for(corpora: Corpora) -> None:
    for fold in folds(corpora, experiment(dev="test")):
        assert fold.dev == fold.test


def test_sessions_are_left_out_like_speakers() -> None:
    clips = [
        clip("iemocap", f"Ses0{session}{sex}", emotion, session=f"Session{session}")
        for session in range(1, 6)
        for sex in "FM"
        for emotion in ("angry", "happy")
    ]
    run = Experiment(corpora={"iemocap": 1}, protocol=Protocol(kind="sessions", corpus="iemocap", dev="own"))
    found = folds(Corpora(clips=clips), run)
    assert [fold.name for fold in found] == [f"Session{number}" for number in range(1, 6)]
    for fold in found:
        assert {example.clip.session for example in fold.test} == {fold.name}
        assert len({example.clip.session for example in fold.dev} | {fold.name}) == 2
        assert len(fold.train) == 12


@pytest.fixture(scope="module")
def many() -> Corpora:
    return Corpora(
        clips=[
            clip("vcemo", f"speaker{speaker}", EMOTIONS[number % 6], number=number)
            for speaker in range(30)
            for number in range(7)
        ]
    )


def split(many: Corpora, **protocol: Any) -> Fold:
    run = Experiment(corpora={"vcemo": 1}, protocol=Protocol(kind="split", corpus="vcemo", **protocol))
    (fold,) = folds(many, run)
    return fold


def test_eight_one_one_keeps_speakers_whole(many: Corpora) -> None:
    fold = split(many)
    assert not who(fold.train) & who(fold.dev)
    assert not who(fold.train) & who(fold.test)
    assert not who(fold.dev) & who(fold.test)
    assert (len(fold.train), len(fold.dev), len(fold.test)) == (168, 21, 21)


def test_the_papers_division_may_share_speakers(many: Corpora) -> None:
    fold = split(many, paper_random=True)
    assert (len(fold.train), len(fold.dev), len(fold.test)) == (168, 21, 21)
    assert who(fold.train) & who(fold.test)
    assert not {one.clip.key for one in fold.train} & {one.clip.key for one in fold.test}


def test_a_division_is_the_same_every_time(many: Corpora) -> None:
    assert split(many) == split(many)


def test_a_published_division_is_kept() -> None:
    parts = ("train", "train", "dev", "test")
    clips = [clip("m3ed", "x", "happy", number=number, split=part) for number, part in enumerate(parts)]
    run = Experiment(corpora={"m3ed": 1}, protocol=Protocol(kind="split", corpus="m3ed"))
    (fold,) = folds(Corpora(clips=clips), run)
    assert ([len(fold.train), len(fold.dev), len(fold.test)]) == [2, 1, 1]


def test_a_corpus_that_cannot_be_divided_is_refused(corpora: Corpora) -> None:
    two = [example for example in corpora.clips if example.clip.speaker in {"anna", "bernd"}]
    assert len(folds(Corpora(clips=two), experiment())) == 2
    with pytest.raises(CorpusError, match="three or more"):
        folds(Corpora(clips=two), experiment(dev="own"))
    with pytest.raises(CorpusError, match="each clip with its own"):
        folds(Corpora(clips=two), experiment(kind="sessions"))
    with pytest.raises(CorpusError, match="cannot be divided"):
        folds(Corpora(clips=two), experiment(kind="split"))


def test_a_whole_corpus_is_left_out_and_the_others_with_their_copies_are_trained_on(corpora: Corpora) -> None:
    (fold,) = folds(corpora, experiment(kind="corpus"))
    assert fold.name == "casia"
    assert who(fold.test) == {("casia", name) for name in SPEAKERS}
    assert who(fold.train) == {("nemo", "anna")}
    assert Counter(example.variant for example in fold.train) == {"": 6, "noise": 6}
    assert not [example for example in fold.test if example.variant]
    assert not fold.dev


def test_a_corpus_left_out_selects_nothing_unless_asked_for(corpora: Corpora) -> None:
    (fold,) = folds(corpora, experiment(kind="corpus", dev="test"))
    assert fold.dev == fold.test


def test_a_corpus_can_only_be_left_out_where_there_is_another(corpora: Corpora) -> None:
    casia = [example for example in corpora.clips if example.clip.corpus == "casia"]
    with pytest.raises(CorpusError, match="found 18 utterances of it, and 0 of others"):
        folds(Corpora(clips=casia), experiment(kind="corpus"))
    nemo = [example for example in corpora.clips if example.clip.corpus == "nemo"]
    with pytest.raises(CorpusError, match="found 0 utterances of it, and 6 of others"):
        folds(Corpora(clips=nemo), experiment(kind="corpus"))


def test_what_ships_is_trained_on_everyone(corpora: Corpora) -> None:
    fold = everyone(corpora)
    assert len(fold.train) == len(corpora.clips) + len(corpora.copies)
    assert (list(fold.dev), list(fold.test)) == ([], [])


def test_shuffled_labels_keep_their_counts_and_go_with_the_copies(corpora: Corpora) -> None:
    fold = folds(corpora, experiment())[0]
    dealt = with_shuffled_labels(fold, seed=3)
    before, after = ([example.clip.emotion for example in some.train] for some in (fold, dealt))
    assert before != after
    assert Counter(before) == Counter(after)
    by_key: dict[str, set[str | None]] = {}
    for example in dealt.train:
        by_key.setdefault(example.clip.key, set()).add(example.clip.emotion)
    assert {len(labels) for labels in by_key.values()} == {1}
    assert dealt.test == fold.test


def test_no_batch_holds_a_sound_of_the_speaker_left_out(corpora: Corpora) -> None:
    run = experiment()
    fold = next(fold for fold in folds(corpora, run) if fold.name == "bernd")
    training_set = TrainingSet(fold.train, corpora.texts, experiment=run, features=FEATURES)
    heard = {
        int(mark)
        for epoch in range(3)
        for batch in training_set.batches(epoch)
        for mark, present in zip(batch.inputs["mel"][:, 0, 0], batch.inputs["modality_mask"][:, 0], strict=True)
        if present
    }
    assert heard == {0, 2, 3}
