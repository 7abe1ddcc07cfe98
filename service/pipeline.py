"""The stages joined: utterances of many requests share the batches of recognition and fusion."""

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from model.audio import Recording
from model.features import Array, Features
from model.recognizer import EmotionRecognizer, JudgedUtterance, Recognition
from model.segment import Utterance
from model.speech import Transcript
from service.batching import Batcher, BatchFacts
from service.budget import Budget
from service.decoding import Decoder
from service.settings import Settings
from service.traces import stage_span
from service.waiting_line import Done

Item = TypeVar("Item")
Result = TypeVar("Result")

_MAX_FEATURE_WORKERS: Final = 4
"""Half of the work is Python, under one lock: more threads would only wait."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Heard:
    utterance: Utterance
    transcript: Transcript
    lower_layers: Array | None


class Pipeline:
    """decode -> vad -> asr -> features -> fusion, each a bounded stage with threads of its own.

    Bundles that read lower layers of Whisper have a stage for them beside asr: neither waits for the other.
    """

    def __init__(
        self,
        recognizer: EmotionRecognizer,
        *,
        decoder: Decoder,
        settings: Settings,
        threads: int,
        on_batch: Callable[[BatchFacts], None] = lambda _: None,
    ) -> None:
        self._recognizer = recognizer
        self._settings = settings
        self._on_batch = on_batch
        requests, utterances = settings.max_concurrent_requests, settings.max_queue_utterances
        decoders = settings.max_concurrent_decodes
        self._decode = self._alone("decode", decoder.decode, max_queue=requests, workers=decoders)
        self._vad = self._alone("vad", self._utterances, max_queue=requests, workers=decoders)
        self._asr: Batcher[Array, Transcript] = Batcher(
            recognizer.transcribe_batch,
            name="asr",
            key=recognizer.bucket_of,
            max_batch_size=settings.max_batch_asr_utterances,
            max_queue=utterances,
            workers=recognizer.speech_workers,
            on_batch=on_batch,
        )
        self._lower_layers: Batcher[Array, Array | None] | None = None
        if recognizer.reads_lower_layers:
            self._lower_layers = self._alone(
                "lower_layers", recognizer.lower_layers, max_queue=utterances, workers=recognizer.speech_workers
            )
        # Who has passed recognition is let through: all that may be under way fits.
        backlog = utterances + requests * settings.max_utterances
        extractors = min(threads, _MAX_FEATURE_WORKERS)
        self._features = self._alone("features", self._features_of, max_queue=backlog, workers=extractors)
        self._fusion: Batcher[Features, Array] = Batcher(
            recognizer.classify,
            name="fusion",
            max_batch_size=settings.max_batch_fusion_utterances,
            max_queue=backlog,
            on_batch=on_batch,
        )

    @property
    def stages(self) -> tuple[Batcher[Any, Any], ...]:
        """The stages in the order that a request passes them."""
        beside = (self._lower_layers,) if self._lower_layers is not None else ()
        return (self._decode, self._vad, self._asr, *beside, self._features, self._fusion)

    async def recognize(self, upload: bytes, budget: Budget) -> Recognition:
        """Go the whole way for one recording.

        Raises:
            AudioError: the recording cannot be used.
            ServingError: a queue is full, the caller is gone or out of time, or a stage failed.
        """
        clock = _StageClock()
        with clock.stage("decode", 1):
            (recording,) = clock.values(await self._decode.submit_many([upload], budget=budget))
        del upload  # up to max_upload_bytes that nobody reads again
        with clock.stage("vad", 1):
            (utterances,) = clock.values(await self._vad.submit_many([recording], budget=budget))
        with clock.stage("asr", len(utterances)):
            heard = await self._heard(utterances, clock, budget)
        spoken = [index for index, one in enumerate(heard) if one.transcript.status != "no_speech"]
        with clock.stage("features", len(spoken)):
            features = clock.values(await self._features.submit_many([heard[k] for k in spoken], budget=budget))
        with clock.stage("fusion", len(spoken)):
            rows = clock.values(await self._fusion.submit_many(features, budget=budget))
        probabilities = dict(zip(spoken, rows, strict=True))
        seen = dict(zip(spoken, features, strict=True))
        judged = [
            JudgedUtterance(
                utterance=one.utterance,
                transcript=one.transcript,
                probabilities=probabilities.get(index),
                features=seen.get(index),
            )
            for index, one in enumerate(heard)
        ]
        return self._recognizer.summarise(recording, judged, timings_ms=clock.timings_ms())

    async def _heard(self, utterances: Sequence[Utterance], clock: "_StageClock", budget: Budget) -> list[_Heard]:
        """Transcribe, and compute the lower layers meanwhile where they are read."""
        samples = [utterance.samples for utterance in utterances]
        lower_layers: list[Array | None] = [None] * len(samples)
        if self._lower_layers is None:
            transcripts = clock.values(await self._asr.submit_many(samples, budget=budget))
        else:
            beside = asyncio.ensure_future(self._lower_layers.submit_many(samples, budget=budget))
            try:
                transcripts = clock.values(await self._asr.submit_many(samples, budget=budget))
                lower_layers = clock.values(await beside)
            finally:
                # Where recognition was refused nobody reads them; withdrawn, they are not begun.
                beside.cancel()
                await asyncio.wait({beside})
        return [
            _Heard(utterance=utterance, transcript=transcript, lower_layers=lower)
            for utterance, transcript, lower in zip(utterances, transcripts, lower_layers, strict=True)
        ]

    def close(self, *, drain_seconds: float = 0.0) -> None:
        """Finish what is under way within ``drain_seconds``, first stage first, and refuse the rest."""
        deadline = time.monotonic() + drain_seconds
        for stage in self.stages:
            stage.close(drain_seconds=max(0.0, deadline - time.monotonic()))

    def _alone(
        self, name: str, work: Callable[[Item], Result], *, max_queue: int, workers: int
    ) -> Batcher[Item, Result]:
        """A stage that gains nothing from a batch: its work is per item, and threads share it."""
        return Batcher(
            lambda items: [work(item) for item in items],
            name=name,
            max_batch_size=1,
            max_queue=max_queue,
            workers=workers,
            on_batch=self._on_batch,
        )

    def _utterances(self, recording: Recording) -> list[Utterance]:
        return self._recognizer.utterances(recording, max_utterances=self._settings.max_utterances)

    def _features_of(self, heard: _Heard) -> Features:
        return self._recognizer.features(heard.utterance.samples, heard.transcript, heard.lower_layers)


class _StageClock:
    """Splits a request's time into work of each stage and waiting: the parts add up to the total."""

    def __init__(self) -> None:
        self._start = self._last = time.monotonic()
        self._spans: list[tuple[float, float]] = []
        self._work: dict[str, float] = {}
        self._queue = 0.0

    @contextmanager
    def stage(self, name: str, items: int) -> Iterator[None]:
        """Cover a stage: the time in which any of the request's items was worked on is its work."""
        self._spans = []
        with stage_span(name, items=items) as span:
            yield
            now = time.monotonic()
            work = min(_covered(self._spans), now - self._last)
            self._work[name] = work
            self._queue += now - self._last - work
            self._last = now
            span.set_attribute("vcemo.work_ms", work * 1000)

    def values(self, results: Sequence[Done[Result]]) -> list[Result]:
        """Return the results of workers, and remember when these were at work."""
        self._spans += [(done.started, done.ended) for done in results]
        return [done.value for done in results]

    def timings_ms(self) -> Mapping[str, float]:
        """Milliseconds of every stage, ``queue`` and ``total``."""
        parts = self._work | {"queue": self._queue, "total": time.monotonic() - self._start}
        return {name: seconds * 1000 for name, seconds in parts.items()}


def _covered(spans: Iterable[tuple[float, float]]) -> float:
    """Length of the union of spans."""
    covered, reached = 0.0, float("-inf")
    for started, ended in sorted(spans):
        covered += max(0.0, ended - max(started, reached))
        reached = max(reached, ended)
    return covered
