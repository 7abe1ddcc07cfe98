"""Bundle versions as they are served: the newest, and those that requests in flight still end on."""

import asyncio
import gc
import logging
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Final

from model.bundle import BundleFacts
from model.heap import return_free_memory
from model.processors import let_answering_go_first
from model.recognizer import EmotionRecognizer, Recognition
from service.batching import Batcher
from service.budget import Budget
from service.decoding import Decoder
from service.drift import Drift
from service.duplicates import Duplicates
from service.metrics import Metrics
from service.options import Options
from service.pipeline import Pipeline
from service.settings import Settings

logger = logging.getLogger(__name__)

_ABANDONED_SECONDS: Final = 5.0
"""For batches whose callers are gone: whoever waits has been waited for before."""
_STUCK_LOOK_SECONDS: Final = 1.0
_MEMORY_SECONDS: Final = 60.0


class Edition:
    """One bundle version: what judges, what waits before it, and how many need it."""

    def __init__(
        self, recognizer: EmotionRecognizer, *, decoder: Decoder, settings: Settings, threads: int, metrics: Metrics
    ) -> None:
        self.recognizer = recognizer
        self.drift = Drift(recognizer.bundle.facts)
        self.pipeline = Pipeline(
            recognizer, decoder=decoder, settings=settings, threads=threads, on_batch=metrics.batch_ended
        )
        # Of this version alone: nobody joins work that another version does.
        self._duplicates: Duplicates[Recognition] = Duplicates(on_joined=metrics.duplicates.inc)
        self._num_holders = 0
        self._is_unused = asyncio.Event()
        self._is_unused.set()

    @property
    def facts(self) -> BundleFacts:
        """What the bundle says of itself."""
        return self.recognizer.bundle.facts

    @property
    def stages(self) -> tuple[Batcher[Any, Any], ...]:
        """The stages of its pipeline."""
        return self.pipeline.stages

    @contextmanager
    def held(self) -> Iterator["Edition"]:
        """Need this version: it does not end meanwhile."""
        self._num_holders += 1
        self._is_unused.clear()
        try:
            yield self
        finally:
            self._num_holders -= 1
            if not self._num_holders:
                self._is_unused.set()

    def judge(self, upload: bytes, budget: Budget, options: Options = Options()) -> Coroutine[Any, Any, Recognition]:
        """Go the whole way for one recording, or join who brought the same; raises as the pipeline does."""
        recognize = partial(self.pipeline.recognize, options=options)
        return self._duplicates.once(upload, recognize, budget=budget, variant=options)

    async def unused(self) -> None:
        """Wait until nobody needs it."""
        await self._is_unused.wait()

    async def close(self, *, drain_seconds: float) -> None:
        """End its threads, without holding up the event loop."""
        await asyncio.to_thread(self.pipeline.close, drain_seconds=drain_seconds)

    @property
    def busy_seconds(self) -> float:
        """How long the oldest of its batches has been worked on; zero when idle."""
        return max(stage.busy_seconds for stage in self.stages)


class Editions:
    """The version that new requests go to, beside earlier ones until they are empty."""

    def __init__(self, *, settings: Settings, threads: int, metrics: Metrics) -> None:
        self.current: Edition | None = None
        self._settings = settings
        self._threads = threads
        self._metrics = metrics
        self._retiring: dict[Edition, asyncio.Task[None]] = {}
        self._watched: set[str] = set()

    @property
    def retiring(self) -> tuple[Edition, ...]:
        """Earlier versions that have not ended."""
        return tuple(self._retiring)

    @property
    def stages(self) -> tuple[Batcher[Any, Any], ...]:
        """The stages of every version."""
        return tuple(stage for edition in self._all() for stage in edition.stages)

    def serve(self, recognizer: EmotionRecognizer, *, decoder: Decoder) -> None:
        """Send new requests to a verified and warm recogniser; the version before ends once nobody needs it."""
        edition = Edition(
            recognizer, decoder=decoder, settings=self._settings, threads=self._threads, metrics=self._metrics
        )
        let_answering_go_first()  # now, for loading is not to be slow
        gc.freeze()  # a collector that looks through all that was loaded holds up every answer for a tenth of a second
        before, self.current = self.current, edition
        if before is not None:
            self._retiring[before] = asyncio.create_task(self._retire(before))
        self._metrics.bundle_loaded(edition.facts)
        self._watch_queues()

    async def give_back_memory(self) -> None:
        """Give back what was freed, again and again: what batches of rare sizes have left would add up over days."""
        while True:
            await asyncio.sleep(_MEMORY_SECONDS)
            await asyncio.to_thread(return_free_memory)

    async def close(self, *, drain_seconds: float) -> None:
        """Finish or refuse what is left, and end every thread."""
        for task in self._retiring.values():
            task.cancel()
        await asyncio.gather(*(edition.close(drain_seconds=drain_seconds) for edition in self._all()))

    def _all(self) -> tuple[Edition, ...]:
        return (*self._retiring, *([self.current] if self.current is not None else []))

    async def _retire(self, edition: Edition) -> None:
        # It comes to an end: every request has a deadline, and a job a longest recording.
        await edition.unused()
        await edition.close(drain_seconds=min(_ABANDONED_SECONDS, self._settings.drain_seconds))
        # A thread that is stuck keeps its version in sight, so that liveness turns red.
        while edition.busy_seconds:
            await asyncio.sleep(_STUCK_LOOK_SECONDS)
        del self._retiring[edition]
        self._watch_queues()
        version = edition.facts.version
        del edition  # the network's memory goes with it, but for what hangs together in circles
        gc.unfreeze()
        gc.collect()
        gc.freeze()
        await asyncio.to_thread(return_free_memory)
        logger.info("retired", extra={"facts": {"version": version}})

    def _watch_queues(self) -> None:
        names = {stage.name for stage in self.stages}
        for name in names - self._watched:
            self._metrics.watch_queue(name, partial(self._depth, name))
        for name in self._watched - names:
            self._metrics.forget_queue(name)
        self._watched = names

    def _depth(self, name: str) -> float:
        return sum(stage.depth for stage in self.stages if stage.name == name)
