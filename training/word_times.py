"""When each word of an utterance is said: by Whisper's cross-attention, or in proportion where nobody says it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import ctranslate2
import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from model.audio import SAMPLE_RATE_HZ
from model.speech import SpeechConfig
from model.whisper_spectrum import HOP_SAMPLES, WhisperSpectrum
from model.whisper_writer import first_special

Array = npt.NDArray[np.float32]
Floats = npt.NDArray[np.floating[Any]]

_TOKENS_PER_SECOND: Final = 50
_MEDIAN_FILTER_WIDTH: Final = 7


class WordAligner:
    """Whisper's attention from text tokens to sound, through dynamic time warping, as for its word timestamps."""

    def __init__(self, directory: Path, *, config: SpeechConfig, threads: int = 1) -> None:
        """Load the recogniser's weights. directory: of a Whisper in CTranslate2's format, with its alignment heads."""
        self._config = config
        self._whisper = ctranslate2.models.Whisper(
            str(directory), compute_type=config.compute_type, inter_threads=1, intra_threads=threads
        )
        self._tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
        self._spectrum = WhisperSpectrum(self._whisper.n_mels)
        prompt = ("<|startoftranscript|>", f"<|{config.language}|>", "<|transcribe|>")
        self._prompt = [self._tokenizer.token_to_id(token) for token in prompt]
        assert first_special(self._tokenizer) > 0

    def spans(self, samples: Array, text: str, words: Sequence[str]) -> Array:
        """Return start and end (words, 2) of ``words`` as shares of the utterance (samples,).

        text: what is said. words: some of it, in order.
        """
        seconds = len(samples) / SAMPLE_RATE_HZ
        tokens = self._tokenizer.encode(text, add_special_tokens=False).ids
        if not tokens or not words:
            return proportional_spans(words)
        num_frames = min(3000, max(1, round(seconds * SAMPLE_RATE_HZ) // HOP_SAMPLES))
        padded = round(self._config.padded_seconds(self._config.bucket(seconds)) * SAMPLE_RATE_HZ) // HOP_SAMPLES
        spectrum = ctranslate2.StorageView.from_array(self._spectrum(samples, padded)[None])
        found = self._whisper.align(
            self._whisper.encode(spectrum),
            self._prompt,
            [tokens],
            [num_frames],
            median_filter_width=_MEDIAN_FILTER_WIDTH,
        )[0]
        token_at, step_at = np.array(found.alignments).T
        # The steps at which the path moves on to the next token; the last is the end of the text.
        moves = np.flatnonzero(np.diff(token_at, prepend=-1) > 0)
        begins = np.append(step_at[moves] / _TOKENS_PER_SECOND / seconds, 1.0)
        return self._of_words(text, tokens, words, begins)

    def _of_words(
        self,
        text: str,
        tokens: Sequence[int],
        words: Sequence[str],
        begins: Floats,
    ) -> Array:
        # A character of Chinese may be two or three tokens: it belongs to the one that completes it.
        ends = [len(self._tokenizer.decode(tokens[: k + 1]).rstrip("\ufffd")) for k in range(len(tokens))]
        spans: list[list[float]] = []
        position = 0
        for word in words:
            first = max(position, text.find(word, position))
            position = first + len(word)
            start = int(np.searchsorted(ends, first, side="right"))
            end = int(np.searchsorted(ends, position, side="left")) + 1
            spans.append([float(begins[min(edge, len(begins) - 1)]) for edge in (start, end)])
        clipped: Array = np.clip(np.array(spans, dtype=np.float32), 0.0, 1.0)
        return clipped


def proportional_spans(words: Sequence[str]) -> Array:
    """Return start and end (words, 2) of each word as if every character took as long: shares of the utterance."""
    edges = np.cumsum([0, *(max(1, len(word)) for word in words)]) / max(1, sum(max(1, len(word)) for word in words))
    return np.stack([edges[:-1], edges[1:]], axis=1).astype(np.float32)
