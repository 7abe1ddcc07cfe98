"""Files that may not grow: a clear error or another way, never half a file that is taken for a whole one."""

import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import httpx
import numpy as np
import pytest
from full_disk import files_of_at_most
from service_fixtures import BUNDLE, PATIENCE_SECONDS, ROOT, wait_until

from bench.serving.bombs import sound_file
from bench.serving.server import free_port
from model.assets import AssetStore
from model.audio import AudioLimits
from model.bundle import FACTS_FILE, read_facts, write_facts
from model.errors import NoRoom
from model.memory_file import MemoryFile
from service.decoding import Decoder
from service.loading import load_recognizer
from service.settings import Settings

pytest_plugins = ("service_fixtures",)

ROOM_BYTES = 4096
FULL = Path("/dev/full")


def test_a_recording_is_held_whole_or_not_at_all() -> None:
    file, content = MemoryFile(), np.random.default_rng(0).bytes(3 * ROOM_BYTES)
    samples = np.zeros((2, ROOM_BYTES), dtype=np.float32)
    with files_of_at_most(ROOM_BYTES):
        with pytest.raises(NoRoom, match="no room to write a recording"):
            file.write(content)
        with pytest.raises(NoRoom):
            file.write_samples(samples)
    file.write(content)
    assert file.read() == content
    file.close()


def test_a_recording_that_a_worker_finds_no_room_for_is_refused_and_the_next_is_decoded() -> None:
    small, large = sound_file("FLAC", seconds=0.1), sound_file("FLAC", seconds=60.0)
    with files_of_at_most(10**6):  # which a worker inherits, and the minute's samples outgrow
        decoder = Decoder(AudioLimits(), workers=1, max_seconds=9.0, max_bytes=2**28)
        decoder.warm_up()
    try:
        expected = decoder.decode(small)
        with pytest.raises(NoRoom):
            decoder.decode(large)
        np.testing.assert_array_equal(decoder.decode(small).samples, expected.samples)
    finally:
        decoder.close()


def test_a_service_that_cannot_write_its_copy_of_whisper_says_so_and_does_not_serve(
    assets: AssetStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    settings = Settings(bundle=BUNDLE, cache=assets.cache)
    with files_of_at_most(2**20), pytest.raises(NoRoom, match="a copy of the pre-trained parts: File too large"):
        load_recognizer(settings, BUNDLE, threads=1)
    assert list(tmp_path.iterdir()) == []


def test_facts_that_cannot_be_written_are_those_of_before(tmp_path: Path) -> None:
    (tmp_path / FACTS_FILE).write_bytes((BUNDLE / FACTS_FILE).read_bytes())
    facts, files = read_facts(tmp_path)
    with files_of_at_most(ROOM_BYTES), pytest.raises(NoRoom, match=FACTS_FILE):
        write_facts(tmp_path, facts.to_json(files=files))
    assert read_facts(tmp_path) == (facts, files)
    assert [path.name for path in tmp_path.iterdir()] == [FACTS_FILE]


@pytest.mark.skipif(not FULL.exists(), reason="this system has no /dev/full")
def test_a_service_whose_log_and_output_cannot_be_written_answers_all_the_same(speech: bytes) -> None:
    port = free_port()
    command = [sys.executable, "-m", "service", f"--port={port}", f"--bundle={BUNDLE}"]
    with FULL.open("wb") as full, httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
        process = subprocess.Popen(command, cwd=ROOT, stdout=full, stderr=full)
        try:
            wait_until(lambda: is_ready(client), seconds=2 * PATIENCE_SECONDS)
            answer = client.post("/predict", content=speech, headers={"Content-Type": "audio/wav"}, timeout=60)
            assert answer.status_code == 200
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE_SECONDS) == 0
        finally:
            process.kill()
            process.wait()


def is_ready(client: httpx.Client) -> bool:
    try:
        return client.get("/health/ready").is_success
    except httpx.TransportError:
        return False
