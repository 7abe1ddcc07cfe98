"""Whisper's vocabulary without what is never written here: nobody speaks ninety languages on one line.

Decoding reads the embedding of every token at every step, half of all that a step of Whisper base reads. Of 51,865
tokens Mandarin, with the English words that it borrows, needs a fifth. What the decoder is told and how it hears are
the same; it can only no longer write Cyrillic. By the number of its tokens CTranslate2 tells who speaks many languages:
the whole model still has to encode, and to say which one is spoken.
"""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from tokenizers.decoders import ByteLevel

from model.ctranslate2_weights import write_with_rows

NARROWED_LANGUAGE: Final = "zh"
"""The one for which it is known which tokens it needs."""

_WEIGHTS_FILE: Final = "model.bin"
_CONFIG_FILE: Final = "config.json"
_VOCABULARY_FILE: Final = "vocabulary.txt"
_UNUSED_ENCODER: Final = re.compile(r"encoder/layer_[1-9]")
"""The format wants an encoder; it is never run."""
_TOKEN_LISTS: Final = ("lang_ids", "suppress_ids", "suppress_ids_begin")
_FIRST_ASCII: Final = 8_000
"""Of the tokens in Latin letters, which come in the order of how common they are; rarer words are spelt in pieces."""
_MANDARIN: Final = ((0x4E00, 0x9FFF), (0x3000, 0x303F), (0xFF00, 0xFFEF), (0x2010, 0x2027), (0xB7, 0xB7))
"""Characters, their punctuation, full-width forms, dashes and quotation marks, the dot within foreign names."""
_INCOMPLETE: Final = "\ufffd"
"""What a part of a character's bytes is shown as; rare characters are written in parts."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Vocabulary:
    """Which tokens of a Whisper are kept. kept: (tokens,) their own numbers, in order."""

    kept: npt.NDArray[np.int64]

    def inner(self, token: int) -> int:
        """Return the number by which the narrowed model knows a token that is kept."""
        return int(np.searchsorted(self.kept, token))

    def outer(self, tokens: Sequence[int]) -> list[int]:
        """Return the numbers by which the tokenizer knows what the narrowed model has written."""
        numbers: list[int] = self.kept[np.asarray(tokens, dtype=np.int64)].tolist()
        return numbers


def whole(num_tokens: int) -> Vocabulary:
    """Keep everything."""
    return Vocabulary(kept=np.arange(num_tokens))


def needed(tokens: Sequence[str], *, first_special: int) -> Vocabulary:
    """Keep what Mandarin and plain English are written with, and everything from ``first_special`` on."""
    shown = ByteLevel()
    kept = [
        number
        for number, token in enumerate(tokens)
        if number >= first_special or _is_needed(number, shown.decode([token]))
    ]
    return Vocabulary(kept=np.array(kept))


def write_narrowed(directory: Path, target: Path, tokens: Sequence[str], vocabulary: Vocabulary) -> None:
    """Write a Whisper in CTranslate2's format again, as one that decodes with the tokens of a vocabulary, no more.

    Raises:
        AssetInvalid: the weights cannot be read.
    """
    config: dict[str, Any] = json.loads((directory / _CONFIG_FILE).read_text(encoding="utf-8"))
    known = set(vocabulary.kept.tolist())
    for name in _TOKEN_LISTS:
        config[name] = [vocabulary.inner(token) for token in config[name] if token in known]
    (target / _CONFIG_FILE).write_text(json.dumps(config), encoding="utf-8")
    kept = "".join(f"{tokens[number]}\n" for number in vocabulary.kept)
    (target / _VOCABULARY_FILE).write_text(kept, encoding="utf-8")
    write_with_rows(
        directory / _WEIGHTS_FILE,
        target / _WEIGHTS_FILE,
        vocabulary.kept,
        of=len(tokens),
        without=_UNUSED_ENCODER,
    )


def tokens_of(directory: Path) -> list[str]:
    """Return every token of a Whisper in CTranslate2's format, in order."""
    return (directory / _VOCABULARY_FILE).read_text(encoding="utf-8").removesuffix("\n").split("\n")


def _is_needed(number: int, text: str) -> bool:
    if text.isascii():
        return number < _FIRST_ASCII
    return _INCOMPLETE in text or _is_mandarin(text.strip())


def _is_mandarin(characters: Iterable[str]) -> bool:
    return all(any(first <= ord(one) <= last for first, last in _MANDARIN) for one in characters)
