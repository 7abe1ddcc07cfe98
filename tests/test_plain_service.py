"""The rival that the bench compares with is a real one, and answers what ours answers."""

import sys

import httpx
import pytest
from service_fixtures import BUNDLE, RECORDINGS, samples_of, wav

from bench.serving.server import started
from model.assets import default_cache
from model.recognizer import EmotionRecognizer

pytest_plugins = ("service_fixtures",)


def test_the_plain_service_gives_the_probabilities_that_ours_gives(recognizer: EmotionRecognizer) -> None:
    command = [sys.executable, "-m", "bench.serving.plain_service", "--bundle", str(BUNDLE)]
    command += ["--cache", str(default_cache()), "--greedy"]
    audio = (RECORDINGS / "leave_a_message.wav").read_bytes()
    samples = samples_of("leave_a_message.wav")
    with started("plain", command, ready_path="/health") as server:
        answer = httpx.post(f"{server.url}/predict", files={"file": ("a.wav", audio)}, timeout=120).json()
        assert server.usage().rss_bytes > 100e6
        # Of every length: one that fails would make the rival slower than it is.
        for extra in range(100, 1300, 100):
            cut = wav(samples[: 16_000 + extra])
            assert httpx.post(f"{server.url}/predict", files={"file": ("a.wav", cut)}, timeout=120).status_code == 200
    assert answer["text"]
    found = recognizer.recognize(audio).probabilities
    assert found is not None
    # It pads to thirty seconds and hears what lies around the speech as well: near, not the same.
    assert answer["probabilities"] == pytest.approx(found, abs=0.4)


def test_a_server_that_ends_says_why() -> None:
    command = [sys.executable, "-c", "import sys; sys.exit('no such thing')"]
    with (
        pytest.raises(RuntimeError, match="broken: ended with code 1; it wrote: no such thing"),
        started("broken", command, ready_path="/"),
    ):
        pass
