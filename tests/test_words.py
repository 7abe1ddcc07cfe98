import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import spacy
from spacy.language import Language
from spacy.vectors import Vectors

from model.assets import AssetStore
from model.words import WordConfig, WordVectors

TABLE = {"今天": 0, "高兴": 1, "雨": 2, "伞": 3}
OUT_OF_TABLE = "雨伞"
CONFIG = WordConfig(dimension=5, max_words=6)

Array = npt.NDArray[np.float32]


@pytest.fixture(scope="module")
def vectors() -> Array:
    return np.random.default_rng(0).normal(size=(len(TABLE), CONFIG.dimension)).astype(np.float32)


@pytest.fixture(scope="module")
def pipeline(vectors: Array, word_vectors: WordVectors) -> Language:
    """Four words; jieba's dictionary cache has been placed by the real table's loading."""
    pipeline = spacy.blank("zh", config={"nlp": {"tokenizer": {"segmenter": "jieba"}}})
    pipeline.vocab.vectors = Vectors(strings=pipeline.vocab.strings, data=vectors, keys=list(TABLE), name="four")
    return pipeline


@pytest.fixture(scope="module")
def four_words(pipeline: Language) -> WordVectors:
    return WordVectors(pipeline, config=CONFIG)


def test_a_word_of_the_table_is_its_row(four_words: WordVectors, vectors: Array) -> None:
    np.testing.assert_array_equal(four_words.encode("今天高兴"), vectors[[0, 1]])


def test_a_word_out_of_the_table_is_the_mean_of_its_characters(four_words: WordVectors, vectors: Array) -> None:
    found = four_words.encode(OUT_OF_TABLE)
    np.testing.assert_allclose(found, [(vectors[2] + vectors[3]) / 2], rtol=1e-6)


def test_a_word_without_any_known_character_is_left_out(four_words: WordVectors, vectors: Array) -> None:
    np.testing.assert_array_equal(four_words.encode("冰箱高兴"), vectors[[1]])


@pytest.mark.parametrize("text", ["", "   ", "。，！？", "冰箱"])
def test_text_of_no_known_word_has_no_rows(four_words: WordVectors, text: str) -> None:
    assert four_words.encode(text).shape == (0, CONFIG.dimension)


def test_punctuation_and_spaces_are_dropped(four_words: WordVectors) -> None:
    np.testing.assert_array_equal(four_words.encode("今天， 高兴！"), four_words.encode("今天高兴"))


def test_no_more_words_are_read_than_the_configuration_says(four_words: WordVectors) -> None:
    assert len(four_words.encode("今天" * 50)) == CONFIG.max_words


def texts_never_seen(count: int) -> Iterator[str]:
    for number in range(count):
        yield "".join(chr(0x4E00 + (37 * number + 101 * place) % 20_000) for place in range(12))


def test_texts_never_seen_before_leave_no_strings_behind(pipeline: Language, four_words: WordVectors) -> None:
    before = len(pipeline.vocab.strings)
    for text in texts_never_seen(200):
        four_words.encode(text)
    assert len(pipeline.vocab.strings) == before


def test_threads_may_share_the_vectors(four_words: WordVectors) -> None:
    texts = [*texts_never_seen(20), "今天高兴", "雨伞"] * 4
    alone = [four_words.encode(text) for text in texts]
    with ThreadPoolExecutor(4) as threads:
        for found, expected in zip(threads.map(four_words.encode, texts), alone, strict=True):
            np.testing.assert_array_equal(found, expected)


def test_a_table_of_other_dimensions_is_refused(pipeline: Language) -> None:
    with pytest.raises(ValueError, match="have 5 dimensions, expected 100"):
        WordVectors(pipeline)


def test_a_spacy_pipeline_folder_is_loaded_as_the_table_is(
    pipeline: Language, four_words: WordVectors, tmp_path: Path
) -> None:
    pipeline.to_disk(tmp_path / "zh_core_web")
    loaded = WordVectors.load(tmp_path / "zh_core_web", config=CONFIG)
    np.testing.assert_array_equal(loaded.encode("今天高兴雨伞"), four_words.encode("今天高兴雨伞"))


def test_the_embedded_table_gives_every_word_its_own_row(assets: AssetStore, word_vectors: WordVectors) -> None:
    folder = assets.path("word-vectors-zh")
    row_of_word = json.loads((folder / "word2vec.w2i").read_text(encoding="utf-8"))
    with (folder / "word2vec.ann").open("rb") as table:
        table.seek(412 * row_of_word["高兴"] + 12)
        expected = np.frombuffer(table.read(400), dtype="<f4")
    np.testing.assert_array_equal(word_vectors.encode("高兴"), expected[None])


def test_the_embedded_table_knows_that_glad_is_nearer_to_happy_than_to_rain(word_vectors: WordVectors) -> None:
    glad, happy, rain = (word_vectors.encode(word)[0] for word in ("高兴", "开心", "下雨"))

    def cosine(a: Array, b: Array) -> float:
        return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))

    assert cosine(glad, happy) > cosine(glad, rain) + 0.2
