import os
import sys
import threading
import time
from pathlib import Path

import pytest
from threadpoolctl import threadpool_info

from model.processors import let_answering_go_first, one_blas_thread, usable_processors


@pytest.fixture
def granted(tmp_path: Path) -> int:
    """What affinity alone grants."""
    return usable_processors(tmp_path / "absent")


@pytest.mark.parametrize(
    ("quota", "processors"), [("100000 100000", 1), ("150000 100000", 2), ("1000 100000", 1), ("50000 100000", 1)]
)
def test_the_containers_quota_bounds_the_processors(tmp_path: Path, quota: str, processors: int, granted: int) -> None:
    (tmp_path / "cpu.max").write_text(f"{quota}\n")
    assert usable_processors(tmp_path / "cpu.max") == min(processors, granted)


def test_without_a_quota_affinity_decides(tmp_path: Path, granted: int) -> None:
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert usable_processors(tmp_path / "cpu.max") == granted


def test_a_quota_above_the_affinity_grants_nothing_more(tmp_path: Path, granted: int) -> None:
    (tmp_path / "cpu.max").write_text("99900000 100000\n")
    assert usable_processors(tmp_path / "cpu.max") == granted


def test_there_is_always_one_and_never_more_than_the_machine_has(granted: int) -> None:
    assert 1 <= granted <= (os.cpu_count() or 1)


def test_numpy_multiplies_on_the_calling_thread() -> None:
    one_blas_thread()
    libraries = [one for one in threadpool_info() if one["user_api"] == "blas"]
    assert libraries
    assert all(one["num_threads"] == 1 for one in libraries)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux weighs threads one by one")
def test_threads_that_compute_and_those_they_start_stay_behind_who_answers() -> None:
    is_told, ended = threading.Event(), threading.Event()
    found: list[int] = []

    def started() -> None:
        found.append(os.getpriority(os.PRIO_PROCESS, 0))

    def compute() -> None:
        is_told.wait()
        threading.Thread(target=started).start()
        ended.wait()

    computing = threading.Thread(target=compute)
    computing.start()
    before = os.getpriority(os.PRIO_PROCESS, 0)
    let_answering_go_first()
    is_told.set()
    while not found:
        time.sleep(0.001)
    ended.set()
    computing.join()
    assert os.getpriority(os.PRIO_PROCESS, 0) == before < found[0]
