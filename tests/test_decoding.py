"""Decoding that can be given up, with real worker processes."""

import concurrent.futures
import dataclasses
import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator

import numpy as np
import psutil
import pytest
from service_fixtures import PATIENCE_SECONDS, ROOT, decode_workers, wait_until, wait_until_busy

from bench.serving.bombs import media_file, silent_flac, sound_file
from model.audio import AudioLimits, decode_audio
from model.errors import AudioError, DecoderCrashed, DecodeTooLarge, DecodeTooSlow, NotReady
from service.decoding import Decoder, Loss
from service.settings import Settings

LIMITS = AudioLimits(max_bytes=10**6, max_seconds=600.0, max_channels=2)
FLAC = sound_file("FLAC")
MEBIBYTE = 2**20


@dataclasses.dataclass(frozen=True)
class Watched:
    """A decoder of one worker, and which of them it lost."""

    decoder: Decoder
    lost: list[Loss]
    others: set[psutil.Process]

    @property
    def worker(self) -> psutil.Process:
        wait_until(lambda: decode_workers() - self.others)
        return (decode_workers() - self.others).pop()


@pytest.fixture
def watched(request: pytest.FixtureRequest) -> Iterator[Watched]:
    others, lost = decode_workers(), list[Loss]()
    options = {"max_seconds": 10.0, "max_bytes": 512 * MEBIBYTE} | getattr(request, "param", {})
    decoder = Decoder(LIMITS, workers=1, on_worker_lost=lost.append, **options)
    try:
        decoder.warm_up()
        yield Watched(decoder=decoder, lost=lost, others=others)
    finally:
        decoder.close()


@pytest.fixture(scope="module")
def decoder() -> Iterator[Decoder]:
    started = Decoder(LIMITS, workers=2, max_seconds=10.0, max_bytes=512 * MEBIBYTE)
    yield started
    started.close()


@pytest.fixture(scope="module")
def long_flac() -> bytes:
    """Just short enough to be accepted."""
    return silent_flac(hours=599 / 3600, rate_hz=48_000)


@pytest.mark.parametrize(
    "recording",
    [
        *(pytest.param(sound_file(name), id=name) for name in ("WAV", "FLAC", "AIFF", "AU", "MP3")),
        *(pytest.param(sound_file("OGG", name), id=name) for name in ("VORBIS", "OPUS")),
        *(pytest.param(sound_file("WAV", name), id=name) for name in ("IMA_ADPCM", "GSM610")),
        pytest.param(media_file("adts", "aac"), id="AAC"),
        pytest.param(media_file("mp4", "aac"), id="MP4"),
        pytest.param(media_file("webm", "libopus"), id="WebM"),
        pytest.param(sound_file("FLAC", channels=2), id="two channels"),
        pytest.param(FLAC[:-900], id="cut"),
    ],
)
def test_a_recording_comes_back_as_if_it_were_decoded_here(decoder: Decoder, recording: bytes) -> None:
    found, expected = decoder.decode(recording), decode_audio(recording, limits=LIMITS)
    assert np.array_equal(found.samples, expected.samples)
    assert found.samples.dtype == np.float32
    assert dataclasses.replace(found, samples=expected.samples) == expected


@pytest.mark.parametrize(
    "recording",
    [
        pytest.param(silent_flac(hours=0.2), id="too long"),
        pytest.param(sound_file("FLAC", channels=3), id="three channels"),
        pytest.param(sound_file("AU")[:16] + b"\0\0\0\1" + sound_file("AU")[20:], id="1 Hz"),
        pytest.param(FLAC[:50], id="cut"),
        pytest.param(b"PK\3\4" * 99, id="an archive"),
        pytest.param(FLAC.ljust(LIMITS.max_bytes + 1, b"\0"), id="too large"),
        pytest.param(b"", id="nothing"),
    ],
)
def test_a_refusal_is_the_one_that_it_would_be_here(decoder: Decoder, recording: bytes) -> None:
    with pytest.raises(AudioError) as expected:
        decode_audio(recording, limits=LIMITS)
    with pytest.raises(AudioError) as found:
        decoder.decode(recording)
    assert type(found.value) is type(expected.value)
    assert vars(found.value) == vars(expected.value)
    assert str(found.value) == str(expected.value)


def test_plain_pcm_needs_no_worker(watched: Watched) -> None:
    watched.worker.suspend()
    assert watched.decoder.decode(sound_file("WAV")).duration_ms == 1000


@pytest.mark.parametrize("watched", [{"max_seconds": 0.05}], indirect=True)
def test_a_recording_that_takes_too_long_is_given_up_and_its_worker_replaced(
    watched: Watched, long_flac: bytes
) -> None:
    first = watched.worker
    with pytest.raises(DecodeTooSlow) as caught:
        watched.decoder.decode(long_flac)
    assert caught.value.limit == 0.05
    wait_until(lambda: not first.is_running())
    assert watched.lost == ["time_limit"]
    assert watched.worker != first


