"""The endpoints; each hands over to the room behind it."""

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from fastapi import APIRouter, Request, Response
from prometheus_client.exposition import choose_encoder
from pydantic import BaseModel
from starlette.background import BackgroundTask

from model.bundle import NETWORK_FILE
from model.errors import (
    AudioTooLong,
    CorruptAudio,
    DeadlineExceeded,
    DecoderCrashed,
    DecodeTooLarge,
    DecodeTooSlow,
    InvalidOption,
    InvalidRequestTimeout,
    InvalidUpload,
    NotReady,
    Overloaded,
    StageFailed,
    TooManyChannels,
    TooManyUtterances,
    UnsupportedAudio,
    UnsupportedSampleRate,
    UploadTooLarge,
)
from model.heap import return_free_memory
from service.answers import answer_of
from service.budget import TIMEOUT_HEADER, Budget, seconds_asked
from service.examples import PREDICT_ANSWER
from service.exchange import exchange_of
from service.lifecycle import service_of
from service.options import DESCRIBED, options_of
from service.problems import documented
from service.schemas import PredictAnswer
from service.uploads import FILE_FIELD, read_upload

router = APIRouter()
"""Open to machines that look after the service."""
keyed_router = APIRouter()
"""Open to callers: whatever hears a recording or tells of the bundle. A key is asked for here, where any is."""

_LONG_MS: Final = 60_000
"""A recording whose stages leave so much free memory behind that it is worth giving back, once it is answered."""
_PREDICT_ERRORS: Final = documented(
    InvalidUpload("send exactly one recording, as the part named file"),
    InvalidRequestTimeout(
        f"{TIMEOUT_HEADER} takes a whole number of milliseconds above zero", value="soon", limit=60_000
    ),
    InvalidOption("adapt takes true or false", value="maybe"),
    UploadTooLarge("the request body has more than 26214400 bytes", value=31457280, limit=26214400),
    AudioTooLong("the recording lasts more than 600 s", value=614.4, limit=600.0),
    TooManyUtterances("the recording holds 231 utterances; at most 200 are accepted", value=231, limit=200),
    UnsupportedAudio("not a recording in a format that is supported", value="255044462d312e37"),
    CorruptAudio("this FLAC file cannot be opened"),
    UnsupportedSampleRate("the sample rate is below 4000 Hz", value=1, limit=4000),
    TooManyChannels("the recording has more than 2 channels", value=6, limit=2),
    DecodeTooSlow("to decode this recording takes more than 10 s", limit=10.0),
    DecodeTooLarge("to decode this recording takes more than 392675328 bytes of memory", limit=392675328),
    DecoderCrashed("the decoder came to its end over this recording"),
    StageFailed("not shown"),
    Overloaded("the queue before stage asr is full", value=257, limit=256),
    NotReady("the service is not ready: loading", value="loading"),
    DeadlineExceeded("no answer within 60 s", limit=60.0),
)

_BINARY: Final = {"schema": {"type": "string", "format": "binary"}}
UPLOAD_REQUEST: Final[dict[str, Any]] = {
    "parameters": [{"name": name, "in": "query", "required": False, **told} for name, told in DESCRIBED.items()],
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": [FILE_FIELD],
                    "properties": {
                        FILE_FIELD: {"type": "string", "format": "binary"},
                        **{name: told["schema"] for name, told in DESCRIBED.items()},
                    },
                }
            },
            "audio/*": _BINARY,
            "application/octet-stream": _BINARY,
        },
    },
}
"""A recording and its options, for OpenAPI."""

_TIMEOUT_PARAMETER: Final = {
    "name": TIMEOUT_HEADER,
    "in": "header",
    "required": False,
    "schema": {"type": "integer", "minimum": 1},
    "description": "How long the caller waits, in milliseconds; the service's own limit where that is shorter, "
    "or where nothing is said. Nothing is begun for a request whose time is up.",
}
_PREDICT_REQUEST: Final = UPLOAD_REQUEST | {"parameters": [_TIMEOUT_PARAMETER, *UPLOAD_REQUEST["parameters"]]}


class Health(BaseModel):
    """A probe's answer."""

    status: str


class ModelAnswer(BaseModel):
    """What is served, and what it was made of."""

    name: str
    version: str
    labels: list[str]
    asr: str
    language: str
    sentence_encoder: str
    temperature: float
    metrics: Mapping[str, Any]
    corpora: list[Mapping[str, str]]
    created: str
    git_commit: str
    sha256: str
    assets: Mapping[str, Mapping[str, str]]


