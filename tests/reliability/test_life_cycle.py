"""The life of a real process under load: other bundles, bundles that are none, and the end."""

import asyncio
import concurrent.futures
import itertools
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import httpx
import psutil
import pytest
from reload_fixtures import (
    copied_bundle,
    of_another_schema,
    with_a_byte_flipped,
    with_another_golden_case,
)
from service_fixtures import PATIENCE_SECONDS, ROOT, wait_until

from bench.serving.load import Load, Recorded, closed_loop, send_predict
from bench.serving.server import free_port
from service.settings import Settings

pytest_plugins = ("service_fixtures", "reload_fixtures")

KEY = "correct horse battery staple"
CALLERS = 4
START_SECONDS = 120.0


@dataclass(frozen=True, kw_only=True)
class Process:
    """A service that is ready, on its bundle ``current``."""

    url: str
    admin: httpx.Client
    popen: "subprocess.Popen[str]"
    log: Path

    def reload(self, bundle: str) -> httpx.Response:
        return self.admin.post("/admin/reload", json={"bundle": bundle})

    def version(self) -> str:
        version: str = self.admin.get("/admin/status").json()["version"]
        return version


@contextmanager
def running(bundle: Path, folder: Path, *options: str) -> Iterator[Process]:
    port, admin_port, log = free_port(), free_port(), folder / "log"
    (folder / "key").write_text(f"{KEY}\n")
    command = [sys.executable, "-m", "service", f"--port={port}", f"--bundle={bundle}"]
    command += [f"--admin-port={admin_port}", f"--admin-key-file={folder / 'key'}", *options]
    with log.open("w") as stderr:
        popen = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=stderr, text=True)
    url = f"http://127.0.0.1:{port}"
    # One client: a new one for every look would read the certificates anew, and keep a processor busy.
    probe = httpx.Client(base_url=url, trust_env=False)
    admin = httpx.Client(
        base_url=f"http://127.0.0.1:{admin_port}",
        headers={"Authorization": f"Bearer {KEY}"},
        timeout=PATIENCE_SECONDS,
        trust_env=False,
    )
    try:
        wait_until(lambda: is_ready(probe), seconds=START_SECONDS)
        yield Process(url=url, admin=admin, popen=popen, log=log)
    finally:
        popen.kill()
        popen.wait()
        admin.close()
        probe.close()


def is_ready(probe: httpx.Client) -> bool:
    try:
        return probe.get("/health/ready").is_success
    except httpx.TransportError:
        return False


@contextmanager
def under_load(url: str, recorded: Recorded) -> Iterator[list[Load]]:
    """Callers who ask again as soon as they are answered, until the block ends; the load is in the list then."""
    has_ended, found = threading.Event(), list[Load]()

    def call() -> None:
        endless = itertools.takewhile(lambda _: not has_ended.wait(0.001), itertools.repeat(recorded))
        found.append(asyncio.run(closed_loop(url, endless, send=send_predict, concurrency=CALLERS)))

    calling = threading.Thread(target=call)
    calling.start()
    try:
        yield found
    finally:
        has_ended.set()
        calling.join(PATIENCE_SECONDS)


@pytest.fixture(scope="module")
def clip(speech: bytes) -> Recorded:
    return Recorded(name="speech.wav", audio=speech, seconds=1.6)


