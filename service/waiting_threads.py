"""Threads that wait for files, databases and stores, so that the event loop does not."""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Final

NUM_THREADS: Final = 8
"""asyncio would take the host's cores and four more."""


def waiting_threads() -> ThreadPoolExecutor:
    """Start them all at once: one that only came with the first burst of work would look like a leak."""
    pool = ThreadPoolExecutor(NUM_THREADS, thread_name_prefix="waiting")
    everyone = threading.Barrier(NUM_THREADS)
    for _ in range(NUM_THREADS):
        pool.submit(everyone.wait)
    return pool
