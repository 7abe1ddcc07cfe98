"""The service over real HTTP: a real server, the real recogniser, real speech."""

import concurrent.futures
import io
import json
import re
import time
from typing import Any

import httpx
import numpy as np
import pytest
import soundfile
from jsonschema import Draft202012Validator
from service_fixtures import RECORDINGS, ROOT, Running, samples_of, serving, wait_until, wav

from model.recognizer import EmotionRecognizer
from service.problems import Problem

pytest_plugins = ("service_fixtures",)

CONTRACT = Draft202012Validator(json.loads((ROOT / "docs/schema/predict-v1.json").read_text(encoding="utf-8")))
HEAD = "POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: audio/wav\r\n"


def answer_to(response: httpx.Response) -> dict[str, Any]:
    assert response.status_code == 200, response.text
    document: dict[str, Any] = response.json()
    CONTRACT.validate(document)
    return document


def problem_in(response: httpx.Response) -> Problem:
    assert response.headers["content-type"] == "application/problem+json"
    problem = Problem.model_validate_json(response.content)
    assert problem.status == response.status_code
    assert problem.request_id == response.headers["x-request-id"]
    return problem


def read_all(connection: Any) -> bytes:
    parts = []
    while part := connection.recv(65_536):
        parts.append(part)
    return b"".join(parts)


def test_a_form_and_a_raw_body_get_the_same_answer(server: Running, speech: bytes) -> None:
    raw = answer_to(server.predict(speech))
    form = answer_to(server.client.post("/predict", files={"file": ("../../call.wav", speech)}))
    assert raw["probabilities"] == form["probabilities"]
    assert raw["transcript"]["text"] == form["transcript"]["text"]
    assert sum(raw["probabilities"].values()) == pytest.approx(1.0, abs=1e-3)


def test_mandarin_is_transcribed_and_judged(server: Running, mandarin: list[bytes]) -> None:
    answer = answer_to(server.predict(mandarin[0]))
    assert re.search(r"[\u4e00-\u9fff]", answer["transcript"]["text"])
    assert answer["emotion"] == max(answer["probabilities"], key=answer["probabilities"].get)
    assert answer["segments"][0]["end_ms"] <= answer["audio"]["duration_ms"]


def test_telephony_in_mu_law_is_heard(server: Running) -> None:
    answer = answer_to(server.predict((RECORDINGS / "first_in_line_mulaw.wav").read_bytes()))
    assert answer["audio"]["sample_rate_hz"] == 8000
    assert answer["emotion"] is not None


def test_silence_is_given_no_label(server: Running) -> None:
    answer = answer_to(server.predict(wav(np.zeros(24_000, dtype=np.float32))))
    assert answer["transcript"]["status"] == "no_speech"
    assert (answer["emotion"], answer["probabilities"], answer["sentiment"]) == (None, None, None)
    assert "no_speech" in answer["warnings"]


def test_each_channel_of_a_call_is_heard_on_its_own(server: Running) -> None:
    first, second = samples_of("first_in_line.wav")[:24_000], samples_of("not_in_service.wav")[:24_000]
    answer = answer_to(server.predict(wav(np.stack([first, second], axis=1))))
    assert {(one["channel"], one["role"]) for one in answer["segments"]} == {(0, "agent"), (1, "customer")}
    twice = answer_to(server.predict(wav(np.stack([first, first], axis=1))))
    assert {(one["channel"], one["role"]) for one in twice["segments"]} == {(0, None)}
    assert "identical_channels" in twice["warnings"]


def flac_of(samples: Any) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, 16_000, format="FLAC")
    return file.getvalue()


