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

from model.audio import AudioLimits, Recording, SourceFacts, decode_audio, decode_in_blocks
from model.errors import AudioError, DecodeTooLarge
from model.heap import return_free_memory
from model.memory_file import MemoryFile

MEMORY_IN_USE = Path("/proc/self/statm")
_NICE = 10


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
    """Prepare this process for recordings in memory."""
    global _confinement
    _confinement = confinement
    confine_to(confinement.max_bytes)


def confine_to(max_bytes: int) -> None:
    """Prepare this process: no core, an end when its parent ends and not before, a bounded memory."""
    # A signal to the group begins to drain the service, which still needs its workers; it ends them itself.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    threading.Thread(target=_end_with_parent, name="parent", daemon=True).start()
    gc.collect()
    gc.freeze()
    if MEMORY_IN_USE.is_file():
        data_pages = int(MEMORY_IN_USE.read_text().split()[5])
        limit = data_pages * resource.getpagesize() + max_bytes
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


def is_ready() -> bool:
    """Answer, once confined."""
    return _confinement is not None


def has_started() -> bool:
    """Answer."""
    return True


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


def decode_file(upload: Path, samples: Path, limits: AudioLimits, max_bytes: int) -> SourceFacts | AudioError:
    """Decode a file into another, of float32 (samples, channels), never holding more than a block of them.

    For recordings that are worked on in the background: others go first.
    """
    os.nice(_NICE)
    try:
        with samples.open("wb", buffering=0) as file:
            facts = decode_in_blocks(upload, lambda block: file.write(block.tobytes()), limits=limits)
            os.fsync(file.fileno())
        return facts
    except AudioError as error:
        return type(error)(error.message, value=error.value, limit=error.limit)
    except MemoryError:
        return DecodeTooLarge(f"to decode this recording takes more than {max_bytes} bytes of memory", limit=max_bytes)


def _end_with_parent() -> None:
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
