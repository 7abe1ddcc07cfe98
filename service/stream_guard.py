"""Around every WebSocket: who may open it, its log record, and what the client is told of whatever ends it."""

import asyncio
import json
import logging
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from http import HTTPStatus
from typing import Final
from urllib.parse import urlsplit

from fastapi import WebSocket
from starlette.websockets import WebSocketDisconnect, WebSocketState

from model.errors import OriginRefused
from service.access import HEADER, Access
from service.lifecycle import service_of
from service.logs import stack_of
from service.problems import Problem, close_code_of, problem_of

logger = logging.getLogger(__name__)

SUBPROTOCOL: Final = "vcemo"
KEY_SUBPROTOCOL: Final = "vcemo-key."
"""A page cannot send headers with a WebSocket, but names of protocols: one of them may carry the key."""

_LAST_WORD_SECONDS: Final = 2.0


@asynccontextmanager
async def conversing(websocket: WebSocket) -> AsyncIterator[str]:
    """Accept a WebSocket and let in who may be, yielding the name of the key; tell the client of whatever ends it."""
    offered = websocket.scope["subprotocols"]
    await websocket.accept(subprotocol=SUBPROTOCOL if SUBPROTOCOL in offered else None)
    began, request_id, key_name, code = time.monotonic(), uuid.uuid4().hex, "", "ok"
    try:
        _check_origin(websocket)
        with _entered(websocket) as key_name:
            yield key_name
    except WebSocketDisconnect:
        code = "ok"
    except Exception as error:  # noqa: BLE001 - the top handler: nothing foreign reaches the client
        problem = problem_of(error, request_id=request_id)
        code = problem.code
        if problem.status == HTTPStatus.INTERNAL_SERVER_ERROR:
            logger.error("unexpected error", extra={"facts": {"request_id": request_id, "stack": stack_of(error)}})
        await _refuse(websocket, problem)
    finally:
        service_of(websocket).metrics.stream_ended(code)
        facts = {
            "request_id": request_id,
            "route": websocket.scope["path"],
            "code": code,
            "milliseconds": round((time.monotonic() - began) * 1000),
        }
        logger.info("stream", extra={"facts": facts | ({"key": key_name} if key_name else {})})


async def _refuse(websocket: WebSocket, problem: Problem) -> None:
    """Say why, then disconnect; who does not read that is disconnected all the same."""
    if WebSocketState.DISCONNECTED in (websocket.client_state, websocket.application_state):
        return
    with suppress(TimeoutError, WebSocketDisconnect, RuntimeError):
        async with asyncio.timeout(_LAST_WORD_SECONDS):
            await websocket.send_text(json.dumps({**problem.model_dump(), "type": "problem"}, ensure_ascii=False))
    with suppress(WebSocketDisconnect, RuntimeError):
        await websocket.close(close_code_of(problem), problem.code)


def _check_origin(websocket: WebSocket) -> None:
    """Pages may connect from anywhere, whatever the service says of origins over HTTP: so it is looked at here."""
    origin, settings = websocket.headers.get("origin"), service_of(websocket).settings
    if origin is None or "*" in settings.origins or origin in settings.origins:
        return
    if urlsplit(origin).netloc != websocket.headers.get("host"):
        raise OriginRefused("pages of this origin may not ask; --cors-origins names those that may", value=origin[:80])


@contextmanager
def _entered(websocket: WebSocket) -> Iterator[str]:
    """Let in who may be; yields the name of the key, empty where none is asked for."""
    access: Access | None = websocket.app.state.access
    if access is None:
        yield ""
        return
    bearer = websocket.headers.get("authorization", "")
    protocols = [one for one in websocket.scope["subprotocols"] if one.startswith(KEY_SUBPROTOCOL)]
    shown = websocket.headers.get(HEADER) or bearer.removeprefix("Bearer ")
    with access.entered(shown or next((one.removeprefix(KEY_SUBPROTOCOL) for one in protocols), "")) as key_name:
        yield key_name