@pytest.mark.parametrize(
    ("recording", "status", "code"),
    [
        (b"%PDF-1.7 is no recording" * 99, 415, "unsupported_audio"),
        (b"RIFF\xff\xff\xff\xffWAVEfmt nonsense" * 9, 422, "corrupt_audio"),
        (b"", 422, "corrupt_audio"),
        (flac_of(np.zeros(602 * 16_000, dtype=np.float32)), 413, "audio_too_long"),
        (wav(np.zeros((800, 3), dtype=np.float32)), 422, "too_many_channels"),
        (wav(np.zeros(2000, dtype=np.float32), sample_rate_hz=1), 422, "unsupported_sample_rate"),
        (wav(np.full(8000, np.nan, dtype=np.float32), subtype="FLOAT"), 422, "corrupt_audio"),
    ],
    ids=["garbage", "broken header", "nothing", "silent FLAC of ten minutes", "three channels", "1 Hz", "NaN"],
)
def test_what_cannot_be_heard_is_refused_with_a_problem(
    server: Running, recording: bytes, status: int, code: str
) -> None:
    problem = problem_in(server.predict(recording))
    assert (problem.status, problem.code) == (status, code)


def test_unknown_paths_and_methods_are_problems_too(server: Running) -> None:
    assert problem_in(server.client.get("/predictions")).code == "not_found"
    refusal = server.client.get("/predict")
    assert problem_in(refusal).code == "method_not_allowed"
    assert refusal.headers["allow"] == "POST"


def test_a_sane_request_id_is_kept_and_any_other_replaced(server: Running, speech: bytes) -> None:
    kept = server.predict(speech, **{"X-Request-ID": "call-7:part.2"})
    assert kept.headers["x-request-id"] == answer_to(kept)["request_id"] == "call-7:part.2"
    for odd in ("", "x" * 65, "a b", '"}{', "-dash"):
        response = server.client.get("/health/live", headers={"X-Request-ID": odd})
        assert re.fullmatch(r"[0-9a-f]{32}", response.headers["x-request-id"])


def test_an_upload_that_announces_too_much_is_refused_unread(server: Running) -> None:
    with server.connect() as connection:
        connection.sendall(f"{HEAD}Content-Length: 99999999\r\nExpect: 100-continue\r\n\r\n".encode())
        status, _, rest = read_all(connection).partition(b"\r\n")
    assert b"413" in status
    assert b"upload_too_large" in rest


@pytest.mark.parametrize("size", [100_000, 100], ids=["large chunks", "many small chunks"])
def test_an_upload_without_a_length_is_cut_off_at_the_limit(recognizer: EmotionRecognizer, size: int) -> None:
    chunk = f"{size:x}\r\n".encode() + bytes(size) + b"\r\n"
    with serving(recognizer, max_upload_bytes=200_000) as server, server.connect() as connection:
        connection.sendall(f"{HEAD}Transfer-Encoding: chunked\r\n\r\n".encode())
        connection.sendall(chunk * (1_000_000 // size) + b"0\r\n\r\n")
        # The answer arrives whole although the caller was still sending when it was refused.
        connection.shutdown(1)
        received = read_all(connection)
    assert b"HTTP/1.1 413" in received
    assert b'"code":"upload_too_large"' in received
    assert b'"limit":200000' in received


def test_a_body_longer_than_it_announced_does_not_reach_the_recogniser(server: Running, speech: bytes) -> None:
    before = server.metric("vcemo_requests_in_flight")
    with server.connect() as connection:
        connection.sendall(f"{HEAD}Content-Length: 44\r\nConnection: close\r\n\r\n".encode() + speech)
        received = read_all(connection)
    assert received.startswith(b"HTTP/1.1 422")
    assert server.metric("vcemo_requests_in_flight") == before


def test_eight_at_once_get_the_answers_they_get_alone(server: Running, mandarin: list[bytes]) -> None:
    alone = [answer_to(server.predict(clip)) for clip in mandarin]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda clip: answer_to(server.predict(clip)), mandarin))
    for one, other in zip(alone, together, strict=True):
        assert one["transcript"]["text"] == other["transcript"]["text"]
        assert list(one["probabilities"].values()) == pytest.approx(list(other["probabilities"].values()), abs=1e-4)


