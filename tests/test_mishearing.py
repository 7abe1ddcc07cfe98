import io
import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drawn_features import FEATURES, drawn_example, drawn_features
from hypothesis import given
from hypothesis import strategies as st
from pypinyin import lazy_pinyin
from rich.console import Console

from model.assets import AssetStore
from training.dataset import TrainingSet
from training.experiment import Experiment
from training.feature_cache import Example, shard_path
from training.mishearing import MAX_REPLACED_SHARE, Homophones, Mishearing, misheard
from training.workshop import Workshop

POSTS = ["他说她今天很高兴，它也是！", "是他的事，不是她的", "十点半才到家，太累了[泪]", "妈妈骂马吗？"]
HOMOPHONES = Homophones(POSTS)
LONG = "是他的事不是她的" * 25


def heard(text: str, seed: int, homophones: Homophones = HOMOPHONES) -> str:
    return misheard(text, homophones=homophones, generator=np.random.default_rng(seed))


def drawn(character: str, homophones: Homophones = HOMOPHONES) -> Counter[str]:
    generator = np.random.default_rng(0)
    return Counter(homophones.drawn(character, generator) for _ in range(400))


def test_a_homophone_sounds_alike_but_for_its_tone_and_is_another_character() -> None:
    assert drawn("妈").keys() == {"骂", "马", "吗"}
    assert drawn("是").keys() == {"事", "十"}


def test_frequent_homophones_come_more_often() -> None:
    others = drawn("它", Homophones(["他他他他她它"]))
    assert 0.7 < others["他"] / others.total() < 0.9
    assert others.keys() == {"他", "她"}


@pytest.mark.parametrize("character", ["家", "猫", "7", "a"])
def test_a_character_that_none_sounds_like_stays(character: str) -> None:
    assert drawn(character).keys() == {character}


def test_only_chinese_and_digits_are_heard_and_in_simplified_characters() -> None:
    found = {heard("OMG！聽說 2019-nCoV 😷 嚇死了…", seed, Homophones([])) for seed in range(40)}
    assert max(found, key=len) == "听说2019吓死了"
    assert all("听说2019吓死了".startswith(one) for one in found)


@pytest.mark.parametrize("text", ["", " ", "[good]", "nmsl? 666", "😷"])
def test_of_a_text_without_chinese_nothing_is_heard(text: str) -> None:
    assert heard(text, 0) == ""


def test_half_of_the_texts_are_cut_off_and_at_least_half_of_each_is_left() -> None:
    lengths = [len(heard(LONG, seed)) for seed in range(300)]
    assert 100 <= min(lengths) < 115
    assert max(lengths) == 200
    assert 0.4 < np.mean([length == 200 for length in lengths]) < 0.6


def test_of_what_is_left_another_share_is_replaced_in_each_text_and_all_of_it_sounds_as_before() -> None:
    shares = []
    for seed in range(200):
        found = heard(LONG, seed)
        assert lazy_pinyin(list(found)) == lazy_pinyin(list(LONG[: len(found)]))
        shares.append(np.mean([one != other for one, other in zip(found, LONG, strict=False)]))
    # A quarter of the characters has no homophone.
    assert np.mean(shares) == pytest.approx(0.75 * MAX_REPLACED_SHARE / 2, abs=0.01)
    assert min(shares) < 0.01
    assert max(shares) > 0.1


@given(text=st.text(alphabet=st.sampled_from("他她是事 1a，😷"), max_size=30), seed=st.integers(0, 2**32))
def test_what_is_misheard_is_never_longer_and_has_something_where_there_was_chinese(text: str, seed: int) -> None:
    found = heard(text, seed)
    assert re.fullmatch(r"[\u4e00-\u9fff0-9]*", found)
    assert len(found) <= len(text)
    assert bool(found) == bool(set(text) & set("他她是事"))
    assert found == heard(text, seed)


def test_the_digest_is_that_of_the_counts_and_not_of_the_order() -> None:
    assert Homophones(reversed(POSTS)).digest == HOMOPHONES.digest
    assert Homophones([*POSTS, "他"]).digest != HOMOPHONES.digest


