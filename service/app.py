"""The application: settings in, ASGI out."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Final

from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Match, Route
from starlette.types import Scope

from model.errors import VcemoError
from model.recognizer import EmotionRecognizer
from service.access import ACCESS_ERRORS, Access
from service.exchange import HEADER, QUIET_ROUTES, ExchangeMiddleware, answer_problem
from service.feedback_routes import router as feedback_router
from service.headers import HeadersMiddleware
from service.job_routes import job_router
from service.keys import Keyring
from service.lifecycle import Service
from service.pages import add_pages
from service.problems import ProblemResponse
from service.routes import keyed_router, router
from service.schemas import SCHEMA_VERSION
from service.settings import Settings
from service.stream import keyed_router as keyed_stream_router
from service.stream import router as stream_router
from service.traces import telemetry

_OPEN: Final = (router, stream_router)
_KEYED: Final = (keyed_router, job_router, feedback_router, keyed_stream_router)
"""Those where a key is asked for, if any is."""


def create_app(settings: Settings, recognizer: EmotionRecognizer | None = None) -> FastAPI:
    """Build the application; without a loaded and warm ``recognizer`` it loads the settings' bundle when it starts.

    Raises:
        KeysInvalid: there is to be a file of API keys, and it cannot be used.
        AlertRulesInvalid: there is to be a file of alert rules, and it cannot be used.
    """
    service = Service(settings, recognizer=recognizer)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        service.start()
        yield
        await service.stop()

    app = FastAPIOffline(
        title="VCEMO",
        summary="Mandarin speech emotion recognition",
        version=SCHEMA_VERSION,
        lifespan=lifespan,
        telemetry=telemetry(QUIET_ROUTES),
    )
    app.state.service = service
    _add_middleware(app, service)
    answer_with_problems(app)
    for unkeyed in _OPEN:
        app.include_router(unkeyed)
    app.state.access = None
    if settings.api_keys_file:
        access = Access(Keyring(Path(settings.api_keys_file)))
        guard = Depends(access.guard, scope="function")
        app.state.access = access
        for keyed in _KEYED:
            app.include_router(keyed, dependencies=[guard], responses=ACCESS_ERRORS)
    else:
        for keyed in _KEYED:
            app.include_router(keyed)
    add_pages(app)
    return app


def answer_with_problems(app: FastAPI) -> None:
    """Turn every error that a route may raise into a problem document."""
    for kind in (VcemoError, HTTPException, RequestValidationError):
        app.add_exception_handler(kind, _answer_problem)


def _add_middleware(app: FastAPI, service: Service) -> None:
    # The last is the outermost: what the exchange answers for a failure is for a browser's page to read as well.
    app.add_middleware(ExchangeMiddleware, metrics=service.metrics, is_leaving=lambda: service.state == "draining")
    if service.settings.origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=service.settings.origins,
            allow_methods=("GET", "POST", "DELETE"),
            # No cookie lets anybody in, so a page gains nothing by a header that it may send.
            allow_headers=("*",),
            expose_headers=(HEADER, "Retry-After", "Location"),
        )
    app.add_middleware(HeadersMiddleware)


async def _answer_problem(request: Request, error: Exception) -> ProblemResponse:
    # Starlette would send a handler that is not async to a thread.
    if isinstance(error, HTTPException) and error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        _name_every_method(error, request.scope)
    return answer_problem(request, error)


def _name_every_method(error: HTTPException, scope: Scope) -> None:
    """Starlette names those of the first route of the path alone."""
    found = [route for router in (*_OPEN, *_KEYED) for route in router.routes if isinstance(route, Route)]
    matching = [route for route in found if route.matches(scope)[0] is not Match.NONE]
    if matching:
        error.headers = {"Allow": ", ".join(sorted({method for route in matching for method in route.methods or ()}))}
