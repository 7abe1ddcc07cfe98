"""Jobs over real HTTP, with the real recogniser: progress, results, owners, restarts, the end of their files."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from service_fixtures import Running, samples_of, serving, wait_until, wav

from model.recognizer import EmotionRecognizer
from service.database import open_database
from service.job_folder import JobFolder
from service.job_store import JobStore, StoredPiece
from service.settings import Settings

pytest_plugins = ("service_fixtures",)

TIMES = ("timings_ms", "request_id")


@pytest.fixture(scope="module")
def call() -> bytes:
    """A call of half a minute, at 16 kHz: two sides with eighteen utterances, which are two pieces."""
    words = samples_of("not_in_service.wav")[: int(0.9 * 16_000)]
    sides = np.zeros((2, 34 * 16_000), np.float32)
    for number in range(18):
        begin = int((number // 2 * 3.5 + number % 2 * 1.5 + 0.3) * 16_000)
        sides[number % 2, begin : begin + len(words)] = words
    return wav(sides.T)


@pytest.fixture(scope="module")
def running(recognizer: EmotionRecognizer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with serving(recognizer, state_folder=tmp_path_factory.mktemp("state"), channel_roles="agent,customer") as found:
        yield found


def submit(running: Running, recording: bytes, **options: Any) -> dict[str, Any]:
    answer = running.client.post("/v1/jobs", content=recording, headers={"Content-Type": "audio/wav"}, params=options)
    assert answer.status_code == 202, answer.text
    job: dict[str, Any] = answer.json()
    assert answer.headers["location"] == job["links"]["self"]
    return job


def ended(running: Running, job: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}

    def look() -> bool:
        found.update(running.client.get(job["links"]["self"]).json())
        return found["status"] not in ("queued", "running")

    wait_until(look)
    return found


def without_times(answer: httpx.Response) -> dict[str, Any]:
    assert answer.status_code == 200, answer.text
    return {name: value for name, value in answer.json().items() if name not in TIMES}


def folders(running: Running) -> list[Path]:
    root = running.service.settings.state_folder / "jobs"
    return list(root.iterdir()) if root.is_dir() else []


def test_a_job_gives_what_a_request_gives_and_leaves_no_recording_behind(running: Running, call: bytes) -> None:
    job = ended(running, submit(running, call))
    assert (job["status"], job["progress"], job["error"]) == ("done", 100, None)
    assert job["created_at"] <= job["finished_at"] < job["expires_at"]
    result = running.client.get(job["links"]["result"])
    assert result.json()["request_id"] == job["id"]
    request = running.predict(call)
    assert len(result.json()["segments"]) == 18, [one["id"] for one in result.json()["segments"]]
    assert close(without_times(result), without_times(request))
    wait_until(lambda: not folders(running))
    assert running.client.get("/v1/jobs", params={"limit": 1}).json()["jobs"] == [job]


def close(one: Any, other: Any) -> bool:
    """Equal, probabilities to what batches make of them."""
    if isinstance(one, float) and isinstance(other, float):
        return one == pytest.approx(other, abs=1e-4)
    if isinstance(one, dict):
        return set(one) == set(other) and all(close(one[name], other[name]) for name in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(close, one, other))
    return bool(one == other)


def test_a_recording_that_cannot_be_used_fails_the_job_with_the_problem_a_request_would_get(running: Running) -> None:
    job = ended(running, submit(running, b"RIFF\0\0\0\0WAVE but no more"))
    assert (job["status"], job["error"]["code"], job["links"]["result"]) == ("failed", "corrupt_audio", None)
    answer = running.client.get(f"/v1/jobs/{job['id']}/result")
    assert (answer.status_code, answer.json()["code"], answer.json()["value"]) == (409, "job_not_done", "failed")


@pytest.mark.parametrize(("body", "status"), [(b"%PDF-1.7 and so on", 415), (b"", 422)])
def test_what_is_no_recording_is_refused_before_it_is_a_job(running: Running, body: bytes, status: int) -> None:
    answer = running.client.post("/v1/jobs", content=body, headers={"Content-Type": "audio/wav"})
    assert answer.status_code == status
    wait_until(lambda: not folders(running))


def test_options_of_a_job_are_judged_before_it_is_taken(running: Running) -> None:
    answer = running.client.post("/v1/jobs", content=b"", params={"adapt": "maybe"})
    assert (answer.status_code, answer.json()["code"], answer.json()["value"]) == (400, "invalid_option", "maybe")
    for limit in ("0", "many", "1001"):
        answer = running.client.get("/v1/jobs", params={"limit": limit})
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_option")


def test_who_deletes_a_job_that_runs_cancels_it_and_who_deletes_it_again_forgets_it(
    running: Running, call: bytes
) -> None:
    job, waiting = submit(running, call), submit(running, call)
    for one in (waiting, job):
        assert running.client.delete(one["links"]["self"]).status_code == 204
        assert running.client.get(one["links"]["self"]).json()["status"] == "cancelled"
    wait_until(lambda: not folders(running))
    assert running.client.delete(job["links"]["self"]).status_code == 204
    for method in ("GET", "DELETE"):
        answer = running.client.request(method, job["links"]["self"])
        assert (answer.status_code, answer.json()["code"]) == (404, "job_unknown")


def test_more_jobs_than_places_are_refused(recognizer: EmotionRecognizer, tmp_path: Path, call: bytes) -> None:
    with serving(recognizer, state_folder=tmp_path, max_waiting_jobs=1, max_job_upload_bytes=len(call)) as running:
        job = submit(running, call)
        answer = running.client.post("/v1/jobs", content=call)
        assert (answer.status_code, answer.json()["code"], answer.json()["limit"]) == (503, "overloaded", 1)
        running.client.delete(job["links"]["self"])
        wait_until(lambda: not folders(running))
        answer = running.client.post("/v1/jobs", content=call + b"0")
        assert (answer.status_code, answer.json()["limit"]) == (413, len(call))
        wait_until(lambda: not folders(running))


def test_a_job_goes_on_after_a_restart_where_it_was_left_and_expires(
    recognizer: EmotionRecognizer, tmp_path: Path, call: bytes
) -> None:
    options: dict[str, Any] = {"state_folder": tmp_path, "channel_roles": "agent,customer"}
    with serving(recognizer, **options) as first:
        job = submit(first, call)
        wait_until(lambda: first.client.get(job["links"]["self"]).json()["progress"] > 50)
    store = JobStore(open_database(first.service.settings), expiry_seconds=1)
    (left,) = store.unfinished()
    (piece,) = store.pieces(left.id)
    assert (left.status, left.progress > 50, left.attempts) == ("queued", True, 0)
    with serving(recognizer, **options, job_expiry_seconds=1) as second:
        assert ended(second, job)["status"] == "done"
        answer = second.client.get(f"{job['links']['self']}/result").json()
        begun = second.metric("vcemo_asr_tokens_total")
        expected = without_times(second.predict(call))
        assert close({name: value for name, value in answer.items() if name not in TIMES}, expected)
        assert begun > 0
        assert piece.conversation is not None
    time.sleep(1.1)
    assert store.forget_expired() == 1
    assert store.find(job["id"]) is None


def test_a_job_whose_process_ended_time_and_again_is_given_up(recognizer: EmotionRecognizer, tmp_path: Path) -> None:
    settings = Settings(state_folder=tmp_path)
    store = JobStore(open_database(settings), expiry_seconds=60)
    folder = JobFolder.created(tmp_path / "jobs", "a" * 32)
    folder.upload.write_bytes(b"RIFF but no more")
    folder.let_go()
    store.add("a" * 32, owner="", options='{"names": [], "unjudged": [], "adapt": null}')
    for _ in range(3):
        assert store.begin("a" * 32)
    with serving(recognizer, state_folder=tmp_path) as running:
        job = ended(running, {"links": {"self": f"/v1/jobs/{'a' * 32}"}})
    assert (job["status"], job["error"]["code"]) == ("failed", "job_interrupted")


def test_a_piece_is_kept_once_and_only_while_the_job_runs(tmp_path: Path) -> None:
    store = JobStore(open_database(Settings(state_folder=tmp_path)), expiry_seconds=60)
    store.add("one", owner="key", options="{}")
    piece = StoredPiece(judged="{}", conversation=b"heard")
    assert not store.add_piece("one", 0, piece, progress=10)
    assert store.begin("one")
    assert store.add_piece("one", 0, piece, progress=10)
    with pytest.raises(Exception, match="UNIQUE"):
        store.add_piece("one", 0, piece, progress=20)
    assert (store.pieces("one"), store.unfinished()[0].progress) == ([piece], 10)
    assert store.cancel("one")
    assert not store.add_piece("one", 1, piece, progress=20)
    assert not store.finish("one", "{}")
    assert store.pieces("one") == []


def test_a_key_sees_its_own_jobs_alone(tmp_path: Path) -> None:
    store = JobStore(open_database(Settings(state_folder=tmp_path)), expiry_seconds=60)
    for name, owner in (("one", "dashboard"), ("two", "other"), ("three", "dashboard")):
        store.add(name, owner=owner, options="{}")
    assert {job.id for job in store.newest(owner="dashboard", limit=9)} == {"one", "three"}
    assert len(store.newest(owner="dashboard", limit=1)) == 1
    assert store.find("two", owner="dashboard") is None
    assert store.find("two", owner="other") is not None


def test_a_folder_is_held_by_one_at_a_time(tmp_path: Path) -> None:
    first = JobFolder.created(tmp_path / "jobs", "one")
    second = JobFolder(tmp_path / "jobs", "one")
    assert not second.hold()
    first.let_go()
    assert second.hold()
    second.remove()
    assert not JobFolder(tmp_path / "jobs", "one").hold()
    assert list((tmp_path / "jobs").iterdir()) == []