@keyed_router.post(
    "/predict",
    response_model=PredictAnswer,
    responses={200: {"content": {"application/json": {"example": PREDICT_ANSWER}}}, **_PREDICT_ERRORS},
    openapi_extra=_PREDICT_REQUEST,
    summary="Judge the emotion of a recording",
)
async def predict(request: Request) -> Response:
    """Send a recording as the form part `file` or as the raw body; WAV, FLAC, Ogg, MP3, AAC, MP4, WebM and others."""
    service, exchange = service_of(request), exchange_of(request)
    settings = service.settings
    seconds = seconds_asked(request.headers.get(TIMEOUT_HEADER), limit_seconds=settings.request_timeout_seconds)
    with service.admitted() as edition:
        budget = Budget(seconds)
        options_of(settings, request.query_params)  # refused before anything is sent
        upload = await budget.bound(read_upload(request, max_bytes=settings.max_upload_bytes))
        exchange.facts["upload_bytes"] = len(upload.recording)
        options = options_of(settings, request.query_params, upload.fields)
        work = edition.judge(upload.recording, budget, options)
        del upload  # the pipeline lets go of it once it is decoded
        recognition = await budget.bound_while(_disconnected(request), work)
    service.metrics.recording_answered(recognition, speech=edition.facts.features.speech)
    await service.aftermath.see(exchange.request_id, recognition.segments, edition=edition)
    answer = answer_of(
        recognition,
        request_id=exchange.request_id,
        facts=edition.facts,
        roles=options.roles,
        rules=service.alerting.rules,
        redact_transcript=settings.redact_transcript,
    )
    service.alerting.tell_all(answer.alerts, exchange.request_id)
    exchange.facts |= {
        "audio_ms": answer.audio.duration_ms,
        "utterances": len(answer.segments),
        "timings_ms": answer.timings_ms.model_dump(),
    }
    is_long = answer.audio.duration_ms > _LONG_MS
    return Response(
        answer.model_dump_json(),
        media_type="application/json",
        background=BackgroundTask(asyncio.to_thread, return_free_memory) if is_long else None,
    )


@router.get("/health/startup", responses=documented(NotReady("the service is not ready: loading", value="loading")))
async def startup(request: Request) -> Health:
    """Whether the first load is done; green from then on, also while the service drains."""
    service_of(request).require_loaded()
    return Health(status="started")


@router.get("/health/live", responses=documented(NotReady("stage asr is stuck", value=130, limit=120.0)))
async def live(request: Request) -> Health:
    """Whether this process is worth keeping: the event loop answers and no worker is stuck."""
    service_of(request).require_alive()
    return Health(status="alive")


@router.get("/health/ready", responses=documented(NotReady("the service is not ready: loading", value="loading")))
async def ready(request: Request) -> Health:
    """Whether recordings are welcome: golden case matched, everything warm, no stage stuck, no shutdown begun."""
    service_of(request).require_ready()
    return Health(status="ready")


@router.get("/metrics", response_class=Response)
async def metrics(request: Request) -> Response:
    """Everything that is counted, for Prometheus; in OpenMetrics, where asked for, with request ids as examples."""
    encode, media_type = choose_encoder(request.headers.get("accept", ""))
    return Response(encode(service_of(request).metrics.registry), media_type=media_type)


@keyed_router.get("/v1/model", responses=documented(NotReady("the service is not ready: loading", value="loading")))
async def model_facts(request: Request) -> ModelAnswer:
    """What is served: the bundle's facts, measured quality, corpora with their licences, and checksums."""
    bundle = service_of(request).require_loaded().recognizer.bundle
    facts = bundle.facts
    return ModelAnswer(
        name=facts.name,
        version=facts.version,
        labels=list(facts.labels),
        asr=facts.features.speech.asset,
        language=facts.features.speech.language,
        sentence_encoder=facts.features.sentence.name,
        temperature=facts.temperature,
        metrics=facts.metrics,
        corpora=list(facts.corpora),
        created=facts.created,
        git_commit=facts.git_commit,
        sha256=bundle.files[NETWORK_FILE],
        assets=facts.assets,
    )


async def _disconnected(request: Request) -> None:
    """Return when the caller is gone; the body has been read, so nothing else can arrive."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
