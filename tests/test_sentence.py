from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from tiny_bert import DIMENSION, write_tiny_bert

from model.sentence import E5Encoder, OnnxEncoder, SentenceConfig, SentenceEncoder, load_sentence_encoder
from training.sentence_export import export_bert

TEXTS = ["今天天气很好", "我不高兴", "下雨也去", "你"]


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, SentenceConfig]:
    """Folder of a bundle with an exported BERT, and the configuration that names it."""
    folder = tmp_path_factory.mktemp("bert")
    write_tiny_bert(folder / "torch")
    return folder, export_bert(folder / "torch", folder / "sentence_encoder", max_tokens=8)


@pytest.fixture(params=["e5", "onnx"])
def encoder(
    request: pytest.FixtureRequest, bert: tuple[Path, SentenceConfig], sentence_encoder: E5Encoder
) -> SentenceEncoder:
    folder, config = bert
    return (
        sentence_encoder if request.param == "e5" else load_sentence_encoder(config, folder=folder / "sentence_encoder")
    )


def test_a_sentence_does_not_depend_on_its_neighbours(encoder: SentenceEncoder) -> None:
    together = encoder.encode(TEXTS)
    for text, row in zip(TEXTS, together, strict=True):
        np.testing.assert_array_equal(encoder.encode([text])[0], row)


def test_other_sentences_have_other_vectors(encoder: SentenceEncoder) -> None:
    assert len(np.unique(encoder.encode(TEXTS), axis=0)) == len(TEXTS)


def test_threads_may_share_an_encoder(encoder: SentenceEncoder) -> None:
    expected = encoder.encode(TEXTS)
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda text: encoder.encode([text])[0], TEXTS * 3))
    np.testing.assert_array_equal(found, np.tile(expected, (3, 1)))


def test_e5_gives_unit_vectors(sentence_encoder: E5Encoder) -> None:
    vectors = sentence_encoder.encode(TEXTS)
    assert vectors.shape == (len(TEXTS), SentenceConfig().dimension)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-5)


def test_e5_finds_the_same_meaning_in_other_words(sentence_encoder: E5Encoder) -> None:
    glad, happy, broken = sentence_encoder.encode(["我今天很高兴", "今天我非常开心", "打印机坏了"])
    assert glad @ happy > glad @ broken + 0.02


def test_an_exported_bert_has_the_dimension_that_its_configuration_says(bert: tuple[Path, SentenceConfig]) -> None:
    folder, config = bert
    assert config == SentenceConfig(kind="onnx", name="torch", dimension=DIMENSION, max_tokens=8)
    assert load_sentence_encoder(config, folder=folder / "sentence_encoder").encode(TEXTS).shape == (
        len(TEXTS),
        DIMENSION,
    )


def test_a_sentence_is_cut_at_its_longest(bert: tuple[Path, SentenceConfig]) -> None:
    folder, config = bert
    encoder = OnnxEncoder(folder / "sentence_encoder", config=config)
    six = "今天天气很好"
    np.testing.assert_array_equal(encoder.encode([six + "我不高兴"]), encoder.encode([six + "下雨也去"]))


def test_the_embedded_encoder_needs_no_folder() -> None:
    assert isinstance(load_sentence_encoder(SentenceConfig()), E5Encoder)


def test_an_exported_encoder_is_refused_without_its_folder() -> None:
    with pytest.raises(ValueError, match="give the folder it was exported to"):
        load_sentence_encoder(SentenceConfig(kind="onnx"))
