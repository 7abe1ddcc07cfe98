"""A figure that is read again and again while something else goes on."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import psutil


@contextmanager
def sampled(read: Callable[[], int], *, every_seconds: float) -> Iterator[list[int]]:
    """Yield the list that values are added to, the first of them at once; a process that has ended gives none."""
    values, is_over = [read()], threading.Event()

    def look() -> None:
        while not is_over.wait(every_seconds):
            with suppress(psutil.NoSuchProcess):
                values.append(read())

    looking = threading.Thread(target=look)
    looking.start()
    try:
        yield values
    finally:
        is_over.set()
        looking.join()
