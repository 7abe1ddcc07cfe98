"""Errors as HTTP answers (RFC 9457): the only place where a status code stands."""

import math
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from model.errors import (
    AdminKeyInvalid,
    AudioError,
    AudioTooLong,
    BundleOutside,
    BundleRefused,
    CallTooLong,
    Cancelled,
    ClientTooSlow,
    CorruptAudio,
    DeadlineExceeded,
    DecoderCrashed,
    DecodeTooLarge,
    DecodeTooSlow,
    FeedbackNotKept,
    InvalidOption,
    InvalidRequestTimeout,
    InvalidUpload,
    JobInterrupted,
    JobNotDone,
    JobUnknown,
    LabelUnknown,
    NoRoom,
    NotReady,
    OriginRefused,
    Overloaded,
    RateLimited,
    ReloadUnderWay,
    RequestTooSlow,
    SegmentUnknown,
    SessionTaken,
    SessionUnknown,
    StreamInvalid,
    TooManyAtOnce,
    TooManyUtterances,
    Unauthorized,
    UnsupportedAudio,
    UploadTooLarge,
    VcemoError,
)

MEDIA_TYPE: Final = "application/problem+json"
INTERNAL: Final = "internal_error"

_KINDS: Final[Mapping[type[VcemoError], tuple[int, str]]] = {
    InvalidUpload: (400, "The request holds no single recording"),
    InvalidRequestTimeout: (400, "The request's own deadline is not valid"),
    InvalidOption: (400, "An option of the request is not valid"),
    StreamInvalid: (400, "The stream is not as the protocol has it"),
    AdminKeyInvalid: (401, "The key is not valid"),
    Unauthorized: (401, "An API key is needed"),
    BundleOutside: (403, "The bundle is not where bundles are loaded from"),
    RequestTooSlow: (408, "The request did not arrive in time"),
    OriginRefused: (403, "The page may not ask from a browser"),
    JobUnknown: (404, "There is no such job"),
    SessionUnknown: (404, "The live call is not known"),
    ClientTooSlow: (408, "The client does not read"),
    SegmentUnknown: (404, "The segment is not known"),
    ReloadUnderWay: (409, "Another bundle is being loaded"),
    JobNotDone: (409, "The job has no result"),
    SessionTaken: (409, "Another connection went on with the live call"),
    JobInterrupted: (422, "The job was interrupted too often"),
    UploadTooLarge: (413, "The upload is too large"),
    AudioTooLong: (413, "The recording is too long"),
    CallTooLong: (413, "The live call is too long"),
    TooManyUtterances: (413, "The recording holds too many utterances"),
    UnsupportedAudio: (415, "The format is not supported"),
    CorruptAudio: (422, "The recording cannot be decoded"),
    DecoderCrashed: (422, "The recording cannot be decoded"),
    DecodeTooLarge: (422, "The recording costs too much to decode"),
    DecodeTooSlow: (422, "The recording costs too much to decode"),
    AudioError: (422, "The recording cannot be used"),
    BundleRefused: (422, "The bundle cannot be served"),
    LabelUnknown: (422, "The label is not known"),
    RateLimited: (429, "The API key has asked too often"),
    TooManyAtOnce: (429, "The API key has too many requests under way"),
    Cancelled: (499, "The caller went away"),
    Overloaded: (503, "The service is busy"),
    NotReady: (503, "The service is not ready"),
    NoRoom: (503, "The service has no room for the recording"),
    FeedbackNotKept: (503, "The feedback cannot be kept now"),
    DeadlineExceeded: (504, "The answer took too long"),
    VcemoError: (500, "The service failed"),
}
"""Looked up from an error's own class upwards. 499 is never seen by a caller; it is for logs and metrics."""

_RETRY_AFTER_SECONDS: Final[Mapping[type[VcemoError], int]] = {
    RateLimited: 1,
    TooManyAtOnce: 1,
    Overloaded: 2,
    NotReady: 5,
    NoRoom: 5,
    FeedbackNotKept: 10,
}
"""At least; a queue that is longer says so, and a key's rate."""
CLOSE_RESTART: Final = 1012
"""Of a WebSocket: the service goes, connect again."""
CLOSE_DONE: Final = 1000
_CLOSE_BASE: Final = 4000

_CHALLENGE: Final = 'Bearer realm="vcemo"'


