"""The C library's heap: freed memory that glibc would keep, and how many heaps it opens."""

import ctypes
from typing import Final

_M_ARENA_MAX: Final = -8
_ARENAS: Final = 2
"""One for every few threads that wait for Python's lock anyway; by default there would be eight for each processor."""


def keep_few_arenas() -> None:
    """Let threads share heaps: what one has freed another can use. Nothing where the C library is not glibc."""
    if (mallopt := _function("mallopt")) is not None:
        mallopt(_M_ARENA_MAX, _ARENAS)


def return_free_memory() -> None:
    """Give back what was freed: weights, and long recordings, pass through twice their size. Nothing without glibc."""
    if (malloc_trim := _function("malloc_trim")) is not None:
        malloc_trim(0)


def _function(name: str) -> "ctypes._NamedFuncPointer | None":
    return getattr(ctypes.CDLL(None), name, None)