@pytest.fixture(scope="module")
def service(shelf: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    with running(shelf / "current", tmp_path_factory.mktemp("service")) as process:
        yield process


def test_no_process_starts_a_thread_of_blas_for_each_processor_of_the_host(service: Process) -> None:
    family = psutil.Process(service.popen.pid).children()
    workers = [child for child in family if "spawn_main" in " ".join(child.cmdline())]
    assert len(workers) == Settings().max_concurrent_decodes
    for worker in workers:
        assert worker.environ()["OPENBLAS_NUM_THREADS"] == "1"
        assert worker.num_threads() <= 2  # its own, and the one that ends it with its parent


def test_numpy_is_not_loaded_before_the_service_says_how_many_threads_it_wants() -> None:
    program = "import sys, service.__main__ as main; main.Settings(); print('numpy' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout == "False\n"


def versions_in(load: Load) -> list[str]:
    """In the order of the answers."""
    return [answer.document["model"]["version"] for answer in load.answers]


def test_under_load_another_version_takes_over_without_an_error(service: Process, shelf: Path, clip: Recorded) -> None:
    with under_load(service.url, clip) as loads:
        done = service.reload("second").json()
        first_after = httpx.post(f"{service.url}/predict", files={"file": clip.audio}, timeout=PATIENCE_SECONDS)
        assert (done["changed"], done["previous_version"], done["version"]) == (True, "1.0.0", "2.0.0")
        assert first_after.json()["model"]["version"] == "2.0.0"
        wait_until(lambda: service.admin.get("/admin/status").json()["retiring"] == [])
    (load,) = loads
    assert [answer.status for answer in load.answers] == [200] * len(load.answers)
    assert set(versions_in(load)) == {"1.0.0", "2.0.0"}
    assert "Traceback" not in service.log.read_text()


def test_a_signal_reads_the_configured_path_again(service: Process, shelf: Path) -> None:
    copied_bundle(shelf / "third", version="3.0.0")
    (shelf / "next").symlink_to("third")
    (shelf / "next").rename(shelf / "current")
    service.popen.send_signal(signal.SIGHUP)
    wait_until(lambda: service.version() == "3.0.0")
    (shelf / "next").symlink_to("first")
    (shelf / "next").rename(shelf / "current")


SPOILT: dict[str, tuple[Callable[[Path], None], str]] = {
    "a flipped byte": (partial(with_a_byte_flipped, name="fusion.onnx"), "bundle_checksum_mismatch"),
    "another schema": (of_another_schema, "bundle_invalid"),
    "another golden case": (with_another_golden_case, "golden_mismatch"),
}


def test_a_bundle_that_does_not_verify_is_refused_while_answers_go_on(
    service: Process, shelf: Path, clip: Recorded
) -> None:
    before = service.version()
    with under_load(service.url, clip) as loads:
        for name, (spoil, code) in SPOILT.items():
            spoil(copied_bundle(shelf / name, version="9.9.9"))
            refused = service.reload(name)
            assert (refused.status_code, refused.json()["value"]) == (422, code)
            assert str(shelf) not in refused.text
    (load,) = loads
    assert load.answers
    assert not load.lost
    assert set(versions_in(load)) == {before}
    assert service.version() == before


@pytest.mark.parametrize(("linger", "reloads"), [("0", False), ("0.5", True)], ids=["at once", "lingering, reloading"])
def test_on_sigterm_under_load_every_accepted_request_is_answered(
    shelf: Path, tmp_path: Path, clip: Recorded, linger: str, reloads: bool
) -> None:
    with running(shelf / "current", tmp_path, f"--linger-seconds={linger}") as process:
        idle = httpx.Client(base_url=process.url, timeout=PATIENCE_SECONDS, trust_env=False)
        assert idle.get("/health/ready").status_code == 200  # and keeps its connection
        with under_load(process.url, clip) as loads, concurrent.futures.ThreadPoolExecutor(1) as pool:
            wait_until(lambda: process.admin.get("/admin/status").json()["in_flight"] == CALLERS)
            reloading = pool.submit(process.reload, "second" if reloads else "first")
            wait_until(lambda: "loading the bundle" in process.log.read_text() or reloading.done())
            process.popen.send_signal(signal.SIGTERM)
            late = idle.post("/predict", files={"file": clip.audio})
            assert process.popen.wait(PATIENCE_SECONDS) == 0
        idle.close()
    (load,) = loads
    assert reloading.result().status_code in (200, 503)
    assert late.status_code == 200
    assert late.headers["connection"] == "close"
    assert len(load.good) >= CALLERS
    assert not load.lost, load.lost
    assert "Traceback" not in process.log.read_text()
