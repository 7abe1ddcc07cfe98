"""Transcript in, static word vectors out (VCEMO §4.2, "Word Embeddings")."""

import json
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import jieba
import numpy as np
import numpy.typing as npt
import spacy
from spacy.language import Language
from spacy.vectors import Vectors

_RECORD: Final = np.dtype([("id", "<i4"), ("norm", "<f4"), ("links", "<i4"), ("vector", "<f4", (100,))])


@dataclass(frozen=True, kw_only=True, slots=True)
class WordConfig:
    """Which vectors, and how many words of a transcript are read."""

    asset: str = "word-vectors-zh"
    dimension: int = 100
    max_words: int = 96


class WordVectors:
    """spaCy's Chinese segmentation (jieba) and a static vectors table, used as any ``zh_core_web`` pipeline."""

    def __init__(self, pipeline: Language, *, config: WordConfig = WordConfig()) -> None:
        if pipeline.vocab.vectors_length != config.dimension:
            raise ValueError(
                f"the pipeline's vectors have {pipeline.vocab.vectors_length} dimensions, expected {config.dimension}"
            )
        self.config = config
        self._pipeline = pipeline
        self._lock = threading.Lock()

    @classmethod
    def load(cls, directory: Path, *, config: WordConfig = WordConfig()) -> "WordVectors":
        """Load a spaCy pipeline folder, or the raw table of the embedded default, from an asset's folder."""
        if (directory / "config.cfg").is_file():
            return cls(spacy.load(directory, disable=["tagger", "parser", "ner", "attribute_ruler"]), config=config)
        return cls(_pipeline_of_table(directory), config=config)

    def encode(self, text: str) -> npt.NDArray[np.float32]:
        """Look up the words of ``text``: (words, dimension) float32, zero words for empty text.

        A word that is not in the table is the mean of its characters; a word without any known
        character is left out.
        """
        rows = [row for _, row in self._known(text)]
        return np.stack(rows) if rows else np.zeros((0, self.config.dimension), dtype=np.float32)

    def known_words(self, text: str) -> list[str]:
        """Return the words of ``text`` that :meth:`encode` gives a row each, in its order."""
        return [word for word, _ in self._known(text)]

    def _known(self, text: str) -> list[tuple[str, npt.NDArray[np.float32]]]:
        # spaCy keeps every new string for ever; a memory zone frees them, but is not safe for threads.
        with self._lock, self._pipeline.memory_zone():
            document = self._pipeline.make_doc(text)
            words = [token.text for token in document if not (token.is_space or token.is_punct)]
            rows = [(word, self._vector(word)) for word in words[: self.config.max_words]]
        return [(word, row) for word, row in rows if row is not None]

    def _vector(self, word: str) -> npt.NDArray[np.float32] | None:
        vocab = self._pipeline.vocab
        known = [word] if vocab.has_vector(word) else [character for character in word if vocab.has_vector(character)]
        if not known:
            return None
        vectors = np.stack([np.asarray(vocab.get_vector(key), dtype=np.float32) for key in known])
        mean: npt.NDArray[np.float32] = vectors.mean(axis=0)
        return mean


def _pipeline_of_table(directory: Path) -> Language:
    # jieba writes its dictionary cache into the shared temporary folder unless told otherwise.
    jieba.dt.tmp_dir = str(_writable(directory))
    jieba.setLogLevel("ERROR")
    pipeline = spacy.blank("zh", config={"nlp": {"tokenizer": {"segmenter": "jieba"}}})
    row_of_word: dict[str, int] = json.loads((directory / "word2vec.w2i").read_text(encoding="utf-8"))
    with (directory / "word2vec.ann").open("rb") as table:
        records = np.fromfile(table, dtype=_RECORD, count=len(row_of_word))
    words = sorted(row_of_word, key=row_of_word.__getitem__)
    vectors = np.ascontiguousarray(records["vector"][[row_of_word[word] for word in words]])
    pipeline.vocab.vectors = Vectors(strings=pipeline.vocab.strings, data=vectors, keys=words, name="word2vec")
    return pipeline


def _writable(directory: Path) -> Path:
    probe = directory / ".writable"
    try:
        probe.touch()
        probe.unlink()
    except OSError:
        return Path(tempfile.gettempdir())
    return directory
