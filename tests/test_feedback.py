"""Feedback: a segment of an answer is corrected, and what the network saw of it is kept for training."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import soundfile
from service_fixtures import Running, serving
from sqlalchemy import create_engine, text

from model.feedback import unpack_features
from model.recognizer import EmotionRecognizer

pytest_plugins = ("service_fixtures",)


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("feedback") / "vcemo.sqlite3"


@pytest.fixture(scope="module")
def corrected(recognizer: EmotionRecognizer, database: Path) -> Iterator[Running]:
    """A service of its own, which keeps sound as well."""
    with serving(recognizer, database_url=f"sqlite:///{database}", feedback_audio=True) as running:
        yield running


def test_a_corrected_segment_is_kept_with_what_the_network_saw(
    corrected: Running, recognizer: EmotionRecognizer, database: Path, speech: bytes
) -> None:
    answer = corrected.predict(speech).json()
    (segment,) = answer["segments"]
    assert segment["id"] == f"{segment['channel']}-{segment['start_ms']}"
    order = {"request_id": answer["request_id"], "segment_id": segment["id"], "label": "fear", "note": "听起来害怕"}
    kept = corrected.client.post("/v1/feedback", json=order)
    assert kept.status_code == 201
    assert kept.json().items() >= order.items()

    with create_engine(f"sqlite:///{database}").connect() as connection:
        row = connection.execute(text("SELECT * FROM feedback WHERE id = :id"), {"id": kept.json()["id"]}).one()
    assert row.predicted == segment["emotion"]
    assert row.features_digest == recognizer.bundle.facts.features_digest
    # What was kept, in half precision, is judged as the recording was.
    (again,) = recognizer.classify([unpack_features(row.features)])
    expected = [segment["probabilities"][label] for label in recognizer.bundle.facts.labels]
    assert np.abs(again - expected).max() < 0.01
    path = database.parent / "segment.flac"
    path.write_bytes(row.audio)
    assert soundfile.info(path).duration == pytest.approx(row.seconds, abs=0.001)


def test_who_corrects_again_replaces_the_label(corrected: Running, speech: bytes) -> None:
    answer = corrected.predict(speech).json()
    order = {"request_id": answer["request_id"], "segment_id": answer["segments"][0]["id"]}
    first = corrected.client.post("/v1/feedback", json=order | {"label": "sad"}).json()
    second = corrected.client.post("/v1/feedback", json=order | {"label": "angry"}).json()
    assert second["id"] == first["id"]
    listed = corrected.client.get("/v1/feedback", params={"request_id": answer["request_id"]}).json()
    assert [one["label"] for one in listed["feedback"]] == ["angry"]


def test_several_who_correct_one_segment_at_once_leave_one_row(corrected: Running, speech: bytes) -> None:
    answer = corrected.predict(speech).json()
    order = {"request_id": answer["request_id"], "segment_id": answer["segments"][0]["id"], "label": "sad"}
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: corrected.client.post("/v1/feedback", json=order), range(8)))
    assert [one.status_code for one in found] == [201] * 8
    listed = corrected.client.get("/v1/feedback", params={"request_id": answer["request_id"]}).json()
    assert len(listed["feedback"]) == 1


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"label": "bored"}, 422, "label_unknown"),
        ({"segment_id": "0-999999"}, 404, "segment_unknown"),
        ({"request_id": "another"}, 404, "segment_unknown"),
        ({"note": "x" * 2001}, 422, "invalid_request"),
        ({"note": "x" * 20_000}, 413, "upload_too_large"),
        ({"emotion": "sad"}, 422, "invalid_request"),
    ],
)
def test_what_cannot_be_corrected_is_a_problem(
    corrected: Running, speech: bytes, change: dict[str, str], status: int, code: str
) -> None:
    answer = corrected.predict(speech, **{"X-Request-ID": "the-only-one"}).json()
    order = {"request_id": "the-only-one", "segment_id": answer["segments"][0]["id"], "label": "sad"} | change
    found = corrected.client.post("/v1/feedback", json=order)
    assert (found.status_code, found.json()["code"]) == (status, code)


def test_where_the_database_cannot_be_reached_feedback_alone_fails(
    recognizer: EmotionRecognizer, speech: bytes, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("not a folder")
    with serving(recognizer, database_url=f"sqlite:///{tmp_path}/file/vcemo.sqlite3") as running:
        answer = running.predict(speech).json()
        order = {"request_id": answer["request_id"], "segment_id": answer["segments"][0]["id"], "label": "sad"}
        found = running.client.post("/v1/feedback", json=order)
        assert (found.status_code, found.json()["code"]) == (503, "feedback_not_kept")
        assert running.predict(speech).status_code == 200


def test_what_fails_after_a_judgement_costs_nobody_their_answer(
    corrected: Running, speech: bytes, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def out_of_memory(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr(corrected.service.aftermath.feedback.recent, "remember", out_of_memory)
    answer = corrected.predict(speech)
    assert (answer.status_code, len(answer.json()["segments"])) == (200, 1)
    (record,) = [record for record in caplog.records if record.message == "unexpected error"]
    assert answer.json()["transcript"]["text"] not in str(record.__dict__)
