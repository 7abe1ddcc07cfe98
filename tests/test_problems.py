"""Errors as problem documents."""

import json
from collections.abc import Iterator

import pytest
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from model.errors import (
    AdminKeyInvalid,
    AssetMissing,
    AudioTooLong,
    BundleInvalid,
    BundleOutside,
    BundleRefused,
    Cancelled,
    CorruptAudio,
    DeadlineExceeded,
    DecoderCrashed,
    DecodeTooLarge,
    DecodeTooSlow,
    InvalidRequestTimeout,
    InvalidUpload,
    NotReady,
    Overloaded,
    RateLimited,
    ReloadUnderWay,
    StageFailed,
    TooManyAtOnce,
    TooManyChannels,
    Unauthorized,
    UnsupportedAudio,
    UnsupportedSampleRate,
    UploadTooLarge,
    VcemoError,
)
from service.problems import problem_of, problem_response


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (InvalidUpload("x"), 400, "invalid_upload"),
        (InvalidRequestTimeout("x"), 400, "invalid_request_timeout"),
        (AdminKeyInvalid("x"), 401, "admin_key_invalid"),
        (BundleOutside("x"), 403, "bundle_outside"),
        (ReloadUnderWay("x"), 409, "reload_under_way"),
        (BundleRefused("x"), 422, "bundle_refused"),
        (UploadTooLarge("x"), 413, "upload_too_large"),
        (AudioTooLong("x"), 413, "audio_too_long"),
        (UnsupportedAudio("x"), 415, "unsupported_audio"),
        (CorruptAudio("x"), 422, "corrupt_audio"),
        (UnsupportedSampleRate("x"), 422, "unsupported_sample_rate"),
        (TooManyChannels("x"), 422, "too_many_channels"),
        (Unauthorized("x"), 401, "unauthorized"),
        (RateLimited("x"), 429, "rate_limited"),
        (TooManyAtOnce("x"), 429, "too_many_at_once"),
        (DecodeTooSlow("x"), 422, "decode_too_slow"),
        (DecodeTooLarge("x"), 422, "decode_too_large"),
        (DecoderCrashed("x"), 422, "decoder_crashed"),
        (Cancelled("x"), 499, "cancelled"),
        (Overloaded("x"), 503, "overloaded"),
        (NotReady("x"), 503, "not_ready"),
        (DeadlineExceeded("x"), 504, "deadline_exceeded"),
        (StageFailed("x"), 500, "internal_error"),
        (HTTPException(404), 404, "not_found"),
        (HTTPException(405), 405, "method_not_allowed"),
        (RequestValidationError([]), 422, "invalid_request"),
        (ZeroDivisionError(), 500, "internal_error"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else str(value),
)
def test_each_error_has_its_status_and_a_stable_code(error: Exception, status: int, code: str) -> None:
    problem = problem_of(error, request_id="one")
    assert (problem.status, problem.code, problem.request_id) == (status, code, "one")
    assert problem.type == f"urn:vcemo:problem:{code}"


def tree(root: type[VcemoError]) -> Iterator[type[VcemoError]]:
    yield root
    for child in root.__subclasses__():
        yield from tree(child)


def test_every_error_of_the_tree_can_be_answered() -> None:
    statuses = {kind.__name__: problem_of(kind("x"), request_id="one").status for kind in tree(VcemoError)}
    assert all(400 <= status <= 504 for status in statuses.values())


@pytest.mark.parametrize(
    "error",
    [
        KeyError("/home/someone/secret"),
        StageFailed("/home/someone/secret"),
        BundleInvalid("/home/someone/secret", value="/home/someone/secret"),
        AssetMissing("/home/someone/secret", limit="/home/someone/secret"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_is_our_own_fault_tells_nothing_of_the_inside(error: Exception) -> None:
    response = problem_response(error, request_id="one")
    assert response.status_code == 500
    assert b"secret" not in response.body


def test_a_problem_carries_the_value_and_the_limit() -> None:
    response = problem_response(AudioTooLong("too long", value=700.5, limit=600.0), request_id="one")
    assert response.headers["content-type"] == "application/problem+json"
    assert json.loads(bytes(response.body)) == {
        "type": "urn:vcemo:problem:audio_too_long",
        "title": "The recording is too long",
        "status": 413,
        "detail": "too long",
        "code": "audio_too_long",
        "value": 700.5,
        "limit": 600.0,
        "request_id": "one",
    }


@pytest.mark.parametrize(
    "error", [TooManyAtOnce("x"), Overloaded("x"), NotReady("x")], ids=lambda error: type(error).__name__
)
def test_who_may_come_back_is_told_when(error: VcemoError) -> None:
    assert int(problem_response(error, request_id="one").headers["retry-after"]) >= 1


def test_who_asked_too_often_is_told_how_long_the_key_has_to_wait() -> None:
    response = problem_response(RateLimited("x", retry_after_seconds=7), request_id="one")
    assert response.headers["retry-after"] == "7"


@pytest.mark.parametrize("error", [Unauthorized("x"), AdminKeyInvalid("x")], ids=lambda error: type(error).__name__)
def test_who_needs_a_key_is_told_the_scheme(error: VcemoError) -> None:
    assert problem_response(error, request_id="one").headers["www-authenticate"].startswith("Bearer ")


def test_a_method_that_is_not_allowed_still_says_which_are() -> None:
    response = problem_response(HTTPException(405, headers={"Allow": "POST"}), request_id="one")
    assert response.headers["allow"] == "POST"
