"""Files that are written while something is loaded, fetched or decoded, and may find no room."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from model.errors import NoRoom

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_NO_FOLDER: Final = "No usable temporary directory"
"""What tempfile says where every folder that it knows is full."""


@contextmanager
def room_to_write(what: str) -> Iterator[None]:
    """Tell ``what`` could not be written, where the disk or a limit is the reason.

    Raises:
        NoRoom: a disk is full, a quota used up, or a file larger than it may be.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        if error.errno not in _FULL and _NO_FOLDER not in reason:
            raise
        raise NoRoom(f"no room to write {what}: {reason}") from error