def test_probes_are_answered_while_recordings_are_judged(server: Running, long_speech: bytes) -> None:
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        judging = pool.submit(server.predict, long_speech)
        wait_until(lambda: server.metric("vcemo_requests_in_flight") >= 1)
        slowest, count = 0.0, 0
        while not judging.done():
            started = time.monotonic()
            assert server.client.get("/health/live").status_code == 200
            slowest, count = max(slowest, time.monotonic() - started), count + 1
        answer = answer_to(judging.result())
    assert count > 5
    assert slowest < 1.0
    assert len(answer["segments"]) >= 2


def test_a_caller_who_hangs_up_is_not_worked_for(server: Running, long_speech: bytes) -> None:
    cancelled = 'vcemo_requests_total{code="cancelled",route="/predict"}'
    before, judged = server.metric(cancelled), server.metric("vcemo_real_time_factor_count")
    with server.connect() as connection:
        connection.sendall(f"{HEAD}Content-Length: {len(long_speech)}\r\n\r\n".encode() + long_speech)
        wait_until(lambda: server.metric("vcemo_requests_in_flight") >= 1)
    wait_until(lambda: server.metric(cancelled) == before + 1)
    assert server.metric('vcemo_queue_depth{stage="asr"}') == 0
    assert server.metric("vcemo_requests_in_flight") == 0
    assert server.metric("vcemo_real_time_factor_count") == judged


def test_one_recording_too_many_is_refused_at_once_and_told_when_to_return(
    recognizer: EmotionRecognizer, speech: bytes
) -> None:
    with serving(recognizer, max_concurrent_requests=1) as server:
        with server.connect() as connection:
            connection.sendall(f"{HEAD}Content-Length: {len(speech)}\r\n\r\n".encode() + speech[:100])
            wait_until(lambda: server.metric("vcemo_requests_in_flight") == 1)
            refusal = server.predict(speech)
            assert problem_in(refusal).code == "overloaded"
            assert int(refusal.headers["retry-after"]) >= 1
        wait_until(lambda: server.metric("vcemo_requests_in_flight") == 0)
        answer_to(server.predict(speech))


def test_a_request_ends_at_its_deadline_whether_it_sends_or_waits(
    recognizer: EmotionRecognizer, long_speech: bytes
) -> None:
    with serving(recognizer, request_timeout_seconds=0.2) as server:
        assert problem_in(server.predict(long_speech)).code == "deadline_exceeded"
        with server.connect() as connection:
            connection.sendall(f"{HEAD}Content-Length: 5000\r\n\r\nRIFF".encode())
            assert connection.recv(100).startswith(b"HTTP/1.1 504")


def test_a_caller_may_wait_for_less_than_the_limit(server: Running, long_speech: bytes, speech: bytes) -> None:
    late = problem_in(server.predict(long_speech, **{"X-Request-Timeout-Ms": "50"}))
    assert (late.status, late.code, late.limit) == (504, "deadline_exceeded", 0.05)
    answer_to(server.predict(speech, **{"X-Request-Timeout-Ms": "999999999"}))
    odd = problem_in(server.predict(speech, **{"X-Request-Timeout-Ms": "soon"}))
    assert (odd.status, odd.code, odd.value, odd.limit) == (400, "invalid_request_timeout", "soon", 60_000)
    parameters = server.client.get("/openapi.json").json()["paths"]["/predict"]["post"]["parameters"]
    assert [(one["name"], one["in"], one["required"]) for one in parameters] == [
        ("X-Request-Timeout-Ms", "header", False)
    ]


def test_a_service_that_has_loaded_has_started(server: Running) -> None:
    answer = server.client.get("/health/startup")
    assert (answer.status_code, answer.json()) == (200, {"status": "started"})


def test_liveness_and_readiness_turn_red_while_a_stage_is_stuck_on_one_batch(
    recognizer: EmotionRecognizer, long_speech: bytes
) -> None:
    with serving(recognizer, max_batch_seconds=0.1) as server, concurrent.futures.ThreadPoolExecutor(1) as pool:
        judging = pool.submit(server.predict, long_speech)
        wait_until(lambda: statuses(server, "/health/live", "/health/ready") == [503, 503])
        assert server.metric("vcemo_ready") == 0
        answer_to(judging.result())
        wait_until(lambda: statuses(server, "/health/live", "/health/ready") == [200, 200])
        assert server.metric("vcemo_ready") == 1


