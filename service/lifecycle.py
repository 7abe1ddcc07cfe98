"""Loading, readiness and the end: what the routes find behind them."""

import asyncio
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Literal

from model.assets import AssetStore
from model.bundle import NETWORK_FILE, sha256_of
from model.errors import NotReady, Overloaded
from model.processors import one_blas_thread, usable_processors
from model.recognizer import EmotionRecognizer, Recognition
from service.decoding import Decoder
from service.duplicates import Duplicates
from service.metrics import Metrics
from service.pipeline import Pipeline
from service.settings import Settings

logger = logging.getLogger(__name__)

State = Literal["loading", "ready", "draining", "failed"]


class Service:
    """The pipeline and whether it may be used; everything else hangs off the application's state."""

    def __init__(self, settings: Settings, *, recognizer: EmotionRecognizer | None = None) -> None:
        self.settings = settings
        self.metrics = Metrics()
        self.recognizer = recognizer
        self.duplicates: Duplicates[Recognition] = Duplicates(on_joined=self.metrics.duplicates.inc)
        self._decoder: Decoder | None = None
        self._pipeline: Pipeline | None = None
        self._loading: asyncio.Task[None] | None = None
        self._is_draining = False
        self._num_in_flight = 0
        self.network_sha256 = ""

    @property
    def state(self) -> State:
        """Where the service stands in its life."""
        if self._is_draining:
            return "draining"
        if self._pipeline is not None:
            return "ready"
        return "failed" if self.failure else "loading"

    @property
    def failure(self) -> BaseException | None:
        """Why loading failed, if it did."""
        task = self._loading
        return task.exception() if task is not None and task.done() and not task.cancelled() else None

    def start(self) -> None:
        """Begin to load; the event loop answers probes meanwhile."""
        self._loading = asyncio.create_task(self._load())

    def begin_drain(self) -> None:
        """Tell load balancers to send no more; what comes all the same is still served."""
        self._is_draining = True
        self.metrics.ready.set(0)
        logger.info("draining", extra={"facts": {"in_flight": self._num_in_flight}})

    async def stop(self) -> None:
        """Finish or refuse what is left, and end the worker threads."""
        if self._loading is not None:
            self._loading.cancel()
        self._is_draining = True
        if self._pipeline is not None:
            # uvicorn has already waited for the requests; only batches whose callers are gone remain.
            await asyncio.to_thread(self._pipeline.close, drain_seconds=min(5.0, self.settings.drain_seconds))
        if self._decoder is not None:
            await asyncio.to_thread(self._decoder.close)
        logger.info("stopped")

    def require_loaded(self) -> EmotionRecognizer:
        """Return the recogniser.

        Raises:
            NotReady: it is not loaded yet, or could not be.
        """
        if self._pipeline is None or self.recognizer is None:
            raise self._not_ready()
        return self.recognizer

    def require_ready(self) -> None:
        """Return if recordings are welcome.

        Raises:
            NotReady: the service is loading, draining, or could not be loaded.
        """
        if self.state != "ready":
            raise self._not_ready()

    def require_alive(self) -> None:
        """Return unless a worker is stuck.

        Raises:
            NotReady: a stage has worked on one batch for longer than any batch should take.
        """
        limit = self.settings.max_batch_seconds
        for stage in self._pipeline.stages if self._pipeline else ():
            if stage.busy_seconds > limit:
                raise NotReady(f"stage {stage.name} is stuck", value=round(stage.busy_seconds), limit=limit)

    @contextmanager
    def admitted(self) -> Iterator[Pipeline]:
        """Hold one of the places for a recording.

        Raises:
            NotReady: nothing is loaded yet.
            Overloaded: every place is taken.
        """
        if self._pipeline is None:
            raise self._not_ready()
        limit = self.settings.max_concurrent_requests
        if self._num_in_flight >= limit:
            raise Overloaded("every place for a recording is taken", value=self._num_in_flight, limit=limit)
        self._num_in_flight += 1
        self.metrics.in_flight.set(self._num_in_flight)
        try:
            yield self._pipeline
        finally:
            self._num_in_flight -= 1
            self.metrics.in_flight.set(self._num_in_flight)

    def _not_ready(self) -> NotReady:
        return NotReady(f"the service is not ready: {self.state}", value=self.state)

    async def _load(self) -> None:
        threads = self.settings.threads or usable_processors()
        # First, for its processes start while the rest is loaded.
        self._decoder = Decoder.from_settings(self.settings, on_worker_lost=self.metrics.decode_worker_lost)
        if self.recognizer is None:
            self.recognizer = await asyncio.to_thread(_load_recognizer, self.settings, threads)
        network = self.recognizer.bundle.directory / NETWORK_FILE
        self.network_sha256 = await asyncio.to_thread(sha256_of, network)
        self.metrics.bundle_loaded(self.recognizer.bundle.facts)
        await asyncio.to_thread(self._decoder.warm_up)
        self._pipeline = Pipeline(
            self.recognizer,
            decoder=self._decoder,
            settings=self.settings,
            threads=threads,
            on_batch=self.metrics.batch_ended,
        )
        for stage in self._pipeline.stages:
            self.metrics.watch_queue(stage.name, partial(getattr, stage, "depth"))
        self.metrics.ready.set(1)
        logger.info("ready", extra={"facts": {"bundle": self.recognizer.bundle.facts.name, "threads": threads}})


def _load_recognizer(settings: Settings, threads: int) -> EmotionRecognizer:
    started = time.monotonic()
    one_blas_thread()
    logger.info("loading the bundle and its pre-trained parts", extra={"facts": {"bundle": str(settings.bundle)}})
    recognizer = EmotionRecognizer.load(
        settings.bundle,
        assets=AssetStore(settings.cache),
        threads=threads,
        device=settings.device,
        compute_type=settings.compute_type or None,
    )
    loaded = time.monotonic()
    logger.info("golden features matched, warming up", extra={"facts": {"seconds": round(loaded - started, 1)}})
    recognizer.warm_up()
    difference = recognizer.check_golden_audio()
    facts = {"seconds": round(time.monotonic() - loaded, 1), "difference": round(difference, 4)}
    logger.info("golden recording matched", extra={"facts": facts})
    return recognizer
