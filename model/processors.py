"""How many processors this process may really use, the container's quota and not the host's cores, and for what."""

import math
import os
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Final

from threadpoolctl import threadpool_limits

CGROUP_CPU_MAX = Path("/sys/fs/cgroup/cpu.max")

_BEHIND: Final = 10
"""On the scale of ``nice``: a tenth of the weight, where anybody else wants the processor at all."""


def usable_processors(cpu_max: Path = CGROUP_CPU_MAX) -> int:
    """Return the processors granted by scheduler affinity and the cgroup v2 quota, at least one.

    CTranslate2 and ONNX Runtime size their pools from the host when left alone, which makes
    eight threads on a two-core quota about twice as slow as two.
    """
    granted = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if cpu_max.is_file():
        quota, period = cpu_max.read_text().split()
        if quota != "max":
            granted = min(granted, math.ceil(int(quota) / int(period)))
    return max(1, granted)


def one_blas_thread() -> None:
    """Let numpy multiply its matrices on the calling thread, in the whole process.

    Those of a mel spectrogram take less than a millisecond, and many times that when OpenBLAS shares them out: where
    every processor is busy, its threads wait for one another.
    """
    threadpool_limits(1, user_api="blas")


def let_answering_go_first() -> None:
    """Let every thread there is, but the main and the calling one, yield the processors to whoever has little to do.

    Threads that compute are never idle under load: one that only answers "come back later" would wait for its turn
    among them. Threads that they start do as they do. Linux alone weighs threads one by one; elsewhere nothing changes.
    """
    if sys.platform != "linux":
        return
    spared = {os.getpid(), threading.get_native_id()}
    for thread in {int(name) for name in os.listdir("/proc/self/task")} - spared:
        with suppress(PermissionError, ProcessLookupError):  # PermissionError: it is behind already, and further
            os.setpriority(os.PRIO_PROCESS, thread, _BEHIND)
