from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import pytest

from model.labels import EMOTIONS
from training.corpora import paired
from training.corpora.manifest import Clip
from training.corpora.paired import PAIRED, Pair, pairs


def sounds(
    *, speakers: tuple[str, ...] = ("a", "b", "c", "d"), corpora: tuple[str, ...] = ("casia", "nemo")
) -> list[Clip]:
    return [
        Clip(
            key=f"{corpus}/{speaker}-{emotion}-{number}",
            corpus=corpus,
            audio=Path(f"{number}.wav"),
            emotion=emotion,
            speaker=speaker,
            sentence=str(number),
            text="读过的句子",
            language="zh",
        )
        for corpus in corpora
        for speaker in speakers
        for emotion in EMOTIONS
        for number in range(3)
    ]


def posts(number: int = 40) -> list[Clip]:
    blank = {"corpus": "ewect", "audio": None, "speaker": None, "sentence": None, "language": "zh"}
    return [
        Clip(key=f"ewect/{emotion}-{index}", emotion=emotion, text=f"第{index}句{emotion}", **blank)  # type: ignore[arg-type]
        for emotion in EMOTIONS
        for index in range(number)
    ]


@pytest.fixture(scope="module")
def found() -> list[Pair]:
    return pairs(sounds(), posts())


def test_sound_and_text_of_a_pair_have_the_same_emotion(found: list[Pair]) -> None:
    assert len(found) == 2 * 4 * 6 * 3
    for pair in found:
        assert pair.sound.emotion == pair.text.emotion == pair.clip.emotion
        assert (pair.clip.audio, pair.clip.text) == (pair.sound.audio, pair.text.text)
        assert (pair.clip.corpus, pair.clip.sentence) == (PAIRED, None)
        assert pair.clip.key == f"paired/{pair.sound.key}+{pair.text.key}"


def test_no_post_is_given_twice_and_so_none_is_on_two_sides(found: list[Pair]) -> None:
    assert len({pair.text.key for pair in found}) == len(found)
    for side in ("split", "session"):
        sides = defaultdict(set)
        for pair in found:
            sides[pair.sound.corpus, pair.sound.speaker].add(getattr(pair.clip, side))
        assert all(len(one) == 1 for one in sides.values())


def test_a_speaker_of_each_corpus_is_tested_and_another_selects(found: list[Pair]) -> None:
    by_split = defaultdict(set)
    for pair in found:
        by_split[pair.clip.split].add((pair.sound.corpus, pair.sound.speaker))
    assert by_split["test"] == {("casia", "d"), ("nemo", "d")}
    assert by_split["dev"] == {("casia", "c"), ("nemo", "c")}
    assert len(by_split["train"]) == 4
    assert {pair.clip.session for pair in found} == {f"session{number}" for number in range(1, 6)}


def test_the_order_of_what_is_read_does_not_matter(found: list[Pair]) -> None:
    assert pairs(sounds()[::-1], posts()[::-1]) == found


def test_a_post_that_was_posted_twice_counts_once_and_what_is_left_over_is_left_out() -> None:
    few = [replace(post, text=f"{post.text}！！") for post in posts(2)]
    found = pairs(sounds(), [*posts(2), *few, replace(posts(1)[0], key="short", text="。")])
    assert len(found) == 2 * 6


def test_of_a_speaker_who_says_much_every_emotion_is_thinned_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paired, "CLIPS_PER_SPEAKER", 12)
    found = pairs(sounds(), posts())
    counts: dict[tuple[str | None, str, str | None], int] = defaultdict(int)
    for pair in found:
        counts[pair.sound.speaker, pair.sound.corpus, pair.clip.emotion] += 1
    assert set(counts.values()) == {2}
