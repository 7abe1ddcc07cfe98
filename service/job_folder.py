"""The files of one job that is not done: its upload, later its samples, and a lock that ends with who holds it."""

import fcntl
import mmap
import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Self

import numpy as np

from model.audio import SourceFacts
from model.features import Array


class JobFolder:
    """A folder below ``<state folder>/jobs``, named as the job; others of this machine see whether somebody has it."""

    def __init__(self, root: Path, name: str) -> None:
        self.path = root / name
        self.upload = self.path / "upload"
        self.samples = self.path / "samples"
        self._lock: int | None = None

    @classmethod
    def created(cls, root: Path, name: str) -> Self:
        """Make a new one, for nobody but this user, and hold it.

        Raises:
            OSError: it cannot be written.
        """
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        folder = cls(root, name)
        folder.path.mkdir(mode=0o700)
        folder.hold()
        return folder

    @classmethod
    def all_below(cls, root: Path) -> Iterator[Self]:
        """Find those that are there."""
        if root.is_dir():
            for path in sorted(root.iterdir()):
                yield cls(root, path.name)

    def hold(self) -> bool:
        """Take the lock; False where another has it, or there is no such folder.

        The kernel lets go of it when this process ends, however it ends.
        """
        try:
            descriptor = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            return False
        self._lock = descriptor
        return True

    def let_go(self) -> None:
        """Give the lock back; the files stay."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def remove(self) -> None:
        """Delete the files and let go."""
        with suppress(FileNotFoundError):
            shutil.rmtree(self.path)
        self.let_go()


class SamplesFile:
    """Decoded samples (channels, samples) that are read from the disk where they are looked at."""

    def __init__(self, path: Path, facts: SourceFacts) -> None:
        with path.open("rb") as file:
            self._mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        samples = np.frombuffer(self._mapped, np.float32).reshape(-1, facts.channels).T
        self.samples: Array = samples[:1] if facts.channels_are_identical else samples

    def return_memory(self) -> None:
        """Give the pages back that were looked at; they are read again where needed."""
        if hasattr(mmap, "MADV_DONTNEED"):
            self._mapped.madvise(mmap.MADV_DONTNEED)