def test_only_misheard_texts_are_kept_by_how_they_are_misheard() -> None:
    clip = replace(drawn_example(drawn_features(np.random.default_rng(0)), key="1").clip, audio=None, text="他")

    def path(change: Mishearing | None) -> Path:
        return shard_path(Path("/cache"), corpus="ewect", clips=[clip], config=FEATURES, assets={}, change=change)

    others = [HOMOPHONES, Homophones([*POSTS, "他"])]
    paths = {path(None), *(path(Mishearing(homophones=other, seed=seed)) for other in others for seed in (0, 1))}
    assert len(paths) == 5


def marked(index: int, *, key: int, emotion: str, sound: bool = False, variant: str = "") -> Example:
    """A text (or a sound) whose every sentence feature is ``index``."""
    features = drawn_features(np.random.default_rng(0), frames=10 if sound else 0, words=0 if sound else 2)
    if features.sentence is not None:
        features = replace(features, sentence=np.full_like(features.sentence, index))
    return replace(drawn_example(features, key=str(key), emotion=emotion), variant=variant)


CLIPS = [marked(0, key=-1 - index, emotion="happy", sound=True) for index in range(200)]
EMOTIONS = ["happy", "happy", "sad", "sad"]
WRITTEN = [marked(index, key=index, emotion=emotion) for index, emotion in enumerate(EMOTIONS)]
# The last text has no copy, and one copy has lost its original.
COPIES = [marked(100 + index, key=index, emotion="happy", variant="misheard") for index in (0, 1)]
COPIES += [marked(102, key=2, emotion="sad", variant="misheard"), marked(900, key=9, emotion="sad", variant="misheard")]


def shown(texts: Sequence[Example], **changes: Any) -> tuple[Counter[int], Counter[int]]:
    """How often each text is shown alone, and with a clip; of one epoch."""
    experiment = Experiment(corpora={"casia": 1}, own_text_probability=0.0, paired_text_probability=1.0, **changes)
    training_set = TrainingSet(CLIPS, texts, experiment=experiment, features=FEATURES)
    batches = list(training_set.batches(1))
    assert len(batches) == training_set.steps_per_epoch()
    assert list(training_set.texts) == WRITTEN
    alone, paired = Counter[int](), Counter[int]()
    for batch in batches:
        for mask, sentence in zip(batch.inputs["modality_mask"], batch.inputs["sentence"], strict=True):
            (paired if mask[0] else alone)[int(sentence[0])] += 1
    return alone, paired


def test_a_text_gives_way_to_its_misheard_copy_as_often_as_the_experiment_says() -> None:
    alone, paired = shown([*WRITTEN, *COPIES], misheard_probability=1.0)
    assert alone == {100: 1, 101: 1, 102: 1, 3: 1}
    assert paired.keys() == {100, 101}
    _, paired = shown([*WRITTEN, *COPIES], misheard_probability=0.25)
    assert paired.keys() == {0, 1, 100, 101}
    assert 0.15 < (paired[100] + paired[101]) / 200 < 0.35


def test_an_epoch_is_as_long_with_misheard_copies_and_at_probability_zero_shows_none() -> None:
    alone, paired = shown([*WRITTEN, *COPIES])
    assert alone == shown(WRITTEN)[0] == {0: 1, 1: 1, 2: 1, 3: 1}
    assert paired.keys() == {0, 1}


def test_a_workshop_brings_misheard_copies_of_the_posts_it_keeps_and_of_no_others(
    assets: AssetStore, tmp_path: Path
) -> None:
    files = {"virus_train": [*POSTS, "[good]"], "usual_train": ["难过"], "virus_extra": [], "virus_dev": [POSTS[1]]}
    (tmp_path / "ewect").mkdir()
    for name, posts in files.items():
        rows = [
            {"key": f"ewect/{name}-{number}", "text": text, "emotion": "sad", "language": "zh"}
            for number, text in enumerate(posts)
        ]
        (tmp_path / "ewect" / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")

    def texts(probability: float) -> list[Example]:
        workshop = Workshop(
            experiment=Experiment(text_corpora=("ewect",), misheard_probability=probability),
            data=tmp_path,
            cache=tmp_path,
            assets=assets,
            threads=1,
            console=Console(file=io.StringIO()),
        )
        return list(workshop.corpora().texts)

    written, both = texts(0.0), texts(0.5)
    assert [text.transcript for text in written] == [POSTS[0], *POSTS[2:], "[good]", "难过"]
    copies = [text for text in both if text.variant]
    assert len(both) == len(written) + len(copies)
    assert [copy.clip for copy in copies] == [text.clip for text in written if text.transcript != "[good]"]