class Problem(BaseModel):
    """An error as ``application/problem+json``."""

    type: str
    """A stable name of the kind of problem, as a URN."""
    title: str
    """The kind of problem in words."""
    status: int
    """The HTTP status."""
    detail: str
    """What went wrong with this request."""
    code: str
    """The kind of problem for programs."""
    value: int | float | str | None = None
    """What was found, where there is such a thing."""
    limit: int | float | str | None = None
    """What would have been accepted, where there is such a thing."""
    request_id: str
    """The answer's X-Request-ID."""


def problem_of(error: BaseException, *, request_id: str) -> Problem:
    """Describe an error to the caller; of what is not the caller's business only that it happened."""
    if isinstance(error, HTTPException):
        phrase = HTTPStatus(error.status_code).phrase
        return _problem(error.status_code, phrase, phrase.lower().replace(" ", "_"), error.detail, request_id)
    if isinstance(error, RequestValidationError):
        return _problem(422, "The request is not valid", "invalid_request", "see the documentation", request_id)
    if not isinstance(error, VcemoError):
        return _problem(500, _KINDS[VcemoError][1], INTERNAL, "an unexpected error; it was logged", request_id)
    status, title = next(_KINDS[cls] for cls in type(error).__mro__ if cls in _KINDS)
    if status == 500:
        # Messages of asset and bundle errors name paths, those of stages may quote what was said.
        return _problem(status, title, INTERNAL, "an unexpected error; it was logged", request_id)
    problem = _problem(status, title, error.code, error.message, request_id)
    return problem.model_copy(update={"value": _plain(error.value), "limit": _plain(error.limit)})


def close_code_of(problem: Problem) -> int:
    """Return the code that a WebSocket is closed with for a problem: 4000 and its HTTP status."""
    return _CLOSE_BASE + problem.status


def problem_response(error: BaseException, *, request_id: str) -> "ProblemResponse":
    """Answer with a problem document."""
    headers = dict(error.headers or {}) if isinstance(error, HTTPException) else {}
    for kind, seconds in _RETRY_AFTER_SECONDS.items():
        if isinstance(error, kind):
            headers["Retry-After"] = str(max(seconds, math.ceil(getattr(error, "retry_after_seconds", 0.0))))
    if isinstance(error, Unauthorized | AdminKeyInvalid):
        headers["WWW-Authenticate"] = _CHALLENGE
    return ProblemResponse(problem_of(error, request_id=request_id), headers)


class ProblemResponse(JSONResponse):
    """A problem as an HTTP answer."""

    media_type = MEDIA_TYPE

    def __init__(self, problem: Problem, headers: Mapping[str, str]) -> None:
        super().__init__(problem.model_dump(), status_code=problem.status, headers=dict(headers))
        self.problem = problem


_EXAMPLE_ID: Final = "3f1c9a52e0b84d0c8a7be1f2c9d04a11"


def documented(*errors: VcemoError) -> dict[int | str, dict[str, Any]]:
    """Describe errors for OpenAPI, one entry a status with an example of each code."""
    responses: dict[int | str, dict[str, Any]] = {}
    for error in errors:
        problem = problem_of(error, request_id=_EXAMPLE_ID)
        entry = responses.setdefault(
            problem.status,
            {
                "description": problem.title,
                "content": {MEDIA_TYPE: {"schema": Problem.model_json_schema(), "examples": {}}},
            },
        )
        entry["content"][MEDIA_TYPE]["examples"][problem.code] = {"value": problem.model_dump()}
    return responses


def documented_invalid() -> dict[int | str, dict[str, Any]]:
    """Describe, for OpenAPI, what a parameter is answered that is missing or not of its type."""
    problem = problem_of(RequestValidationError([]), request_id=_EXAMPLE_ID)
    content = {MEDIA_TYPE: {"schema": Problem.model_json_schema(), "example": problem.model_dump()}}
    return {problem.status: {"description": problem.title, "content": content}}


def _problem(status: int, title: str, code: str, detail: str, request_id: str) -> Problem:
    return Problem(
        type=f"urn:vcemo:problem:{code}",
        title=title,
        status=status,
        detail=detail,
        code=code,
        request_id=request_id,
    )


def _plain(value: object) -> int | float | str | None:
    return value if value is None or isinstance(value, int | float | str) else str(value)
