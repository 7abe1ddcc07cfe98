"""Decoding that can be given up: plain PCM in the caller's thread, everything else in a process that may be killed."""

import logging
import multiprocessing
import queue
import signal
from collections.abc import Callable
from concurrent.futures import CancelledError
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from typing import Final, Literal, TypeAlias

import pebble

from model import decode_worker
from model.audio import SAMPLE_RATE_HZ, AudioLimits, Recording, decode_audio
from model.containers import is_plain_pcm
from model.decode_worker import Confinement
from model.errors import AudioError, DecoderCrashed, DecodeTooSlow, NotReady
from model.memory_file import MemoryFile
from service.settings import Settings

logger = logging.getLogger(__name__)

Loss: TypeAlias = Literal["time_limit", "killed", "crashed", "idle"]
"""Why a worker is no more: given up, ended by SIGKILL (as when memory runs out), fallen over, or dead without work."""

_START_SECONDS: Final = 60.0
_ATTEMPTS: Final = 2
_COPIES_OF_SAMPLES: Final = 2
_COPIES_OF_UPLOAD: Final = 4
_BYTES_OF_DECODERS: Final = 128 * 1024 * 1024

# Workers ignore SIGTERM: to wait whether it helps before SIGKILL would only delay the answer.
pebble.CONSTS.term_timeout = 0.0


class Decoder:
    """Decodes recordings, each within its limits of time and memory, so that none can harm another or the service."""

    def __init__(
        self,
        limits: AudioLimits,
        *,
        workers: int,
        max_seconds: float,
        max_bytes: int,
        on_worker_lost: Callable[[Loss], None] = lambda _: None,
    ) -> None:
        """Begin to start the workers; what comes before they are warm waits for them."""
        self._limits = limits
        self._workers = [
            _Worker(limits, max_seconds=max_seconds, max_bytes=max_bytes, on_lost=on_worker_lost)
            for _ in range(workers)
        ]
        # First in, first out: a worker that was just replaced and is still starting comes last.
        self._free: queue.SimpleQueue[_Worker] = queue.SimpleQueue()
        for worker in self._workers:
            self._free.put(worker)

    @classmethod
    def from_settings(cls, settings: Settings, *, on_worker_lost: Callable[[Loss], None] = lambda _: None) -> "Decoder":
        """Build what the settings ask for."""
        limits = AudioLimits(
            max_bytes=settings.max_upload_bytes,
            max_seconds=settings.max_clip_seconds,
            max_channels=settings.max_channels,
        )
        return cls(
            limits,
            workers=settings.max_concurrent_decodes,
            max_seconds=settings.max_decode_seconds,
            max_bytes=settings.max_decode_bytes or _bytes_for_longest(limits),
            on_worker_lost=on_worker_lost,
        )

    def warm_up(self) -> None:
        """Wait until every worker has started.

        Raises:
            NotReady: one did not.
        """
        for worker in self._workers:
            worker.warm_up()

    def decode(self, upload: bytes) -> Recording:
        """Decode a recording; blocks until it is decoded or given up.

        Raises:
            AudioError: the recording cannot be used, or costs too much.
            NotReady: no worker is to be had.
        """
        if is_plain_pcm(upload):
            return decode_audio(upload, limits=self._limits)
        worker = self._free.get()
        try:
            return worker.decode(upload)
        finally:
            self._free.put(worker)

    def close(self) -> None:
        """Kill the workers; who still waits for one is refused."""
        for worker in self._workers:
            worker.refuse()
        for _ in self._workers:
            worker = self._free.get()
            worker.close()
            self._free.put(worker)


