"""Around every request: its id, its log record, its metrics, and an answer whatever happens."""

import asyncio
import logging
import re
import time
import uuid
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass, field
from typing import Any, Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from model.errors import NotReady
from service.logs import stack_of
from service.metrics import Metrics
from service.problems import ProblemResponse, problem_response
from service.traces import tell_span

logger = logging.getLogger(__name__)

HEADER: Final = "X-Request-ID"

_SANE_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,63}")
_LINGER_SECONDS: Final = 2.0
QUIET_ROUTES: Final = frozenset({"/health/startup", "/health/live", "/health/ready", "/metrics"})
"""What machines ask all the time: logged at debug, without a span."""


@dataclass(kw_only=True, slots=True)
class Exchange:
    """One request and what is known of it so far; ``facts`` end up in its log record."""

    request_id: str
    code: str = "ok"
    status: int = 0
    sends_unasked: bool = True
    """False while a caller who sent ``Expect: 100-continue`` has not been told to go on."""
    key_name: str = ""
    """Of the API key that let the request in; empty where none is asked for."""
    has_whole_body: bool = False
    facts: dict[str, Any] = field(default_factory=dict)


def exchange_of(request: Request) -> Exchange:
    """Return the exchange that a request belongs to."""
    exchange: Exchange = request.state.exchange
    return exchange


def answer_problem(request: Request, error: Exception) -> ProblemResponse:
    """Turn an error into its answer; what is our own fault is logged with its stack."""
    exchange = exchange_of(request)
    response = problem_response(error, request_id=exchange.request_id)
    exchange.code = response.problem.code
    tell_span(code=exchange.code)
    if response.status_code == 500:
        logger.error("unexpected error", extra={"facts": {"request_id": exchange.request_id, "stack": stack_of(error)}})
    # The frames of its stack hold the upload, and what holds the error: all of it would wait for the garbage collector.
    error.__traceback__ = None
    return response


class ExchangeMiddleware:
    """Plain ASGI: Starlette's BaseHTTPMiddleware would hide a caller's disconnect."""

    def __init__(self, app: ASGIApp, *, metrics: Metrics, is_leaving: Callable[[], bool] = lambda: False) -> None:
        """is_leaving: whether connections are to be closed after their answer, before the process closes them."""
        self._app = app
        self._metrics = metrics
        self._is_leaving = is_leaving

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = _begun(Headers(scope=scope))
        scope.setdefault("state", {})["exchange"] = exchange
        tell_span(request_id=exchange.request_id)
        listen, speak = _counted(receive, exchange), _identified(receive, send, exchange, self._is_leaving)
        started = time.monotonic()
        try:
            await self._app(scope, listen, speak)
        except asyncio.CancelledError:
            # uvicorn has lost its patience while shutting down; the caller still gets an answer.
            await self._apologise(NotReady("the service is shutting down"), scope, listen, speak)
            raise
        except Exception as error:  # noqa: BLE001 - the top handler: nothing foreign reaches the caller
            await self._apologise(error, scope, listen, speak)
        finally:
            self._record(exchange, scope, seconds=time.monotonic() - started)

    async def _apologise(self, error: Exception, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope)
        response = answer_problem(request, error)
        if not exchange_of(request).status:
            await response(scope, receive, send)

    def _record(self, exchange: Exchange, scope: MutableMapping[str, Any], *, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "other")
        self._metrics.request_ended(route=route, code=exchange.code, seconds=seconds, request_id=exchange.request_id)
        level = logging.INFO
        if route in QUIET_ROUTES:
            level = logging.DEBUG
        elif exchange.status == 500:
            level = logging.ERROR
        facts = {
            "request_id": exchange.request_id,
            "method": scope["method"],
            "route": route,
            "status": exchange.status,
            "code": exchange.code,
            "milliseconds": round(seconds * 1000),
        }
        if exchange.key_name:
            facts["key"] = exchange.key_name
            self._metrics.key_requests.labels(exchange.key_name, exchange.code).inc()
        logger.log(level, "request", extra={"facts": facts | exchange.facts})


def _begun(headers: Headers) -> Exchange:
    wanted = headers.get(HEADER, "")
    return Exchange(
        request_id=wanted if _SANE_ID.fullmatch(wanted) else uuid.uuid4().hex,
        sends_unasked=headers.get("expect", "").lower() != "100-continue",
        has_whole_body="transfer-encoding" not in headers and headers.get("content-length", "0") == "0",
    )


def _counted(receive: Receive, exchange: Exchange) -> Receive:
    async def counted() -> Message:
        exchange.sends_unasked = True
        message = await receive()
        exchange.has_whole_body = exchange.has_whole_body or not message.get("more_body", False)
        return message

    return counted


def _identified(receive: Receive, send: Send, exchange: Exchange, is_leaving: Callable[[], bool]) -> Send:
    """Add the request id to the answer; an answer before the body has ended lets the caller finish sending.

    Closing a connection with bytes unread resets it, and a caller in the middle of an upload would see the
    reset in place of the answer.
    """

    async def identified(message: Message) -> None:
        if message["type"] == "http.response.start":
            exchange.status = message["status"]
            headers = MutableHeaders(scope=message)
            headers[HEADER] = exchange.request_id
            if is_leaving() or not exchange.has_whole_body:
                headers["Connection"] = "close"
        is_last = message["type"] == "http.response.body" and not message.get("more_body", False)
        if is_last and exchange.sends_unasked and not exchange.has_whole_body:
            await send({**message, "more_body": True})
            await _read_on(receive)
            message = {"type": "http.response.body", "body": b""}
        await send(message)

    return identified


async def _read_on(receive: Receive) -> None:
    try:
        async with asyncio.timeout(_LINGER_SECONDS):
            while (await receive()).get("more_body", False):
                pass
    except TimeoutError:
        return  # sends on regardless: is cut off