def statuses(server: Running, *paths: str) -> list[int]:
    return [server.client.get(path).status_code for path in paths]


def test_a_request_shows_in_the_metrics(server: Running, speech: bytes) -> None:
    ok = 'vcemo_requests_total{code="ok",route="/predict"}'
    before = server.metric(ok)
    answer = answer_to(server.predict(speech))
    assert server.metric(ok) == before + 1
    assert server.metric("vcemo_audio_seconds_total") > 0
    assert server.metric("vcemo_ready") == 1
    assert server.metric(f'vcemo_emotions_total{{emotion="{answer["emotion"]}"}}') >= 1
    text = server.client.get("/metrics").text
    for stage in ("decode", "vad", "asr", "features", "fusion"):
        assert f'vcemo_batch_size_count{{stage="{stage}"}}' in text
        assert f'vcemo_queue_wait_seconds_count{{stage="{stage}"}}' in text
        assert f'vcemo_stage_seconds_count{{stage="{stage}"}}' in text
    assert 'vcemo_bundle_info{asr="whisper-base"' in text


def test_what_recognition_cost_shows_in_the_metrics(server: Running, speech: bytes) -> None:
    names = ("vcemo_asr_tokens_total", "vcemo_asr_encoded_seconds_total", "vcemo_speech_seconds_total")
    before = [server.metric(name) for name in names]
    answer_to(server.predict(speech))
    tokens, encoded, spoken = (server.metric(name) - old for name, old in zip(names, before, strict=True))
    assert tokens > 0
    assert encoded > spoken > 0
    assert server.metric('vcemo_stage_cpu_seconds_total{stage="decode"}') > 0


def test_a_scraper_that_reads_open_metrics_sees_an_example_of_a_request(server: Running, speech: bytes) -> None:
    answer_to(server.predict(speech, **{"X-Request-ID": "seen-in-the-metrics"}))
    answer = server.client.get("/metrics", headers={"Accept": "application/openmetrics-text"})
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    assert '# {request_id="seen-in-the-metrics"}' in answer.text
    assert "seen-in-the-metrics" not in server.client.get("/metrics").text


def test_the_same_recording_uploaded_by_many_at_once_is_worked_on_once(server: Running, speech: bytes) -> None:
    joined, worked = "vcemo_duplicate_uploads_total", 'vcemo_batch_size_sum{stage="decode"}'
    before = server.metric(joined), server.metric(worked)
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: answer_to(server.predict(speech)), range(4)))
    assert all(answer["probabilities"] == answers[0]["probabilities"] for answer in answers)
    assert len({answer["request_id"] for answer in answers}) == 4
    more_joined, more_worked = server.metric(joined) - before[0], server.metric(worked) - before[1]
    assert more_joined >= 1
    assert more_joined + more_worked == 4


def test_paths_that_do_not_exist_are_one_label_in_the_metrics(server: Running) -> None:
    for number in range(3):
        server.client.get(f"/scan/{number}")
    assert server.metric('vcemo_requests_total{code="not_found",route="other"}') >= 3
    assert "/scan" not in server.client.get("/metrics").text


def test_the_bundle_tells_what_it_was_made_of(server: Running, recognizer: EmotionRecognizer) -> None:
    facts = server.client.get("/v1/model").json()
    assert facts["labels"] == list(recognizer.bundle.facts.labels)
    assert facts["temperature"] == recognizer.bundle.facts.temperature
    assert re.fullmatch(r"[0-9a-f]{64}", facts["sha256"])
    assert facts["corpora"]


