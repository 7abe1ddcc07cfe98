import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.ngrams import NgramConfig, Ngrams, ngrams

CONFIG = NgramConfig()


def counted(text: str, *, config: NgramConfig = CONFIG) -> dict[int, float]:
    found = ngrams(text, config=config)
    assert found is not None
    return dict(zip(found.buckets.tolist(), found.weights.tolist(), strict=True))


def bucket(gram: str) -> int:
    return zlib.crc32(gram.encode()) % CONFIG.buckets


def test_every_run_of_up_to_three_characters_is_counted_with_the_edges_of_the_text() -> None:
    grams = (" ", "你", "好", " 你", "你好", "好 ", " 你好", "你好 ")
    assert set(counted("你好")) == {bucket(gram) for gram in grams}


def test_the_weight_is_one_more_than_the_logarithm_of_the_count() -> None:
    weights = counted("哈哈哈")
    assert weights[bucket("哈")] == pytest.approx(1 + np.log(3))
    assert weights[bucket("哈哈")] == pytest.approx(1 + np.log(2))
    assert weights[bucket("哈哈哈")] == 1


def test_the_longest_is_a_choice() -> None:
    assert set(counted("你好", config=NgramConfig(longest=1))) == {bucket(gram) for gram in " 你好"}


def test_there_are_no_more_buckets_than_asked_for() -> None:
    found = ngrams("床前明月光，疑是地上霜", config=NgramConfig(buckets=7))
    assert found is not None
    assert 0 <= found.buckets.min() <= found.buckets.max() < 7
    # N-grams of one bucket each keep their weight: the network adds them up.
    assert len(found.buckets) == len(found.weights) > 7


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("我很高興", "我很高兴"),
        ("OK啊", "ok啊"),
        ("ok!", "ｏｋ！"),
        ("等了 3 天", "等了 45 天"),
        ("@小明 你好", "@Anna-1 你好"),
        ("看 https://example.com/a?b=1 吧", "看  吧"),
        ("  你好\n", "你好"),
        ("你  好", "你\t好"),
    ],
)
def test_what_says_the_same_is_counted_the_same(one: str, other: str) -> None:
    assert counted(one) == counted(other)


def test_the_order_of_characters_is_told_apart() -> None:
    assert counted("我打你") != counted("你打我")


@pytest.mark.parametrize("text", ["", " \n", "https://example.com/a"])
def test_of_a_text_without_characters_there_is_nothing_to_count(text: str) -> None:
    assert ngrams(text, config=CONFIG) is None


def test_types_are_those_that_the_network_takes() -> None:
    found = ngrams("你好", config=CONFIG)
    assert isinstance(found, Ngrams)
    assert (found.buckets.dtype, found.weights.dtype) == (np.dtype(np.int64), np.dtype(np.float32))


def test_a_bucket_is_the_same_in_every_process() -> None:
    # Bundles carry a vector for each bucket: these may never change.
    assert counted("你", config=NgramConfig(longest=1)) == pytest.approx({53061: 1 + np.log(2), 53875: 1})


@given(st.text(max_size=40))
def test_any_text_can_be_counted(text: str) -> None:
    found = ngrams(text, config=CONFIG)
    if found is not None:
        assert len(found.buckets) == len(found.weights) > 0
        assert (found.weights >= 1).all()
        assert ((found.buckets >= 0) & (found.buckets < CONFIG.buckets)).all()