@pytest.mark.parametrize("watched", [{"max_seconds": 1.0}], indirect=True)
def test_a_worker_that_hangs_is_given_up(watched: Watched, long_flac: bytes) -> None:
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        first = watched.worker
        decoding = pool.submit(watched.decoder.decode, long_flac)
        wait_until_busy(first)
        first.suspend()
        with pytest.raises(DecodeTooSlow):
            decoding.result()
    wait_until(lambda: not first.is_running())


@pytest.mark.parametrize(
    ("number", "loss"), [(signal.SIGKILL, "killed"), (signal.SIGSEGV, "crashed"), (signal.SIGABRT, "crashed")]
)
def test_who_kills_the_worker_is_refused_and_the_next_is_served(
    watched: Watched, long_flac: bytes, number: int, loss: Loss
) -> None:
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        first = watched.worker
        decoding = pool.submit(watched.decoder.decode, long_flac)
        wait_until_busy(first)
        first.send_signal(number)
        with pytest.raises(DecoderCrashed):
            decoding.result()
    assert watched.lost == [loss]
    assert watched.decoder.decode(FLAC).duration_ms == 1000


def test_a_worker_that_died_while_idle_is_nobodys_fault(watched: Watched) -> None:
    for _ in range(2):
        watched.worker.kill()
        assert watched.decoder.decode(FLAC).duration_ms == 1000
    assert watched.lost == ["idle", "idle"]


@pytest.mark.parametrize("watched", [{"max_bytes": 16 * MEBIBYTE}], indirect=True)
def test_a_recording_that_takes_too_much_memory_is_refused_and_the_worker_lives_on(
    watched: Watched, long_flac: bytes
) -> None:
    first = watched.worker
    with pytest.raises(DecodeTooLarge) as caught:
        watched.decoder.decode(long_flac)
    assert caught.value.limit == 16 * MEBIBYTE
    assert watched.decoder.decode(FLAC).duration_ms == 1000
    assert (watched.worker, watched.lost) == (first, [])


def test_what_a_recording_took_is_given_back(watched: Watched, long_flac: bytes) -> None:
    watched.decoder.decode(FLAC)
    before = watched.worker.memory_info().rss
    for recording in (long_flac, silent_flac(hours=0.2) * 2):
        try:
            watched.decoder.decode(recording)
        except AudioError:
            continue
    assert watched.worker.memory_info().rss - before < 8 * MEBIBYTE


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_signal_to_the_whole_group_leaves_the_workers_to_the_service(watched: Watched, name: str) -> None:
    first = watched.worker
    first.send_signal(getattr(signal, name))
    assert watched.decoder.decode(FLAC).duration_ms == 1000
    assert (watched.worker, watched.lost) == (first, [])


def test_a_worker_leaves_no_core_with_callers_sound_in_it(watched: Watched) -> None:
    assert resource.prlimit(watched.worker.pid, resource.RLIMIT_CORE) == (0, 0)


def test_closing_lets_whoever_waits_go(watched: Watched, long_flac: bytes) -> None:
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        worker = watched.worker
        waiting = [pool.submit(watched.decoder.decode, long_flac) for _ in range(2)]
        wait_until_busy(worker)
        watched.decoder.close()
        for one in waiting:
            with pytest.raises(NotReady):
                one.result(PATIENCE_SECONDS)
    assert not worker.is_running()
    with pytest.raises(NotReady):
        watched.decoder.decode(FLAC)


def test_the_longest_recording_that_the_settings_allow_fits_the_memory_that_follows_from_them() -> None:
    settings = Settings(max_concurrent_decodes=1)
    decoder = Decoder.from_settings(settings)
    generator = np.random.default_rng(0)
    try:
        tone = sound_file("FLAC", seconds=settings.max_clip_seconds, channels=2)
        stereo = decoder.decode(tone + generator.bytes(settings.max_upload_bytes - len(tone)))
    finally:
        decoder.close()
    assert stereo.source_channels == 2
    assert stereo.duration_ms == 600_000


def test_workers_do_not_outlive_a_service_that_is_killed() -> None:
    program = (
        "import psutil, time\n"
        "from model.audio import AudioLimits\n"
        "from service.decoding import Decoder\n"
        "decoder = Decoder(AudioLimits(), workers=2, max_seconds=9, max_bytes=2**28)\n"
        "decoder.warm_up()\n"
        "print(*(child.pid for child in psutil.Process().children()), flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        children = [int(number) for number in process.stdout.readline().split()]
        process.kill()
    assert len(children) >= 2
    wait_until(lambda: not any(psutil.pid_exists(child) for child in children))


def test_a_worker_imports_what_decodes_and_nothing_else() -> None:
    program = "import json, sys, model.decode_worker; print(json.dumps(sorted(sys.modules)))"
    listed = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True, env=dict(os.environ)
    )
    heavy = {"service", "fastapi", "pydantic", "onnxruntime", "ctranslate2", "torch", "spacy", "librosa"}
    assert not heavy & {name.partition(".")[0] for name in json.loads(listed.stdout)}
