"""Live calls over WebSockets: ``/v1/stream`` hears one, ``/v1/calls`` and ``/v1/calls/events`` show them all."""

import asyncio
import json
import logging
import time
from contextlib import suppress
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Request, WebSocket
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from starlette.websockets import WebSocketDisconnect

from model.errors import CallTooLong, ClientTooSlow, NotReady, SessionTaken, StreamInvalid
from service.call_format import CallFormat
from service.lifecycle import Service, service_of
from service.live_call import CallSeat, LiveCall
from service.problems import CLOSE_DONE, CLOSE_RESTART, documented
from service.schemas import ModelName
from service.settings import ROLES_PATTERN
from service.stream_guard import conversing
from service.stream_messages import AckMessage, Board, Message, SessionMessage

logger = logging.getLogger(__name__)

router = APIRouter()
"""WebSockets, which guard themselves: what they refuse is said as a message."""
keyed_router = APIRouter()

_MAX_MESSAGE_SECONDS: Final = 10.0
_ACK_SECONDS: Final = 1.0
_BOARD_SECONDS: Final = 1.0


class _Opening(BaseModel):
    """What a client says in the address."""

    model_config = ConfigDict(extra="forbid")

    encoding: Literal["pcm16", "mulaw"] = "pcm16"
    sample_rate_hz: Annotated[Literal[8000, 16000], BeforeValidator(int)] = 16_000
    channels: Annotated[int, Field(ge=1, le=2)] = 1
    channel_roles: Annotated[str, Field(pattern=f"^$|^{ROLES_PATTERN}$")] = ""
    session_id: Annotated[str, Field(pattern="^[0-9a-f]{32}$")] | None = None
    after_seq: Annotated[int, Field(ge=0, lt=1 << 53)] | None = None


@router.websocket("/v1/stream")
async def stream(websocket: WebSocket) -> None:
    """Hear a live call: binary messages of samples in, JSON about what is said out."""
    async with conversing(websocket) as key_name:
        service = service_of(websocket)
        opening = _read_opening(websocket)
        if opening.session_id is None:
            call_format = CallFormat(
                encoding=opening.encoding, sample_rate_hz=opening.sample_rate_hz, channels=opening.channels
            )
            roles = service.settings.roles(opening.channel_roles)
            call = await service.calls.begin(call_format, roles, key_name=key_name)
        else:
            call = service.calls.find(opening.session_id, key_name=key_name)
        await _Connection(websocket, call, service).serve(after_seq=opening.after_seq)


@router.websocket("/v1/calls/events")
async def call_events(websocket: WebSocket) -> None:
    """Send the board whenever it changes, at most once a second."""
    async with conversing(websocket):
        service = service_of(websocket)
        showing = asyncio.create_task(_show_board(websocket, service))
        listening = asyncio.create_task(_until_gone(websocket))
        leaving = asyncio.create_task(service.calls.is_leaving.wait())
        await _first_of(showing, listening, leaving)
        if leaving.done():
            await websocket.close(CLOSE_RESTART)


@keyed_router.get("/v1/calls", responses=documented(NotReady("the service is not ready: loading", value="loading")))
async def calls(request: Request) -> Board:
    """Live calls of this process, and those that ended lately, the newest first."""
    service = service_of(request)
    service.require_loaded()
    return service.calls.board()


