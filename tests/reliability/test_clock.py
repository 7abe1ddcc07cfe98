"""The wall clock is set forward and back while requests are under way: nothing that has a limit of time goes by it."""

import concurrent.futures
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from keyed_app import LET_IN, ask, keyed_app, keys_in, outcome
from service_fixtures import serving, wait_until

from bench.serving.bombs import silent_flac
from model.recognizer import EmotionRecognizer

pytest_plugins = ("service_fixtures",)

DAY_SECONDS = 86_400.0
REFUSED = (429, "rate_limited")


@dataclass
class Clock:
    """What the whole process takes for the wall clock, off by some seconds."""

    real: Callable[[], float]
    off_seconds: float = 0.0

    def __call__(self) -> float:
        return self.real() + self.off_seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock(time.time)
    monkeypatch.setattr(time, "time", clock)
    return clock


def test_requests_under_way_are_answered_in_their_time_whatever_the_clock_says(
    recognizer: EmotionRecognizer, clock: Clock, long_speech: bytes
) -> None:
    flac = silent_flac(hours=180 / 3600, rate_hz=48_000)
    with (
        serving(recognizer, max_batch_seconds=20.0, request_timeout_seconds=40.0) as server,
        concurrent.futures.ThreadPoolExecutor(2) as pool,
    ):
        for jump in (DAY_SECONDS, -2 * DAY_SECONDS):
            answers = [pool.submit(server.predict, recording) for recording in (long_speech, flac)]
            wait_until(lambda: server.metric("vcemo_requests_in_flight") == 2)
            clock.off_seconds += jump
            assert [server.client.get(f"/health/{probe}").status_code for probe in ("live", "ready")] == [200, 200]
            late = server.predict(long_speech, **{"X-Request-Timeout-Ms": "50"})
            assert (late.status_code, late.json()["code"]) == (504, "deadline_exceeded")
            assert [answer.result().status_code for answer in answers] == [200, 200]
        assert server.metric('vcemo_decode_workers_lost_total{reason="time_limit"}') == 0
        assert 0 < server.metric('vcemo_request_seconds_sum{route="/predict"}') < 100


def test_a_rate_is_kept_by_a_clock_that_jumps_and_nobody_is_shut_out_for_longer_than_a_minute(
    tmp_path: Path, clock: Clock
) -> None:
    keys = keys_in(tmp_path / "keys.toml", dashboard="requests_per_minute = 2")
    app = keyed_app(tmp_path / "keys.toml")
    three = [("GET", "/v1/model", {"X-API-Key": keys["dashboard"]})] * 3
    for jump in (0.0, DAY_SECONDS, -2 * DAY_SECONDS, -DAY_SECONDS):
        clock.off_seconds += jump
        answers = ask(app, *three)
        assert [outcome(answer) for answer in answers] == [LET_IN, LET_IN, REFUSED]
        assert 1 <= int(answers[2].headers["retry-after"]) <= 60