class _Worker:
    """One process, in a pool of its own.

    The workers of one pool share a pipe and its locks: who is killed while it holds them stops the others.
    """

    def __init__(
        self,
        limits: AudioLimits,
        *,
        max_seconds: float,
        max_bytes: int,
        on_lost: Callable[[Loss], None],
    ) -> None:
        self._max_seconds = max_seconds
        self._on_lost = on_lost
        self._upload, self._samples = MemoryFile(), MemoryFile()
        self._confinement = Confinement(upload=self._upload, samples=self._samples, limits=limits, max_bytes=max_bytes)
        self._is_closing = False
        self._task: pebble.ProcessFuture[Recording | AudioError] | None = None
        self._start()

    def warm_up(self) -> None:
        try:
            self._wait_until_started()
        except BrokenProcessPool as error:
            raise NotReady("a decode worker could not be started") from error

    def decode(self, upload: bytes) -> Recording:
        if self._is_closing:
            raise _closing()
        self._upload.write(upload)
        try:
            answer = self._answer()
            if isinstance(answer, AudioError):
                raise answer
            samples = self._samples.read_samples().reshape(len(answer.samples), -1)
            return replace(answer, samples=samples)
        finally:
            self._upload.clear()
            self._samples.clear()

    def refuse(self) -> None:
        """Accept nothing more, and let whoever waits go; called while another thread may be waiting."""
        self._is_closing = True
        self._started.cancel()
        task = self._task
        if task is not None:
            task.cancel()

    def close(self) -> None:
        """Kill the process, when nobody waits any more."""
        self._pool.stop()
        self._pool.join()
        self._upload.close()
        self._samples.close()

    def _answer(self) -> Recording | AudioError:
        for _ in range(_ATTEMPTS):
            try:
                self._wait_until_started()
                return self._attempt()
            except BrokenProcessPool:
                # It died before it saw this recording, which is therefore not to blame.
                self._replace("idle")
            except CancelledError:
                raise _closing() from None
        raise NotReady("no decode worker could be started")

    def _attempt(self) -> Recording | AudioError:
        try:
            self._task = task = self._pool.schedule(decode_worker.decode)
        except RuntimeError as error:
            raise BrokenProcessPool from error
        if self._is_closing:
            task.cancel()
        try:
            # Not the pool's own limit, which goes by a clock that can be set.
            return task.result(self._max_seconds)
        except TimeoutError:
            if not task.running():
                raise BrokenProcessPool from None
            self._replace("time_limit")
            limit = self._max_seconds
            raise DecodeTooSlow(f"to decode this recording takes more than {limit:g} s", limit=limit) from None
        except pebble.ProcessExpired as error:
            self._replace("killed" if error.exitcode == -signal.SIGKILL else "crashed")
            raise DecoderCrashed("the decoder came to its end over this recording") from error
        finally:
            self._task = None

    def _replace(self, loss: Loss) -> None:
        """Kill what is left of the process, so that it touches no file any more, and start another."""
        logger.warning("a decode worker was lost", extra={"facts": {"reason": loss}})
        self._on_lost(loss)
        self._pool.stop()
        self._pool.join()
        self._start()

    def _start(self) -> None:
        # Spawned, not forked: a fork of a process with threads may hang, and would carry the whole service along.
        self._pool = pebble.ProcessPool(
            max_workers=1,
            initializer=decode_worker.confine,
            initargs=(self._confinement,),
            context=multiprocessing.get_context("spawn"),
        )
        self._started = self._pool.schedule(decode_worker.is_ready)

    def _wait_until_started(self) -> None:
        try:
            self._started.result(_START_SECONDS)
        except (TimeoutError, pebble.ProcessExpired) as error:
            raise BrokenProcessPool from error


def _bytes_for_longest(limits: AudioLimits) -> int:
    """What the longest recording needs: its samples as blocks and joined, the upload and copies of it, the decoders."""
    samples = round(limits.max_seconds * SAMPLE_RATE_HZ) * 4 * limits.max_channels
    return _COPIES_OF_SAMPLES * samples + _COPIES_OF_UPLOAD * limits.max_bytes + _BYTES_OF_DECODERS


def _closing() -> NotReady:
    return NotReady("the service is shutting down")