class _Connection:
    """One connection of one call."""

    def __init__(self, websocket: WebSocket, call: LiveCall, service: Service) -> None:
        self._websocket = websocket
        self._call = call
        self._service = service
        self._seat = CallSeat()
        self._too_long: CallTooLong | None = None
        self._repeated_bytes = 0
        self._sent_seq = 0

    async def serve(self, *, after_seq: int | None) -> None:
        """Serve until the call is over, the client is gone, or another connection takes over.

        Raises:
            VcemoError: what the client is told before it is disconnected.
        """
        calls = self._service.calls
        try:
            await self._take_over()
            calls.join(self._call)
            kept = (seq for seq, _ in self._call.record.after(0))
            self._sent_seq = max(kept, default=0) if after_seq is None else after_seq
            await self._greet()
            self._repeated_bytes = self._call.num_repeated_frames * self._call.facts.format.frame_bytes
            sending = asyncio.create_task(self._send())
            hearing = asyncio.create_task(self._hear())
            taken, leaving = (asyncio.create_task(each.wait()) for each in (self._seat.taken, calls.is_leaving))
            first = await _first_of(sending, hearing, taken, leaving)
            if first is taken:
                raise SessionTaken("another connection goes on with this call")
            if first is leaving:
                await self._websocket.close(CLOSE_RESTART)
            elif first is sending and self._too_long is not None:
                raise self._too_long
            elif first is sending:
                await self._websocket.close(CLOSE_DONE)
        finally:
            if self._call.seat is self._seat:
                self._call.seat = None
                calls.leave(self._call)
            self._seat.left.set()

    async def _take_over(self) -> None:
        """The newest connection counts: the one before may be dead without knowing it."""
        before, self._call.seat = self._call.seat, self._seat
        if before is not None:
            before.taken.set()
            await before.left.wait()
        await self._call.settled()

    async def _greet(self) -> None:
        facts = self._call.edition.facts
        await self._write(
            SessionMessage(
                # Not a number of its own: what was missed has lower ones than any that would be free.
                seq=self._sent_seq,
                session_id=self._call.facts.session_id,
                received_ms=self._call.received_ms,
                resume_seconds=self._service.settings.resume_seconds,
                model=ModelName(name=facts.name, version=facts.version, asr=facts.features.speech.asset),
            ).model_dump_json()
        )

    async def _hear(self) -> None:
        """Returns when the client is gone; once it has said that the call is over, only its leaving counts."""
        with suppress(WebSocketDisconnect):
            while True:
                message = await self._websocket.receive()
                if message["type"] == "websocket.disconnect":
                    return
                data = message.get("bytes")
                if data is None:
                    self._read_end(message["text"])
                    await self._call.finish()
                else:
                    limit = _MAX_MESSAGE_SECONDS * self._call.facts.format.second_bytes
                    if len(data) > limit:
                        raise StreamInvalid("a message holds 10 s at most", value=len(data), limit=int(limit))
                    await self._hear_more(data)

    async def _hear_more(self, data: bytes) -> None:
        # Milliseconds are rounded down, and the client begins with the whole one.
        repeated = min(self._repeated_bytes, len(data))
        self._repeated_bytes -= repeated
        try:
            await self._call.hear(data[repeated:])
        except CallTooLong as error:
            # All that was said is still told before the client is disconnected.
            self._too_long = error
            await self._call.finish()

    def _read_end(self, text: str) -> None:
        try:
            is_end = json.loads(text) == {"type": "end"}
        except ValueError:
            is_end = False
        if not is_end:
            raise StreamInvalid('a text message is {"type": "end"}; sound comes in binary messages')

    async def _send(self) -> None:
        """Send what there is until all is said; of what is not kept the newest only."""
        call = self._call
        acked_at, acked_ms = time.monotonic(), -1
        while True:
            call.changed.clear()
            await self._send_kept()
            if call.state == "ended":
                return
            for partial in call.partials():
                await self._say(partial)
            if time.monotonic() - acked_at >= _ACK_SECONDS and call.received_ms != acked_ms:
                acked_at, acked_ms = time.monotonic(), call.received_ms
                await self._say(AckMessage(received_ms=acked_ms))
            with suppress(TimeoutError):
                async with asyncio.timeout(_ACK_SECONDS / 2):
                    await call.changed.wait()

    async def _send_kept(self) -> None:
        for seq, document in self._call.record.after(self._sent_seq):
            await self._write(document)
            self._sent_seq = seq

    async def _say(self, message: Message) -> None:
        """Send a message that is not kept, behind those that are and have lower numbers."""
        seq = await self._call.record.number()
        await self._send_kept()
        await self._write(message.model_copy(update={"seq": seq}).model_dump_json())

    async def _write(self, text: str) -> None:
        await _send_text(self._websocket, self._service, text)


def _read_opening(websocket: WebSocket) -> _Opening:
    try:
        return _Opening.model_validate(dict(websocket.query_params))
    except ValidationError as error:
        first = error.errors()[0]
        name, value = ".".join(map(str, first["loc"])), str(first["input"])[:80]
        raise StreamInvalid(f"{name}: {first['msg']}", value=value) from error


async def _send_text(websocket: WebSocket, service: Service, text: str) -> None:
    limit = service.settings.slow_client_seconds
    try:
        async with asyncio.timeout(limit):
            await websocket.send_text(text)
    except TimeoutError as error:
        raise ClientTooSlow(f"nothing was read for {limit:g} s", limit=limit) from error


async def _show_board(websocket: WebSocket, service: Service) -> None:
    shown = -1
    while True:
        if service.calls.version != shown:
            shown = service.calls.version
            await _send_text(websocket, service, service.calls.board().model_dump_json())
        await asyncio.sleep(_BOARD_SECONDS)


async def _until_gone(websocket: WebSocket) -> None:
    while (await websocket.receive())["type"] != "websocket.disconnect":
        pass


async def _first_of(*tasks: "asyncio.Task[Any]") -> "asyncio.Task[Any]":
    """Return the first task that ends, and end the others; raises what the first has raised."""
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    first = next(task for task in tasks if task in done)
    first.result()
    return first
