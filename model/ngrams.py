"""Transcript in, character n-grams out: the turns of phrase that no vector of a word or sentence knows."""

import re
import unicodedata
import zlib
from collections import Counter
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from model.script import simplified

_REPLACED: Final = (
    (re.compile(r"https?://[\w./?=&%#-]+"), ""),
    (re.compile(r"@[\w\-·]+"), "@"),
    (re.compile(r"\d+"), "0"),
    (re.compile(r"\s+"), " "),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class NgramConfig:
    """How long n-grams are, and how many buckets they are hashed into."""

    longest: int = 3
    buckets: int = 65_536


@dataclass(frozen=True, kw_only=True, slots=True)
class Ngrams:
    """The distinct n-grams of a text: buckets (n,), and weights (n,), one more than the logarithm of the count."""

    buckets: npt.NDArray[np.int64]
    weights: npt.NDArray[np.float32]


def ngrams(text: str, *, config: NgramConfig) -> Ngrams | None:
    """Count the character n-grams of ``text``; links, names and numbers count as one each. None for empty text."""
    cleaned = unicodedata.normalize("NFKC", simplified(text)).lower()
    for pattern, replacement in _REPLACED:
        cleaned = pattern.sub(replacement, cleaned)
    if not cleaned.strip():
        return None
    framed = f" {cleaned.strip()} "
    counts = Counter(
        framed[start : start + length]
        for length in range(1, config.longest + 1)
        for start in range(len(framed) - length + 1)
    )
    # A hash that is the same in every process and on every machine.
    hashes = [zlib.crc32(gram.encode()) % config.buckets for gram in counts]
    weights = 1 + np.log(np.array(list(counts.values()), dtype=np.float32))
    return Ngrams(buckets=np.array(hashes, dtype=np.int64), weights=weights)
