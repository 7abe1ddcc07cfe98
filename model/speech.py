"""Whisper over CTranslate2, batched across utterances: text, and the encoder states that emotion reads.

The contract that training and serving stand on: the padded length of an utterance is a function of its
own duration only. CTranslate2's Whisper encoder has no padding mask, so a batch holds one bucket, and no
answer ever depends on batch mates.
"""

import math
import tempfile
import zlib
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, Literal, TypeVar

import ctranslate2
import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from model.audio import SAMPLE_RATE_HZ
from model.encoder_states import averaged, num_states
from model.script import simplified
from model.whisper_spectrum import HOP_SAMPLES, WhisperSpectrum
from model.whisper_vocabulary import NARROWED_LANGUAGE, needed, tokens_of, whole, write_narrowed
from model.whisper_writer import WhisperWriter, Written, first_special

Array = npt.NDArray[np.float32]
Result = TypeVar("Result")
TranscriptStatus = Literal["ok", "no_speech", "low_confidence"]

_WHISPER_SECONDS: Final = 30.0
_HEARD_TOGETHER: Final = 2
"""Utterances whose language is asked for at once on a CPU: of one token, all that takes time is reading the states,
which pairs keep in a core's cache (125 ms for eight, 157 all together), in a quarter of the memory."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SpeechConfig:
    """How utterances are padded, decoded and gated; part of the bundle.

    Whoever changes a field that touches the first pass (asset, language, bucket, tail) re-extracts the
    features, retrains and re-evaluates the bundle.
    """

    asset: str = "whisper-base"
    compute_type: str = "int8"
    language: str = "zh"
    """What is spoken here; the only language whose text counts for emotion."""
    other_languages: tuple[str, ...] = ("en",)
    """Written down as such where Whisper hears one of them sooner than ``language``.

    Forced into Mandarin, it would translate or invent. 900 Mandarin clips and 236 English ones are all told apart.
    """
    bucket_seconds: tuple[float, ...] = (2.0, 4.0, 6.0, 8.0, 12.0, 16.0, 22.0)
    """Speech is rounded up to one of these before the tail is added; longer speech to whole seconds.

    Fine where most utterances are, coarse above: batches stay full, and a batch is what decoding needs.
    """
    tail_seconds: float = 6.0
    """Digital silence after the bucket; with much less, the decoder runs away on short clips."""
    beam_size: int = 5
    max_tokens_base: int = 14
    """Tokens every utterance may have: punctuation and time marks."""
    max_tokens_per_second: float = 10.0
    """Mandarin is spoken at up to 7 characters a second; a decoder that writes more has run away."""
    min_avg_logprob: float = -1.0
    max_compression_ratio: float = 2.4
    max_no_speech_probability: float = 0.6
    states_per_step: int = 4
    """Encoder states (50 a second) averaged into one step of the acoustic branch."""

    def bucket(self, seconds: float) -> float:
        """Round an utterance of ``seconds`` up to its bucket, in seconds of speech."""
        return next((edge for edge in self.bucket_seconds if seconds <= edge), float(math.ceil(seconds)))

    def padded_seconds(self, bucket: float) -> float:
        """Length of the encoder's input for ``bucket``: speech and tail."""
        return min(_WHISPER_SECONDS, bucket + self.tail_seconds)

    def max_tokens(self, bucket: float) -> int:
        """Most tokens an utterance of ``bucket`` seconds may be given."""
        return self.max_tokens_base + math.ceil(self.max_tokens_per_second * bucket)


@dataclass(frozen=True, kw_only=True, slots=True)
class Transcript:
    """What was said, how far to trust it, and what the encoder heard.

    states: (steps, d_model) float32, the first pass over the real frames only, averaged to the step rate.
    """

    text: str
    language: str
    status: TranscriptStatus
    avg_logprob: float
    no_speech_probability: float
    states: Array
    num_tokens: int
    fell_back: bool


