"""Which tokens are kept, and that a narrowed Whisper says the same."""

import json
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer

from model.assets import AssetStore
from model.ctranslate2_weights import read_weights
from model.speech import SpeechConfig
from model.whisper_vocabulary import needed, tokens_of, whole, write_narrowed

FIRST_SPECIAL = 50257


@pytest.fixture(scope="module")
def directory(assets: AssetStore) -> Path:
    return assets.path(SpeechConfig().asset)


@pytest.fixture(scope="module")
def tokens(directory: Path) -> list[str]:
    return tokens_of(directory)


def test_every_character_of_mandarin_can_still_be_written(tokens: list[str], directory: Path) -> None:
    tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
    kept = set(needed(tokens, first_special=FIRST_SPECIAL).kept.tolist())
    characters = [chr(code) for code in range(0x4E00, 0x9FA6)]
    lost = [one for one in characters if not set(tokenizer.encode(one, add_special_tokens=False).ids) <= kept]
    assert lost == []


def test_digits_and_the_commonest_english_words_and_all_special_tokens_are_kept(tokens: list[str]) -> None:
    vocabulary = needed(tokens, first_special=FIRST_SPECIAL)
    kept = {tokens[number] for number in vocabulary.kept}
    assert {"Ġthe", "Ġcom", "Ġphone", *"0123456789"} <= kept
    assert set(tokens[FIRST_SPECIAL:]) <= kept
    assert "Ġкак" not in kept
    assert len(vocabulary.kept) < len(tokens) / 4


def test_numbers_are_translated_there_and_back(tokens: list[str]) -> None:
    vocabulary = needed(tokens, first_special=FIRST_SPECIAL)
    chosen = vocabulary.kept[[0, 100, -1]].tolist()
    assert vocabulary.outer([vocabulary.inner(token) for token in chosen]) == chosen
    assert vocabulary.outer([]) == []
    assert whole(7).outer([whole(7).inner(5)]) == [5]


def test_the_narrowed_files_hold_the_kept_rows_and_no_encoder_beyond_its_first_layer(
    directory: Path, tokens: list[str], tmp_path: Path
) -> None:
    vocabulary = needed(tokens, first_special=FIRST_SPECIAL)
    write_narrowed(directory, tmp_path, tokens, vocabulary)
    before, after = read_weights(directory / "model.bin"), read_weights(tmp_path / "model.bin")
    name = "decoder/embeddings/weight"
    assert np.array_equal(after[name], before[name][vocabulary.kept])
    assert tokens_of(tmp_path) == [tokens[number] for number in vocabulary.kept]
    gone = set(before) - set(after)
    assert gone
    assert all(one.startswith("encoder/layer_") for one in gone)
    suppressed = json.loads((tmp_path / "config.json").read_text())["suppress_ids"]
    assert {tokens_of(tmp_path)[number] for number in suppressed} <= set(tokens)
