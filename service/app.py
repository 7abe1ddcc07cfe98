"""The application: settings in, ASGI out."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware

from model.errors import VcemoError
from model.recognizer import EmotionRecognizer
from service.access import ACCESS_ERRORS, Access
from service.exchange import HEADER, QUIET_ROUTES, ExchangeMiddleware, answer_problem
from service.feedback_routes import router as feedback_router
from service.headers import HeadersMiddleware
from service.keys import Keyring
from service.lifecycle import Service
from service.problems import ProblemResponse
from service.routes import keyed_router, router
from service.schemas import SCHEMA_VERSION
from service.settings import Settings
from service.traces import telemetry


def create_app(settings: Settings, recognizer: EmotionRecognizer | None = None) -> FastAPI:
    """Build the application; without a loaded and warm ``recognizer`` it loads the settings' bundle when it starts.

    Raises:
        KeysInvalid: there is to be a file of API keys, and it cannot be used.
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
    app.include_router(router)
    access = Access(Keyring(Path(settings.api_keys_file))) if settings.api_keys_file else None
    for keyed in (keyed_router, feedback_router):
        if access is not None:
            guard = Depends(access.guard, scope="function")
            app.include_router(keyed, dependencies=[guard], responses=ACCESS_ERRORS)
        else:
            app.include_router(keyed)
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
            allow_methods=("GET", "POST"),
            # No cookie lets anybody in, so a page gains nothing by a header that it may send.
            allow_headers=("*",),
            expose_headers=(HEADER, "Retry-After"),
        )
    app.add_middleware(HeadersMiddleware)


async def _answer_problem(request: Request, error: Exception) -> ProblemResponse:
    # Starlette would send a handler that is not async to a thread.
    return answer_problem(request, error)