def test_the_documentation_shows_the_upload_and_every_problem(server: Running) -> None:
    operation = server.client.get("/openapi.json").json()["paths"]["/predict"]["post"]
    assert set(operation["requestBody"]["content"]) == {"multipart/form-data", "audio/*", "application/octet-stream"}
    assert {"200", "400", "413", "415", "422", "500", "503", "504"} <= set(operation["responses"])
    assert operation["responses"]["200"]["content"]["application/json"]["example"]["emotion"] == "angry"
    examples = operation["responses"]["413"]["content"]["application/problem+json"]["examples"]
    assert set(examples) == {"upload_too_large", "audio_too_long", "too_many_utterances"}
    assert server.client.get("/docs").status_code == 200


def test_after_many_bad_and_broken_requests_a_good_one_succeeds(server: Running, speech: bytes) -> None:
    generator = np.random.default_rng(0)
    for number in range(60):
        with server.connect() as connection:
            body = generator.bytes(int(generator.integers(1, 3000)))
            missing = int(generator.integers(0, 2)) * 500
            head = HEAD if number % 3 else HEAD.replace("audio/wav", "multipart/form-data; boundary=edge")
            connection.sendall(f"{head}Content-Length: {len(body) + missing}\r\n\r\n".encode() + body)
            if not missing:
                assert connection.recv(12) in (b"HTTP/1.1 400", b"HTTP/1.1 415", b"HTTP/1.1 422")
    answer_to(server.predict(speech))
    wait_until(lambda: server.metric("vcemo_requests_in_flight") == 0)


def test_the_page_of_the_documentation_needs_no_other_host(server: Running) -> None:
    page = server.client.get("/docs").text
    linked = re.findall(r'(?:href|src)="([^"]+)"', page)
    assert linked
    assert all(link.startswith("/") for link in linked)
    assert all(server.client.get(link).status_code == 200 for link in linked)


def test_roles_are_asked_for_as_a_parameter_or_in_the_form(server: Running, speech: bytes) -> None:
    by_form = answer_to(
        server.client.post("/predict", files={"file": ("a.wav", speech)}, data={"channel_roles": "customer"})
    )
    query = server.client.post("/predict", params={"channel_roles": "caller"}, content=speech)
    assert [one["role"] for one in by_form["segments"]] == ["customer"]
    assert [one["role"] for one in answer_to(query)["segments"]] == ["caller"]
    assert by_form["summary"]["roles"][0]["role"] == "customer"
    refusal = server.client.post("/predict", params={"adapt": "perhaps"}, content=speech)
    assert (problem_in(refusal).code, problem_in(refusal).value) == ("invalid_option", "perhaps")


def test_identical_channels_are_said_and_nobody_is_given_a_role(server: Running) -> None:
    words = samples_of("not_in_service.wav")[:16_000]
    answer = answer_to(server.predict(wav(np.stack([words, words], axis=1))))
    assert answer["warnings"].count("identical_channels") == 1
    assert {one["role"] for one in answer["segments"]} == {None}
    assert [role["channel"] for role in answer["summary"]["roles"]] == [0]


def test_an_unjudged_role_is_in_the_timeline_and_nowhere_else(recognizer: EmotionRecognizer) -> None:
    words = samples_of("not_in_service.wav")[:16_000]
    sides = np.zeros((4 * 16_000, 2), np.float32)
    sides[:16_000, 0], sides[32_000:48_000, 1] = words, words
    with serving(recognizer, channel_roles="agent,customer", unjudged_roles="agent") as running:
        answer = answer_to(running.predict(wav(sides)))
        unknown = answer_to(running.predict(wav(words)))
    agent, customer = answer["segments"]
    assert (agent["role"], agent["judged"], agent["emotion"], agent["probabilities"]) == ("agent", False, None, None)
    assert agent["text"]
    assert agent["sentiment"] is None
    assert answer["probabilities"] == customer["probabilities"]
    assert [role["emotions"] is None for role in answer["summary"]["roles"]] == [True, False]
    assert (unknown["emotion"], unknown["warnings"]) == (None, ["other_language", "role_unknown"])
