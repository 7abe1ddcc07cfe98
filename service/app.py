"""The application: settings in, ASGI out."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException

from model.errors import VcemoError
from model.recognizer import EmotionRecognizer
from service.exchange import QUIET_ROUTES, ExchangeMiddleware, answer_problem
from service.lifecycle import Service
from service.problems import ProblemResponse
from service.routes import router
from service.schemas import SCHEMA_VERSION
from service.settings import Settings
from service.traces import telemetry


def create_app(settings: Settings, recognizer: EmotionRecognizer | None = None) -> FastAPI:
    """Build the application; without a loaded and warm ``recognizer`` it loads the settings' bundle when it starts."""
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
    app.add_middleware(ExchangeMiddleware, metrics=service.metrics, is_leaving=lambda: service.state == "draining")
    answer_with_problems(app)
    app.include_router(router)
    return app


def answer_with_problems(app: FastAPI) -> None:
    """Turn every error that a route may raise into a problem document."""
    for kind in (VcemoError, HTTPException, RequestValidationError):
        app.add_exception_handler(kind, _answer_problem)


async def _answer_problem(request: Request, error: Exception) -> ProblemResponse:
    # Starlette would send a handler that is not async to a thread.
    return answer_problem(request, error)
