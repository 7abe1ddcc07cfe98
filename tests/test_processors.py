import os
import sys
import threading
from pathlib import Path

import pytest
from threadpoolctl import threadpool_info

from model.processors import one_blas_thread, stay_behind, usable_processors


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
def test_a_thread_that_stays_behind_takes_along_those_it_starts_and_nobody_else() -> None:
    found: list[int] = []

    def behind() -> None:
        stay_behind()
        started = threading.Thread(target=lambda: found.append(os.getpriority(os.PRIO_PROCESS, 0)))
        started.start()
        started.join()

    thread = threading.Thread(target=behind)
    thread.start()
    thread.join()
    assert found[0] > os.getpriority(os.PRIO_PROCESS, 0)
