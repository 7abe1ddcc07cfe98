"""The stages joined: utterances of many requests share the batches of recognition and fusion."""

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from model.audio import Recording
from model.errors import InvalidOption
from model.features import Array, Features
from model.recognizer import EmotionRecognizer, JudgedUtterance, Recognition, heard_in
from model.segment import Utterance
from model.speaker import Conversation
from model.speech import Transcript
from service.batching import Batcher, BatchFacts
from service.budget import Budget
from service.decoding import Decoder
from service.options import Options
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
    may_judge: bool

    @property
    def is_to_be_judged(self) -> bool:
        return self.may_judge and self.transcript.status != "no_speech"


@dataclass(frozen=True, kw_only=True, slots=True)
class HeardUtterance:
    """What was said in an utterance, and what the network sees of it: None where nobody speaks, or nobody judges."""

    utterance: Utterance
    transcript: Transcript
    features: Features | None


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
        # Beside the search for speech in recordings, behind which a call that goes on would fall back.
        self._listening = self._alone("listening", _run, max_queue=max(1, 2 * settings.max_live_calls), workers=1)
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
        return (self._decode, self._vad, self._listening, self._asr, *beside, self._features, self._fusion)

    async def recognize(self, upload: bytes, budget: Budget, options: Options = Options()) -> Recognition:
        """Go the whole way for one recording.

        Raises:
            AudioError: the recording cannot be used.
            InvalidOption: the bundle cannot do what is asked for.
            ServingError: a queue is full, the caller is gone or out of time, or a stage failed.
        """
        clock = StageClock()
        with clock.stage("decode", 1):
            (recording,) = clock.values(await self._decode.submit_many([upload], budget=budget))
        del upload  # up to max_upload_bytes that nobody reads again
        with clock.stage("vad", 1):
            (utterances,) = clock.values(await self._vad.submit_many([recording], budget=budget))
        num_channels = len(recording.samples)
        conversation = self.conversation(options, num_channels)
        judged = await self.judge(
            utterances,
            budget,
            may_judge=[options.roles.may_judge(role) for role in options.roles.of_channels(num_channels)],
            conversation=conversation,
            clock=clock,
        )
        return self._recognizer.summarise(recording, judged, timings_ms=clock.timings_ms())

    def conversation(self, options: Options, num_channels: int) -> Conversation | None:
        """Begin a call, where its channels' utterances are to be judged beside each other.

        Raises:
            InvalidOption: that is asked for, and the bundle cannot.
        """
        if self._recognizer.bundle.adapts_to_speakers:
            return Conversation() if options.adapts(num_channels) else None
        if options.adapt:
            raise InvalidOption("this bundle does not adapt to speakers", value=options.adapt)
        return None

    async def judge(
        self,
        utterances: Sequence[Utterance],
        budget: Budget,
        *,
        may_judge: Sequence[bool],
        conversation: Conversation | None,
        clock: "StageClock",
    ) -> list[JudgedUtterance]:
        """Transcribe and judge utterances in order of time.

        may_judge: of each channel: where not, nothing but the transcript is computed. conversation: what was heard of
            each channel before, to which these utterances are added; None judges each alone.

        Raises:
            ServingError: a queue is full, the caller is gone or out of time, or a stage failed.
        """
        with clock.stage("asr", len(utterances)):
            heard = await self._heard(utterances, may_judge, clock, budget)
        spoken = [index for index, one in enumerate(heard) if one.is_to_be_judged]
        with clock.stage("features", len(spoken)):
            features = clock.values(await self._features.submit_many([heard[k] for k in spoken], budget=budget))
            if conversation is not None:
                channels = [heard[index].utterance.channel for index in spoken]
                features = await asyncio.to_thread(_acquainted, conversation, features, channels)
        with clock.stage("fusion", len(spoken)):
            rows = clock.values(await self._fusion.submit_many(features, budget=budget))
        probabilities = dict(zip(spoken, rows, strict=True))
        seen = dict(zip(spoken, features, strict=True))
        return [
            JudgedUtterance(
                utterance=one.utterance,
                transcript=one.transcript,
                probabilities=probabilities.get(index),
                judged=one.may_judge,
                features=seen.get(index),
            )
            for index, one in enumerate(heard)
        ]

    async def listen(self, work: Callable[[], Result], budget: Budget) -> Result:
        """Have a piece of a live call heard: voice activity, in a thread of its own.

        Raises:
            ServingError: as :meth:`recognize`.
        """
        return (await self._listening.submit(work, budget=budget)).value  # type: ignore[no-any-return]

    async def hear(self, utterance: Utterance, budget: Budget, *, is_judged: bool) -> HeardUtterance:
        """Transcribe one utterance of a live call and compute what the network sees, beside those of uploads.

        is_judged: without, it is written down only.

        Raises:
            ServingError: as :meth:`recognize`.
        """
        may_judge = [is_judged] * (utterance.channel + 1)
        (heard,) = await self._heard([utterance], may_judge, StageClock(), budget)
        if not heard.is_to_be_judged:
            return HeardUtterance(utterance=utterance, transcript=heard.transcript, features=None)
        features = (await self._features.submit(heard, budget=budget)).value
        return HeardUtterance(utterance=utterance, transcript=heard.transcript, features=features)

    async def classify(self, features: Features, budget: Budget) -> Array:
        """Return calibrated probabilities (labels,) of one utterance of a live call; raises as :meth:`recognize`."""
        return (await self._fusion.submit(features, budget=budget)).value

    @property
    def has_room_to_guess(self) -> bool:
        """Whether nobody waits for recognition, so that it may be spent on what might not be needed."""
        return not self._asr.depth

    async def _heard(
        self, utterances: Sequence[Utterance], may_judge: Sequence[bool], clock: "StageClock", budget: Budget
    ) -> list[_Heard]:
        """Transcribe, and compute the lower layers meanwhile where they are read."""
        samples = [utterance.samples for utterance in utterances]
        to_judge = [index for index, utterance in enumerate(utterances) if may_judge[utterance.channel]]
        lower_layers: dict[int, Array | None] = {}
        if self._lower_layers is None or not to_judge:
            transcripts = clock.values(await self._asr.submit_many(samples, budget=budget))
        else:
            submitted = self._lower_layers.submit_many([samples[index] for index in to_judge], budget=budget)
            beside = asyncio.ensure_future(submitted)
            try:
                transcripts = clock.values(await self._asr.submit_many(samples, budget=budget))
                lower_layers = dict(zip(to_judge, clock.values(await beside), strict=True))
            finally:
                # Where recognition was refused nobody reads them; withdrawn, they are not begun.
                beside.cancel()
                await asyncio.wait({beside})
        return [
            _Heard(
                utterance=utterance,
                transcript=transcript,
                lower_layers=lower_layers.get(index),
                may_judge=may_judge[utterance.channel],
            )
            for index, (utterance, transcript) in enumerate(zip(utterances, transcripts, strict=True))
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


def _run(work: Callable[[], Any]) -> Any:
    return work()


def _acquainted(conversation: Conversation, features: Sequence[Features], channels: Sequence[int]) -> list[Features]:
    """Add what was heard of each speaker up to the utterance's end; in order of time, so nothing is known early."""
    return [heard_in(conversation, one, channel) for one, channel in zip(features, channels, strict=True)]


class StageClock:
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
