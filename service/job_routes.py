"""The endpoints of jobs: long recordings, in the background."""

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from model.containers import refuse_strangers
from model.errors import (
    CorruptAudio,
    DeadlineExceeded,
    InvalidOption,
    InvalidUpload,
    JobNotDone,
    JobUnknown,
    NotReady,
    Overloaded,
    UnsupportedAudio,
    UploadTooLarge,
)
from service.budget import Budget
from service.exchange import exchange_of
from service.job import Job, JobLinks, JobList
from service.lifecycle import service_of
from service.options import options_of
from service.problems import Problem, documented
from service.routes import UPLOAD_REQUEST
from service.schemas import PredictAnswer
from service.uploads import receive_upload

if TYPE_CHECKING:
    from service.job_store import StoredJob

job_router = APIRouter(prefix="/v1/jobs", tags=["jobs"])
"""Open to callers, as the keyed one."""

_NOTHING_STORED: Final = NotReady("what has to outlive the process cannot be stored now")
_UNKNOWN: Final = documented(
    JobUnknown("there is no job of this name, or it has expired", value="3f1c9a52e0b84d0c8a7be1f2c9d04a11"),
    _NOTHING_STORED,
)
_POST_ERRORS: Final = documented(
    InvalidUpload("send exactly one recording, as the part named file"),
    InvalidOption("adapt takes true or false", value="maybe"),
    UploadTooLarge("the request body has more than 268435456 bytes", value=301989888, limit=268435456),
    UnsupportedAudio("not a recording in a format that is supported", value="255044462d312e37"),
    CorruptAudio("the recording is empty"),
    Overloaded("every place for a job is taken", value=32, limit=32),
    _NOTHING_STORED,
    DeadlineExceeded("no answer within 600 s", limit=600.0),
)
_HEAD_BYTES: Final = 64
_MOST_LISTED: Final = 1000
_LISTED: Final = 100
_LIMIT: Final = {
    "name": "limit",
    "in": "query",
    "required": False,
    "schema": {"type": "integer", "minimum": 1, "maximum": _MOST_LISTED, "default": _LISTED},
}


@job_router.post(
    "",
    status_code=202,
    response_model=Job,
    responses={202: {"headers": {"Location": {"schema": {"type": "string"}}}}, **_POST_ERRORS},
    openapi_extra=UPLOAD_REQUEST,
    summary="Judge a long recording in the background",
)
async def submit(request: Request) -> Response:
    """Send a recording as to `/predict`; ask `Location` how far it is. It goes on when the service is restarted."""
    service, exchange = service_of(request), exchange_of(request)
    settings = service.settings
    service.require_loaded()
    options_of(settings, request.query_params)  # refused before anything is sent
    budget = Budget(settings.job_upload_timeout_seconds)
    async with service.jobs.place() as place:
        with place.folder.upload.open("wb") as file:
            receiving = receive_upload(request, max_bytes=settings.max_job_upload_bytes, take=file.write)
            fields = await budget.bound(receiving)
        with place.folder.upload.open("rb") as file:
            refuse_strangers(file.read(_HEAD_BYTES))
        options = options_of(settings, request.query_params, fields)
        job = _job_of(await service.jobs.add(place, options, owner=exchange.key_name))
    exchange.facts["job"] = job.id
    headers = {"Location": job.links.self}
    return JSONResponse(job.model_dump(mode="json"), status_code=202, headers=headers)


@job_router.get(
    "",
    responses=documented(_NOTHING_STORED, InvalidOption("limit takes a number from 1 to 1000", value="0", limit=1000)),
    openapi_extra={"parameters": [_LIMIT]},
    summary="List the caller's jobs",
)
async def jobs(request: Request) -> JobList:
    """Show the newest first."""
    asked = request.query_params.get("limit", str(_LISTED))
    if not re.fullmatch("[0-9]{1,4}", asked) or not 1 <= (limit := int(asked)) <= _MOST_LISTED:
        raise InvalidOption(f"limit takes a number from 1 to {_MOST_LISTED}", value=asked[:80], limit=_MOST_LISTED)
    found = await service_of(request).jobs.newest(owner=exchange_of(request).key_name, limit=limit)
    return JobList(jobs=[_job_of(job) for job in found])


@job_router.get("/{job_id}", responses=_UNKNOWN, summary="Tell how far a job is")
async def job(request: Request, job_id: str) -> Job:
    """Tell its status, its progress in percent, and why it failed where it did."""
    return _job_of(await service_of(request).jobs.find(job_id, owner=exchange_of(request).key_name))


@job_router.get(
    "/{job_id}/result",
    response_model=PredictAnswer,
    responses=_UNKNOWN | documented(JobNotDone("the job has no result: it is running", value="running", limit="done")),
    summary="Return the answer of a job that is done",
)
async def result(request: Request, job_id: str) -> Response:
    """Answer as `/predict` does; the request_id is the job's id. Kept until the job expires."""
    service = service_of(request)
    written = await service.jobs.result(job_id, owner=exchange_of(request).key_name)
    if service.settings.redact_transcript:  # it may have been kept before that was set
        written = _redacted(PredictAnswer.model_validate_json(written)).model_dump_json()
    return Response(written, media_type="application/json")


@job_router.delete("/{job_id}", status_code=204, responses=_UNKNOWN, summary="Cancel a job, or forget one that ended")
async def end(request: Request, job_id: str) -> None:
    """Delete the recording at once; of a job that has ended, its result."""
    await service_of(request).jobs.end(job_id, owner=exchange_of(request).key_name)


def _job_of(stored: "StoredJob") -> Job:
    where = f"{job_router.prefix}/{stored.id}"
    return Job(
        id=stored.id,
        status=stored.status,
        progress=stored.progress,
        created_at=_moment(stored.created_ms),
        finished_at=None if stored.finished_ms is None else _moment(stored.finished_ms),
        expires_at=None if stored.expires_ms is None else _moment(stored.expires_ms),
        error=None if stored.error is None else Problem.model_validate_json(stored.error),
        links=JobLinks(self=where, result=f"{where}/result" if stored.status == "done" else None),
    )


def _moment(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def _redacted(answer: PredictAnswer) -> PredictAnswer:
    return answer.model_copy(
        update={
            "transcript": answer.transcript.model_copy(update={"text": None}),
            "segments": [segment.model_copy(update={"text": None}) for segment in answer.segments],
        }
    )
