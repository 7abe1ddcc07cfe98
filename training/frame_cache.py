"""Examples in, the same examples as a comparison system hears them out; kept beside the features, a file a clip.

A file a clip, for every table reads another choice of them.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, fields, replace
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from rich.progress import Progress

from model.audio import decode_audio
from model.segment import find_utterances
from model.spans import SegmentConfig
from model.whole_file import whole_file
from model.words import WordVectors
from training.audio_encoder import AudioEncoder
from training.collation import HeardFeatures
from training.corpora.paired import PAIRED
from training.feature_cache import Example
from training.frames import Array, FrameConfig, frames_of, prosody_of
from training.word_times import WordAligner, proportional_spans

_VERSION: Final = 1


class FrameCache:
    """Computes or recalls the frames, prosody and word times of utterances whose features are known."""

    def __init__(
        self,
        *,
        config: FrameConfig,
        segment: SegmentConfig,
        cache: Path,
        load_words: Callable[[], WordVectors],
        load_aligner: Callable[[], WordAligner],
        load_encoder: Callable[[], AudioEncoder],
    ) -> None:
        self._config = config
        self._segment = segment
        self._folder = cache / "frames"
        # Loaded when first needed: what is cached needs none of them.
        self._load_words = load_words
        self._load_aligner = load_aligner
        self._load_encoder = load_encoder

    @cached_property
    def _words(self) -> WordVectors:
        return self._load_words()

    @cached_property
    def _aligner(self) -> WordAligner:
        return self._load_aligner()

    @cached_property
    def _encoder(self) -> AudioEncoder:
        return self._load_encoder()

    def heard(self, examples: Sequence[Example], progress: Progress | None = None) -> list[Example]:
        """Return the examples, each with its own frames for the mel; a clip's utterances stand together."""
        clips = [list(some) for _, some in groupby(examples, key=lambda example: example.clip.key)]
        task = progress.add_task(f"frames, {self._config.kind}", total=len(clips)) if progress is not None else None
        found: list[Example] = []
        for utterances in clips:
            found += self._of_clip(utterances)
            if progress is not None and task is not None:
                progress.advance(task)
        return found

    def _of_clip(self, examples: Sequence[Example]) -> Iterator[Example]:
        path = self._path(examples)
        if not path.is_file():
            _save(path, list(self._computed(examples)))
        # Read back even when new: what is trained on does not depend on whether it was cached.
        with np.load(path, allow_pickle=False) as file:
            columns = {name: file[name] for name in file.files}
        for index, example in enumerate(examples):
            of_utterance = (columns[f"{name}_{index}"] for name in ("frames", "prosody", "spans"))
            yield replace(example, features=self._features(example, *of_utterance))

    def _features(self, example: Example, frames: Array, prosody: Array, spans: Array) -> HeardFeatures:
        given = {each.name: getattr(example.features, each.name) for each in fields(example.features)}
        given |= {"mel": frames} if self._config.kind != "log_mel" or self._config.average > 1 else {}
        given |= {"prosody": prosody} if self._config.prosody else {}
        given |= {"word_spans": spans} if self._config.word_times and example.features.words is not None else {}
        return HeardFeatures(**given)

    def _computed(self, examples: Sequence[Example]) -> Iterator[tuple[Array, Array, Array]]:
        audio = examples[0].clip.audio
        assert audio is not None
        found = find_utterances(decode_audio(audio), config=self._segment)
        utterances = [utterance.samples for utterance in found if np.any(utterance.samples)]
        assert len(utterances) == len(examples), f"{examples[0].clip.key} has been cut otherwise"
        for example, samples in zip(examples, utterances, strict=True):
            encodes = self._config.kind == "encoder"
            frames = self._encoder.frames(samples) if encodes else frames_of(samples, self._config)
            prosody = prosody_of(samples) if self._config.prosody else np.zeros(0, np.float32)
            yield frames, prosody, self._spans(example, samples)

    def _spans(self, example: Example, samples: Array) -> Array:
        if not self._config.word_times or example.features.words is None:
            return np.zeros((0, 2), np.float32)
        words = self._words.known_words(example.transcript)
        if example.transcript_status == PAIRED:
            return proportional_spans(words)
        return self._aligner.spans(samples, example.transcript, words)

    def _path(self, examples: Sequence[Example]) -> Path:
        said = [
            [example.transcript, example.transcript_status] if self._config.word_times else [] for example in examples
        ]
        document = {
            "version": _VERSION,
            "config": asdict(self._config),
            "segment": asdict(self._segment),
            "clip": _of_file(examples[0].clip.audio),
            "said": said,
        }
        digest = hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()
        return self._folder / self._config.kind / f"{digest[:24]}.npz"


def _of_file(path: Path | None) -> tuple[str, int]:
    assert path is not None, "texts alone are not heard"
    return str(path.absolute()), path.stat().st_mtime_ns


def _save(path: Path, utterances: Sequence[tuple[Array, Array, Array]]) -> None:
    """Write the utterances of a clip, whole or not at all; frames are kept in half precision."""
    columns: dict[str, npt.NDArray[Any]] = {}
    for index, (frames, prosody, spans) in enumerate(utterances):
        columns[f"frames_{index}"] = frames.astype(np.float16)
        columns[f"prosody_{index}"], columns[f"spans_{index}"] = prosody, spans
    with whole_file(path) as part, part.open("wb") as file:
        np.savez(file, allow_pickle=False, **columns)
