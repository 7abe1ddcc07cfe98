"""A file without a name or a disk, shared with a process that is started with it."""

import os
import tempfile
from collections.abc import Callable
from multiprocessing import reduction
from typing import Any

import numpy as np
import numpy.typing as npt

from model.room import room_to_write


class MemoryFile:
    """Bytes that two processes hand each other without a copy through a pipe, which a killed one could leave half full.

    Pickled only while a process is spawned, as one of its arguments.
    """

    def __init__(self, descriptor: int | None = None) -> None:
        self._file = os.fdopen(_new_file() if descriptor is None else descriptor, "r+b", buffering=0)

    def __reduce__(self) -> tuple[Callable[[Any], "MemoryFile"], tuple[Any]]:
        return _received, (reduction.DupFd(self._file.fileno()),)

    def write(self, content: bytes) -> None:
        """Replace what it holds.

        Raises:
            NoRoom: it cannot hold so much.
        """
        self._write(memoryview(content))

    def read(self) -> bytes:
        """All that it holds."""
        self._file.seek(0)
        return self._file.read()

    def write_samples(self, samples: npt.NDArray[np.float32]) -> None:
        """Replace what it holds, as :meth:`write` does."""
        self._write(np.ascontiguousarray(samples).reshape(-1).view(np.uint8).data)

    def read_samples(self) -> npt.NDArray[np.float32]:
        """All that it holds, (samples,)."""
        self._file.seek(0)
        return np.fromfile(self._file, np.float32)

    def clear(self) -> None:
        """Give its memory back."""
        self._file.seek(0)
        self._file.truncate()

    def close(self) -> None:
        """Give it up in this process."""
        self._file.close()

    def _write(self, content: memoryview) -> None:
        self.clear()
        with room_to_write("a recording"):
            # A file without a buffer takes what it has room for, and says no more than how much that was.
            while content:
                content = content[self._file.write(content) :]


def _new_file() -> int:
    # Unlike /dev/shm, 64 MiB in most containers, this has no bound but the container's.
    if hasattr(os, "memfd_create"):
        return os.memfd_create("vcemo")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def _received(duplicate: Any) -> MemoryFile:
    return MemoryFile(duplicate.detach())
