"""What the network saw of the utterances judged last, in bounded memory: what a correction may still refer to."""

import mmap
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from model.bundle import BundleFacts
from model.features import Features
from model.recognizer import JudgedUtterance

_OVERHEAD_BYTES: Final = 2048
"""Of an entry's Python objects, about."""
_HALVED: Final = ("mel", "states", "words")


@dataclass(frozen=True, kw_only=True, slots=True)
class JudgedSegment:
    """One utterance as it was judged. samples: (samples,) int16 at 16 kHz, where sound is kept."""

    request_id: str
    segment_id: str
    facts: BundleFacts
    predicted: str
    confidence: float
    transcript_status: str
    seconds: float
    features: Features
    samples: npt.NDArray[np.int16] | None

    @property
    def num_bytes(self) -> int:
        """About how much memory it takes."""
        arrays = [getattr(self.features, name) for name in (*_HALVED, "sentence")]
        if self.features.ngrams is not None:
            arrays += [self.features.ngrams.buckets, self.features.ngrams.weights]
        return _OVERHEAD_BYTES + sum(int(array.nbytes) for array in (*arrays, self.samples) if array is not None)


class RecentSegments:
    """Keeps the newest segments that fit into ``max_bytes``; nothing is allocated before there are any."""

    def __init__(self, *, max_bytes: int, keeps_audio: bool) -> None:
        self._max_bytes = max_bytes
        self._keeps_audio = keeps_audio
        self._lock = threading.Lock()
        self._segments: OrderedDict[tuple[str, str], JudgedSegment] = OrderedDict()
        self.num_bytes = 0

    def __len__(self) -> int:
        """Count the segments that are known."""
        return len(self._segments)

    def remember(self, request_id: str, judged: Sequence[JudgedUtterance], *, facts: BundleFacts) -> None:
        """Keep every utterance that was judged, and forget the oldest in exchange. facts: of the bundle that judged."""
        for segment in _segments_of(request_id, judged, facts, keeps_audio=self._keeps_audio):
            self._add(segment)

    def find(self, request_id: str, segment_id: str) -> JudgedSegment | None:
        """Return a segment, None where it is not known or no more."""
        with self._lock:
            return self._segments.get((request_id, segment_id))

    def _add(self, segment: JudgedSegment) -> None:
        key = segment.request_id, segment.segment_id
        with self._lock:
            self._drop(self._segments.pop(key, None))
            self._segments[key] = segment
            self.num_bytes += segment.num_bytes
            while self.num_bytes > self._max_bytes:
                self._drop(self._segments.popitem(last=False)[1])

    def _drop(self, segment: JudgedSegment | None) -> None:
        if segment is not None:
            self.num_bytes -= segment.num_bytes


def _segments_of(
    request_id: str, judged: Sequence[JudgedUtterance], facts: BundleFacts, *, keeps_audio: bool
) -> Iterator[JudgedSegment]:
    for one in judged:
        if one.probabilities is None or one.features is None:
            continue
        best = int(one.probabilities.argmax())
        yield JudgedSegment(
            request_id=request_id,
            segment_id=one.utterance.id,
            facts=facts,
            predicted=facts.labels[best],
            confidence=float(one.probabilities[best]),
            transcript_status=one.transcript.status,
            seconds=one.utterance.seconds,
            features=_in_half(one.features),
            samples=_in_16_bits(one) if keeps_audio else None,
        )


def _in_half(features: Features) -> Features:
    """Copy what is kept: a view would hold on to the batch that it was cut from."""
    halved: dict[str, Any] = {name: _apart(rows) for name in _HALVED if (rows := getattr(features, name)) is not None}
    sentence = None if features.sentence is None else features.sentence.copy()
    return replace(features, **halved, sentence=sentence, speaker=None)


def _apart(rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float16]:
    """Copy in half precision, outside of the heap: there it would lie between what stages free, and keep it from us."""
    kept: npt.NDArray[np.float16] = np.frombuffer(mmap.mmap(-1, max(1, 2 * rows.size)), np.float16, rows.size)
    kept = kept.reshape(rows.shape)
    kept[...] = rows
    return kept


def _in_16_bits(one: JudgedUtterance) -> npt.NDArray[np.int16]:
    scaled: npt.NDArray[np.int16] = np.clip(np.round(one.utterance.samples * 32767), -32768, 32767).astype(np.int16)
    return scaled