class SpeechRecognizer:
    """Whisper with one fixed prompt over batches of one bucket; safe to call from several threads.

    workers: batches that run at the same time. On a CPU each has one thread and they share the weights:
    two batches side by side take little more than half the time of one batch on two threads, whose
    barriers cost more than they save even for a single utterance. Utterances are encoded one by one there, whose
    matrices stay in a core's cache, and decoded together, which reads the weights once for all of them.
    """

    def __init__(
        self, directory: Path, *, config: SpeechConfig = SpeechConfig(), threads: int = 1, device: str = "cpu"
    ) -> None:
        self.config = config
        self.workers = threads if device == "cpu" else 1
        self._encodes_together = device != "cpu"
        load = partial(
            ctranslate2.models.Whisper,
            device=device,
            compute_type=config.compute_type,
            inter_threads=self.workers,
            intra_threads=1,
        )
        self._whisper = load(str(directory))
        tokenizer, tokens = Tokenizer.from_file(str(directory / "tokenizer.json")), tokens_of(directory)
        self._writers = {
            language: WhisperWriter(self._whisper, tokenizer, vocabulary=whole(len(tokens)), language=language)
            for language in (config.language, *config.other_languages)
        }
        if config.language == NARROWED_LANGUAGE:
            narrowed = needed(tokens, first_special=first_special(tokenizer))
            # From files that are gone at once: CTranslate2 keeps what it is given in memory.
            with tempfile.TemporaryDirectory(prefix="vcemo-whisper-") as folder:
                write_narrowed(directory, Path(folder), tokens, narrowed)
                writer = WhisperWriter(load(folder), tokenizer, vocabulary=narrowed, language=config.language)
            self._writers[config.language] = writer
        self._spectrum = WhisperSpectrum(self._whisper.n_mels)
        self._beside = ThreadPoolExecutor(self.workers, thread_name_prefix="language")

    def bucket_of(self, samples: Array) -> float:
        """Bucket of an utterance (samples,); only utterances of one bucket may share a batch."""
        return self.config.bucket(len(samples) / SAMPLE_RATE_HZ)

    def transcribe(
        self,
        utterances: Sequence[Array],
        *,
        max_batch_size: int = 8,
        on_progress: Callable[[int], None] | None = None,
    ) -> list[Transcript]:
        """Transcribe utterances of any length, batching those of one bucket; results in the order given.

        utterances: each (samples,) float32 at 16 kHz.
        """
        return self._side_by_side(utterances, self.transcribe_batch, max_batch_size, on_progress)

    def transcribe_batch(self, utterances: Sequence[Array]) -> list[Transcript]:
        """Transcribe one batch whose utterances (samples,) all fall into one bucket.

        Raises:
            ValueError: the batch mixes buckets.
        """
        bucket = self._one_bucket(utterances)
        encoded = self._encode(utterances, self.config.padded_seconds(bucket))
        languages, decoded = self._decode_in_languages(encoded, bucket)
        doubtful = [index for index, result in enumerate(decoded) if self._has_run_away(result)]
        if doubtful:
            full = self._encode([utterances[index] for index in doubtful], _WHISPER_SECONDS)
            again = self._decode(full, bucket, [languages[index] for index in doubtful])
            for index, result in zip(doubtful, again, strict=True):
                decoded[index] = max(decoded[index], result, key=lambda one: (self._is_trusted(one), one.avg_logprob))
        states = _on_host(encoded)
        return [
            self._transcript(decoded[index], self._steps(states[index], len(samples)), fell_back=index in doubtful)
            for index, samples in enumerate(utterances)
        ]

    def encode(self, utterances: Sequence[Array], *, max_batch_size: int = 8) -> list[Array]:
        """Return only the states (steps, d_model) of the first pass, without decoding text.

        For training on languages other than the configured one, whose transcripts would mean nothing.
        """
        return self._side_by_side(utterances, self._encode_batch, max_batch_size)

    def _encode_batch(self, utterances: Sequence[Array]) -> list[Array]:
        states = _on_host(self._encode(utterances, self.config.padded_seconds(self._one_bucket(utterances))))
        return [self._steps(row, len(samples)) for row, samples in zip(states, utterances, strict=True)]

    def _side_by_side(
        self,
        utterances: Sequence[Array],
        work: Callable[[Sequence[Array]], list[Result]],
        max_batch_size: int,
        on_progress: Callable[[int], None] | None = None,
    ) -> list[Result]:
        buckets = [self.bucket_of(samples) for samples in utterances]
        batches = list(_batches_of_one_bucket(buckets, max_batch_size, self.workers))
        results: dict[int, Result] = {}
        with ThreadPoolExecutor(self.workers) as pool:
            found = pool.map(lambda batch: work([utterances[index] for index in batch]), batches)
            for batch, values in zip(batches, found, strict=True):
                results.update(zip(batch, values, strict=True))
                if on_progress is not None:
                    on_progress(len(batch))
        return [results[index] for index in range(len(utterances))]

    def _one_bucket(self, utterances: Sequence[Array]) -> float:
        buckets = {self.bucket_of(samples) for samples in utterances}
        if len(buckets) != 1:
            raise ValueError(f"a batch holds one bucket; these utterances fall into {sorted(buckets)}")
        return buckets.pop()

    def _encode(self, utterances: Sequence[Array], seconds: float) -> ctranslate2.StorageView:
        num_frames = round(seconds * SAMPLE_RATE_HZ) // HOP_SAMPLES
        spectra = np.stack([self._spectrum(samples, num_frames) for samples in utterances])
        if self._encodes_together or len(spectra) == 1:
            return self._whisper.encode(ctranslate2.StorageView.from_array(spectra))
        alone = [self._whisper.encode(ctranslate2.StorageView.from_array(one[None])) for one in spectra]
        return ctranslate2.StorageView.from_array(np.concatenate([_on_host(one) for one in alone]))

    def _decode_in_languages(self, encoded: ctranslate2.StorageView, bucket: float) -> tuple[list[str], list[Written]]:
        """Decode in the configured language while it is found out who speaks another, and those once more in theirs."""
        expected = [self.config.language] * encoded.shape[0]
        heard = self._beside.submit(self._languages, encoded)
        decoded = self._decode(encoded, bucket, expected)
        languages = heard.result()
        others = [index for index, language in enumerate(languages) if language != self.config.language]
        if others:
            again = self._decode(_rows(encoded, others), bucket, [languages[index] for index in others])
            for index, result in zip(others, again, strict=True):
                decoded[index] = result
        return languages, decoded

    def _languages(self, encoded: ctranslate2.StorageView) -> list[str]:
        """Return the likeliest of the configured languages for each of a batch."""
        if not self.config.other_languages:
            return [self.config.language] * encoded.shape[0]
        heard = [one for part in self._in_parts(encoded) for one in self._whisper.detect_language(part)]
        likelihoods = [{token.strip("<|>"): p for token, p in one} for one in heard]
        return [max(self._writers, key=one.__getitem__) for one in likelihoods]

    def _in_parts(self, encoded: ctranslate2.StorageView) -> Iterable[ctranslate2.StorageView]:
        if self._encodes_together or encoded.shape[0] <= _HEARD_TOGETHER:
            return [encoded]
        states = np.asarray(encoded)  # no copy: it would be made under Python's lock, and callers would wait
        starts = range(0, len(states), _HEARD_TOGETHER)
        return (ctranslate2.StorageView.from_array(states[start : start + _HEARD_TOGETHER]) for start in starts)

    def _decode(self, encoded: ctranslate2.StorageView, bucket: float, languages: Sequence[str]) -> list[Written]:
        decoded: dict[int, Written] = {}
        for language in sorted(set(languages)):
            members = [index for index, one in enumerate(languages) if one == language]
            written = self._writers[language].write(
                encoded if len(members) == len(languages) else _rows(encoded, members),
                beam_size=self.config.beam_size,
                max_tokens=self.config.max_tokens(bucket),
            )
            decoded.update(zip(members, written, strict=True))
        return [decoded[index] for index in range(len(languages))]

    def _is_trusted(self, result: Written) -> bool:
        return result.avg_logprob >= self.config.min_avg_logprob and not self._has_run_away(result)

    def _has_run_away(self, result: Written) -> bool:
        """Whether a second pass may help: nothing was written, or the same over and over."""
        return not result.text or _compression_ratio(result.text) > self.config.max_compression_ratio

    def _steps(self, states: Array, num_samples: int) -> Array:
        """Average the states (frames / 2, d_model) of the real samples into steps (steps, d_model)."""
        return averaged(states[: num_states(num_samples)], states_per_step=self.config.states_per_step)

    def _transcript(self, result: Written, states: Array, *, fell_back: bool) -> Transcript:
        status: TranscriptStatus = "ok" if self._is_trusted(result) else "low_confidence"
        # Into silence, Whisper writes "you" or "Thank you." with confidence.
        is_doubtful = status != "ok" or result.language != self.config.language
        if is_doubtful and result.no_speech_probability > self.config.max_no_speech_probability:
            status = "no_speech"
        return Transcript(
            text=simplified(result.text),
            language=result.language,
            status=status,
            avg_logprob=result.avg_logprob,
            no_speech_probability=result.no_speech_probability,
            states=states,
            num_tokens=result.num_tokens,
            fell_back=fell_back,
        )


def _on_host(encoded: ctranslate2.StorageView) -> Array:
    """Copy encoder states (batch, frames / 2, d_model) out of CTranslate2's memory before the view goes."""
    return np.array(encoded.to_device(ctranslate2.Device.cpu), dtype=np.float32)


def _rows(encoded: ctranslate2.StorageView, rows: Sequence[int]) -> ctranslate2.StorageView:
    return ctranslate2.StorageView.from_array(_on_host(encoded)[list(rows)])


def _compression_ratio(text: str) -> float:
    raw = text.encode()
    return len(raw) / len(zlib.compress(raw))


def _batches_of_one_bucket(buckets: Sequence[float], max_batch_size: int, workers: int) -> Iterable[list[int]]:
    """Group the indices of ``buckets`` into batches of one bucket, as even as the workers can share them.

    The longest come first: a long batch that began last would be waited for alone.
    """
    by_bucket: dict[float, list[int]] = {}
    for index, bucket in enumerate(buckets):
        by_bucket.setdefault(bucket, []).append(index)
    for _, members in sorted(by_bucket.items(), reverse=True):
        rounds = math.ceil(len(members) / (max_batch_size * workers))
        for batch in np.array_split(members, min(len(members), rounds * workers)):
            yield batch.tolist()
