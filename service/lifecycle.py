"""The life of the service: loading, readiness, reloading, draining."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from starlette.requests import HTTPConnection

from model.errors import BundleError, NotReady, Overloaded, ReloadUnderWay, VcemoError
from model.processors import usable_processors
from model.recognizer import EmotionRecognizer
from service.aftermath import Aftermath
from service.alerting import Alerting
from service.decoding import Decoder
from service.editions import Edition, Editions
from service.follower import Follower
from service.jobs import Jobs
from service.live_call import CallHooks
from service.live_calls import LiveCalls
from service.loading import allowed_bundle, load_other, load_recognizer
from service.logs import stack_of
from service.metrics import Metrics
from service.settings import Settings
from service.waiting_threads import waiting_threads

logger = logging.getLogger(__name__)

_DELIVERY_SECONDS = 5.0
"""For webhooks that are under way when the service ends."""

State = Literal["loading", "ready", "draining", "failed"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Reloaded:
    """What a reload ended with; ``version`` is served now, and was before where nothing has changed."""

    name: str
    version: str
    previous_version: str
    has_changed: bool
    seconds: float


class Service:
    """What is served and whether it may be used; everything else hangs off the application's state."""

    def __init__(self, settings: Settings, *, recognizer: EmotionRecognizer | None = None) -> None:
        """Read the rules of alerts, and load nothing yet.

        Raises:
            AlertRulesInvalid: there are to be rules, and their file cannot be used.
        """
        self.settings = settings
        self.metrics = Metrics()
        self._threads = settings.threads or usable_processors()
        self.editions = Editions(settings=settings, threads=self._threads, metrics=self.metrics)
        self.alerting = Alerting(settings, metrics=self.metrics)
        self.aftermath = Aftermath(settings, editions=self.editions, metrics=self.metrics)
        self.jobs = Jobs(
            settings,
            edition=self.require_loaded,
            metrics=self.metrics,
            alerting=self.alerting,
            aftermath=self.aftermath,
        )
        hooks = CallHooks(
            on_alert=self.alerting.tell, on_label=self.metrics.live_utterance_judged, on_judged=self.aftermath.see
        )
        self.calls = LiveCalls(settings, editions=self.editions, rules=self.alerting.rules, hooks=hooks)
        self.metrics.watch_live_calls(lambda: self.calls.num_running)
        self._follower: Follower | None = None
        if settings.bundle_store:
            self._follower = Follower(
                settings,
                serve=self.serve_folder,
                shadow=self.aftermath.have_candidate,
                on_looked=lambda code: self.metrics.store_looks.labels(code).inc(),
            )
        self._following: asyncio.Task[None] | None = None
        self._given = recognizer
        self._decoder: Decoder | None = None
        self._loading: asyncio.Task[None] | None = None
        self._tidying: asyncio.Task[None] | None = None
        self._signalled: asyncio.Task[Reloaded] | None = None
        self._is_draining = False
        self._is_reloading = False
        self.num_in_flight = 0
        self.metrics.ready.set_function(self._is_ready)

    @property
    def state(self) -> State:
        """Where the service stands in its life."""
        if self._is_draining:
            return "draining"
        if self.editions.current is not None and self.calls.has_restored:
            return "ready"
        return "failed" if self.failure else "loading"

    @property
    def failure(self) -> BaseException | None:
        """Why loading failed, if it did."""
        task = self._loading
        return task.exception() if task is not None and task.done() and not task.cancelled() else None

    def start(self) -> None:
        """Begin to load; the event loop answers probes meanwhile."""
        asyncio.get_running_loop().set_default_executor(waiting_threads())
        self._loading = asyncio.create_task(self._load())
        self._tidying = asyncio.create_task(self.editions.give_back_memory())

    def begin_drain(self) -> None:
        """Tell load balancers to send no more; what comes all the same is still served."""
        self._is_draining = True
        logger.info("draining", extra={"facts": {"in_flight": self.num_in_flight}})

    async def stop(self) -> None:
        """Finish or refuse what is left, and end the worker threads."""
        for task in (self._loading, self._tidying, self._signalled, self._following):
            if task is not None:
                task.cancel()
        self._is_draining = True
        await self.calls.close()
        await self.alerting.close(seconds=min(_DELIVERY_SECONDS, self.settings.drain_seconds))
        await self.jobs.stop()
        # uvicorn has already waited for the requests; only batches whose callers are gone remain.
        await self.aftermath.close()
        await self.editions.close(drain_seconds=min(5.0, self.settings.drain_seconds))
        if self._decoder is not None:
            await asyncio.to_thread(self._decoder.close)
        logger.info("stopped")

    async def reload(self, asked: str = "") -> Reloaded:
        """Serve another bundle in place of the one that is served; where that fails, this one is served on.

        asked: its path, relative to the folder that the configured bundle lies in; empty reads the configured
        path again, which may be a link that leads elsewhere by now.

        Raises:
            NotReady: nothing is served yet, or the service is shutting down.
            ReloadUnderWay: another one has not ended.
            BundleOutside: the path leaves that folder.
            BundleRefused: the bundle does not verify, lacks a part, or gives other files the version that is served.
        """
        return await self._counted(lambda: allowed_bundle(self.settings.bundle, asked))

    async def serve_folder(self, directory: Path) -> Reloaded:
        """Serve the bundle of a folder that the operator's own store was pulled to; raises as :meth:`reload`."""
        return await self._counted(lambda: directory)

    async def _counted(self, find: Callable[[], Path]) -> Reloaded:
        code = "internal_error"
        try:
            found = await self._reload(find)
            code = "ok" if found.has_changed else "unchanged"
        except VcemoError as error:
            code = error.code
            raise
        finally:
            self.metrics.reloads.labels(code).inc()
            logger.info("reload", extra={"facts": {"code": code}})
        return found

    def reload_on_signal(self) -> None:
        """Read the configured path again, in the background; the log says what came of it."""
        if self._signalled is None or self._signalled.done():
            self._signalled = asyncio.create_task(self.reload())
            self._signalled.add_done_callback(_log_foreign)

    def require_loaded(self) -> Edition:
        """Return the version that is served.

        Raises:
            NotReady: nothing is loaded yet, or could not be.
        """
        if self.editions.current is None:
            raise self._not_ready()
        return self.editions.current

    def require_ready(self) -> None:
        """Return if recordings are welcome.

        Raises:
            NotReady: the service is loading, draining, or could not be loaded, or a worker is stuck.
        """
        self._require_serving()
        self.require_alive()

    def require_alive(self) -> None:
        """Return unless a worker is stuck.

        Raises:
            NotReady: a stage has worked on one batch for longer than any batch should take.
        """
        limit = self.settings.max_batch_seconds
        for stage in self.editions.stages:
            if stage.busy_seconds > limit:
                raise NotReady(f"stage {stage.name} is stuck", value=round(stage.busy_seconds), limit=limit)

    @contextmanager
    def admitted(self) -> Iterator[Edition]:
        """Hold one of the places for a recording, and the version that judges it.

        Raises:
            NotReady: nothing is loaded yet.
            Overloaded: every place is taken.
        """
        edition = self.require_loaded()
        limit = self.settings.max_concurrent_requests
        if self.num_in_flight >= limit:
            raise Overloaded("every place for a recording is taken", value=self.num_in_flight, limit=limit)
        self.num_in_flight += 1
        self.metrics.in_flight.set(self.num_in_flight)
        try:
            with edition.held():
                yield edition
        finally:
            self.num_in_flight -= 1
            self.metrics.in_flight.set(self.num_in_flight)

    def _require_serving(self) -> None:
        if self.state != "ready":
            raise self._not_ready()

    def _is_ready(self) -> bool:
        try:
            self.require_ready()
        except NotReady:
            return False
        return True

    def _not_ready(self) -> NotReady:
        return NotReady(f"the service is not ready: {self.state}", value=self.state)

    async def _load(self) -> None:
        # First, for its processes start while the rest is loaded.
        self._decoder = Decoder.from_settings(self.settings, on_worker_lost=self.metrics.decode_worker_lost)
        recognizer = self._given
        if recognizer is None:
            recognizer = await asyncio.to_thread(self._load_first)
        await asyncio.to_thread(self._decoder.warm_up)
        self.editions.serve(recognizer, decoder=self._decoder)
        await self.calls.restore()
        self.jobs.start()
        if self._follower is not None:
            self._following = asyncio.create_task(self._follower.follow())
        logger.info("ready", extra={"facts": {"bundle": recognizer.bundle.facts.name, "threads": self._threads}})

    def _load_first(self) -> EmotionRecognizer:
        folder = self._follower.first() if self._follower is not None else None
        if folder is not None:
            try:
                return load_recognizer(self.settings, folder, threads=self._threads)
            except BundleError as error:
                # What somebody promoted must not keep every new process from serving.
                facts = {"code": error.code, "reason": error.message}
                logger.error("the store's bundle was refused, the configured one is served", extra={"facts": facts})
        return load_recognizer(self.settings, self.settings.bundle, threads=self._threads)

    async def _reload(self, find: Callable[[], Path]) -> Reloaded:
        # Also while a stage hangs: another bundle may be the remedy.
        self._require_serving()
        if self._is_reloading:
            raise ReloadUnderWay("another bundle is being loaded; ask again when that has ended")
        self._is_reloading, began = True, time.monotonic()
        try:
            serving = self.require_loaded()
            found = await asyncio.to_thread(
                lambda: load_other(self.settings, find(), threads=self._threads, serving=serving.recognizer)
            )
            self._require_serving()  # a shutdown may have begun meanwhile
            if found is not None:
                assert self._decoder is not None
                self.editions.serve(found, decoder=self._decoder)
        finally:
            self._is_reloading = False
        now = self.require_loaded().facts
        return Reloaded(
            name=now.name,
            version=now.version,
            previous_version=serving.facts.version,
            has_changed=found is not None,
            seconds=time.monotonic() - began,
        )


def service_of(connection: HTTPConnection) -> Service:
    """Return the service that a request or a WebSocket was sent to."""
    service: Service = connection.app.state.service
    return service


def _log_foreign(task: "asyncio.Task[Reloaded]") -> None:
    error = None if task.cancelled() else task.exception()
    if error is not None and not isinstance(error, VcemoError):
        logger.error("unexpected error", extra={"facts": {"stack": stack_of(error)}})
