"""The sound of a live call that is not judged yet, in a small file that outlives the process."""

import fcntl
import os
from pathlib import Path
from typing import Final

_MODE: Final = 0o600


class CallSound:
    """Frames from ``first_frame`` on, appended as they come; what a killed process had written is there.

    Not synced to the disk: it outlives the process, not the machine. Of one process at a time: opening one that
    another has raises BlockingIOError.
    """

    def __init__(self, path: Path, *, first_frame: int, frame_bytes: int) -> None:
        self.path = path
        self.first_frame = first_frame
        self._frame_bytes = frame_bytes
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, _MODE)
        try:
            # The system lets go of it when the process ends, however it ends.
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._descriptor)
            raise

    def append(self, data: bytes) -> None:
        """Add whole frames.

        Raises:
            OSError: the disk is full, or gone.
        """
        while data:
            data = data[os.write(self._descriptor, data) :]

    def read(self) -> bytes:
        """Return all whole frames; a process killed while it wrote may have left a part of one, which is cut off."""
        size = os.fstat(self._descriptor).st_size
        whole = size - size % self._frame_bytes
        if whole < size:
            os.truncate(self._descriptor, whole)
        return os.pread(self._descriptor, whole, 0)

    def from_frame(self, frame: int, path: Path) -> "CallSound":
        """Copy what follows ``frame`` to another file, and leave this one alone."""
        other = CallSound(path, first_frame=frame, frame_bytes=self._frame_bytes)
        skipped = (frame - self.first_frame) * self._frame_bytes
        other.append(os.pread(self._descriptor, os.fstat(self._descriptor).st_size - skipped, skipped))
        return other

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._descriptor)

    def delete(self) -> None:
        """Remove it."""
        try:
            self.close()
        finally:
            self.path.unlink(missing_ok=True)
