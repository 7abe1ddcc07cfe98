"""What runs in a decode worker: a process that confines itself, decodes one recording after another, may die of it."""

import gc
import os
import resource
import signal
import threading
from dataclasses import dataclass, replace
from multiprocessing import parent_process
from pathlib import Path

import numpy as np

from model.audio import AudioLimits, Recording, decode_audio
from model.errors import AudioError, DecodeTooLarge
from model.heap import return_free_memory
from model.memory_file import MemoryFile

MEMORY_IN_USE = Path("/proc/self/statm")


@dataclass(frozen=True, kw_only=True, slots=True)
class Confinement:
    """What a worker works on, and within. max_bytes: of memory, beside what it needs when idle."""

    upload: MemoryFile
    samples: MemoryFile
    limits: AudioLimits
    max_bytes: int


_confinement: Confinement | None = None
"""A process pool calls plain functions: what its initializer was given has no other place."""


def confine(confinement: Confinement) -> None:
    """Prepare this process: no core, an end when its parent ends and not before, a bounded memory."""
    global _confinement
    _confinement = confinement
    # A signal to the group begins to drain the service, which still needs its workers; it ends them itself.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    threading.Thread(target=_end_with_parent, name="parent", daemon=True).start()
    gc.collect()
    gc.freeze()
    if MEMORY_IN_USE.is_file():
        data_pages = int(MEMORY_IN_USE.read_text().split()[5])
        limit = data_pages * resource.getpagesize() + confinement.max_bytes
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


def is_ready() -> bool:
    """Answer, once confined."""
    return _confinement is not None


def decode() -> Recording | AudioError:
    """Decode the upload and leave the samples in their file: (channels, 0) are in the answer.

    Errors are returned, freshly made: raised, they would keep the frames that they passed, and all their memory, until
    the next recording.
    """
    answer = _decoded()
    if isinstance(answer, AudioError):
        gc.collect()  # a decoder's error and the frame that kept it hold each other
    return_free_memory()  # 36 MB of ten minutes of sound (measured)
    return answer


def _decoded() -> Recording | AudioError:
    assert _confinement is not None
    try:
        recording = decode_audio(_confinement.upload.read(), limits=_confinement.limits)
        _confinement.samples.write_samples(recording.samples)
        return replace(recording, samples=np.empty((len(recording.samples), 0), np.float32))
    except AudioError as error:
        return type(error)(error.message, value=error.value, limit=error.limit)
    except MemoryError:
        limit = _confinement.max_bytes
        return DecodeTooLarge(f"to decode this recording takes more than {limit} bytes of memory", limit=limit)


def _end_with_parent() -> None:
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
