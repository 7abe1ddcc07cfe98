"""The admin port: another bundle without a restart, for who has its key; off unless it is set up."""

import hashlib
import hmac
from typing import Annotated, Final

from fastapi import APIRouter, Depends, FastAPI, Request
from pydantic import BaseModel, ConfigDict, Field

from model.errors import AdminKeyInvalid
from service.app import answer_with_problems
from service.documents import read_document
from service.exchange import QUIET_ROUTES, ExchangeMiddleware
from service.headers import HeadersMiddleware
from service.lifecycle import Service, State, service_of
from service.traces import telemetry

_MAX_BODY_BYTES: Final = 4096


class ReloadOrder(BaseModel):
    """What to serve."""

    model_config = ConfigDict(extra="forbid")

    bundle: Annotated[str, Field(max_length=1024)] = ""
    """A path below the folder of the configured bundle; empty reads the configured path again."""


class ReloadAnswer(BaseModel):
    """What is served after a reload."""

    changed: bool
    """False where it was served already."""
    name: str
    version: str
    previous_version: str
    seconds: float


class StatusAnswer(BaseModel):
    """What is served now, and by whom it is still needed."""

    state: State
    name: str | None
    version: str | None
    in_flight: int
    retiring: list[str]
    """Earlier versions that requests in flight end on."""


def create_admin_app(service: Service, *, key_sha256: str) -> FastAPI:
    """Build the application of the admin port, without pages of documentation."""
    app = FastAPI(
        title="VCEMO admin", docs_url=None, redoc_url=None, openapi_url=None, telemetry=telemetry(QUIET_ROUTES)
    )
    app.state.service = service
    app.state.key_sha256 = key_sha256
    app.add_middleware(ExchangeMiddleware, metrics=service.metrics)
    app.add_middleware(HeadersMiddleware)
    answer_with_problems(app)
    app.include_router(_router)
    return app


async def _require_key(request: Request) -> None:
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    # Of digests, in constant time: neither the length nor the first letters of the key can be found out.
    found = hashlib.sha256(key.strip().encode("latin-1")).hexdigest()
    if not hmac.compare_digest(found, request.app.state.key_sha256) or scheme.lower() != "bearer":
        raise AdminKeyInvalid("send the admin key as Authorization: Bearer KEY")


_router: Final = APIRouter(prefix="/admin", dependencies=[Depends(_require_key)])


@_router.post("/reload")
async def reload(request: Request) -> ReloadAnswer:
    """Load a bundle, verify it as at start, and serve it to new requests; what fails leaves everything as it was."""
    # After the key was seen.
    order = await read_document(request, ReloadOrder, max_bytes=_MAX_BODY_BYTES)
    service = service_of(request)
    done = await service.reload(order.bundle)
    return ReloadAnswer(
        changed=done.has_changed,
        name=done.name,
        version=done.version,
        previous_version=done.previous_version,
        seconds=round(done.seconds, 3),
    )


@_router.get("/status")
async def status(request: Request) -> StatusAnswer:
    """What is served now."""
    service = service_of(request)
    current = service.editions.current
    return StatusAnswer(
        state=service.state,
        name=current.facts.name if current else None,
        version=current.facts.version if current else None,
        in_flight=service.num_in_flight,
        retiring=[edition.facts.version for edition in service.editions.retiring],
    )
