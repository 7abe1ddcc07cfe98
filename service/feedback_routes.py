"""The endpoints of feedback: a corrected label for a segment of an answer."""

from typing import Annotated, Final

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field

from model.errors import Cancelled, FeedbackNotKept, LabelUnknown, NotReady, SegmentUnknown, UploadTooLarge
from model.feedback import MAX_NOTE_CHARACTERS
from service.documents import read_document
from service.lifecycle import service_of
from service.problems import documented, documented_invalid

router = APIRouter(prefix="/v1/feedback")
"""Open to callers with a key, where one is asked for."""

_MAX_BODY_BYTES: Final = 16 * 1024
Name = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]*$")]

_UNKNOWN: Final = "this segment was not judged by this process, or too long ago to be remembered"
_ERRORS: Final = documented(
    UploadTooLarge(f"the request body has more than {_MAX_BODY_BYTES} bytes", value=20_000, limit=_MAX_BODY_BYTES),
    SegmentUnknown(_UNKNOWN, value="0-1230"),
    LabelUnknown("expected one of angry, happy, neutral, sad", value="bored", limit="angry, happy, neutral, sad"),
    Cancelled("the caller went away while sending"),
    FeedbackNotKept("the database that feedback is kept in cannot be used at the moment"),
    NotReady("the service is not ready: loading", value="loading"),
)


class FeedbackOrder(BaseModel):
    """What a segment should have been called."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    request_id: Name
    """Of the answer that it is in, or a live call's session_id."""
    segment_id: Name
    """Its id there, such as 0-1230."""
    label: Annotated[str, Field(min_length=1, max_length=32)]
    """What is right instead, or as well: one of the labels that `/v1/model` lists."""
    note: Annotated[str, Field(max_length=MAX_NOTE_CHARACTERS)] = ""
    """For whoever reads the corrections; kept as it is."""


class FeedbackAnswer(BaseModel):
    """A correction as it is kept."""

    id: str
    request_id: str
    segment_id: str
    label: str
    note: str
    created_at: str


class FeedbackList(BaseModel):
    """The corrections of one request, oldest first."""

    feedback: list[FeedbackAnswer]


@router.post(
    "",
    status_code=201,
    responses=_ERRORS,
    summary="Correct the label of a segment",
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": FeedbackOrder.model_json_schema()}},
        }
    },
)
async def correct(request: Request) -> FeedbackAnswer:
    """Keep a corrected label, with what the network saw of that segment; who corrects again replaces it.

    A segment is known to the process that judged it, until newer ones have taken its place.
    """
    service = service_of(request)
    order = await read_document(request, FeedbackOrder, max_bytes=_MAX_BODY_BYTES)
    kept = await service.aftermath.feedback.correct(
        order.request_id,
        order.segment_id,
        label=order.label,
        note=order.note,
        labels=service.require_loaded().facts.labels,
    )
    service.metrics.corrections.inc()
    return _answer(kept)


@router.get(
    "",
    responses=documented(FeedbackNotKept("the database cannot be used at the moment")) | documented_invalid(),
)
async def given(request: Request, request_id: Name) -> FeedbackList:
    """What was corrected of one request."""
    service = service_of(request)
    return FeedbackList(feedback=[_answer(one) for one in await service.aftermath.feedback.given(request_id)])


def _answer(correction: object) -> FeedbackAnswer:
    return FeedbackAnswer.model_validate(correction, from_attributes=True)
