"""Connections that never finish asking, or never listen to the answer: cut in time, so that they hold no place."""

import time
import uuid
from asyncio import TimerHandle, Transport
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Literal, TypeAlias

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from model.errors import Overloaded, RequestTooSlow, VcemoError
from service.exchange import HEADER
from service.headers import secure
from service.problems import problem_response
from service.settings import Settings

Cut: TypeAlias = Literal["slow_head", "slow_body", "slow_reader", "made_way", "refused"]
"""Why a connection was ended: what its caller was too slow at, or that there was no room for it."""

_BODY_GRACE_SECONDS: Final = 5.0
"""For the application to say itself that time is up, which it says better."""
_LAST_SECONDS: Final = 5.0
"""For a caller to read why the connection is closed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Bounds:
    """How long a caller may take to send a head, or a body, or to read, and how many may be connected."""

    head_seconds: float
    body_seconds: float
    reading_seconds: float
    max_connections: int
    on_cut: Callable[[Cut], None]


def bounded_protocol(settings: Settings, *, on_cut: Callable[[Cut], None]) -> type[H11Protocol]:
    """Return uvicorn's HTTP/1.1 within what the settings allow; ``on_cut`` hears of every connection that is ended."""

    class Bounded(BoundedProtocol):
        bounds = Bounds(
            head_seconds=settings.request_head_seconds,
            body_seconds=settings.request_timeout_seconds + _BODY_GRACE_SECONDS,
            reading_seconds=settings.request_timeout_seconds,
            max_connections=settings.max_connections,
            on_cut=on_cut,
        )

    return Bounded


class BoundedProtocol(H11Protocol):
    """uvicorn's own bounds the silence after an answer, and nothing else: one byte now and then holds it for ever."""

    bounds: ClassVar[Bounds]

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._idle_since = 0.0
        self._awaited: tuple[Cut, object] | None = None
        self._sending: TimerHandle | None = None
        self._reading: TimerHandle | None = None
        self._is_handed_over = False

    @property
    def is_asking(self) -> bool:
        """Whether a request is under way: its head is complete, its answer is not."""
        return self.cycle is not None and not self.cycle.response_complete

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        """Make room, where there is none, by ending the connection that has asked for nothing the longest."""
        super().connection_made(transport)
        self._idle_since = time.monotonic()
        if len(self.connections) > self.bounds.max_connections:
            self._make_room()
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the timers."""
        self._forget()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read on, and see what is still to come."""
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        """Wait for the next head."""
        super().on_response_complete()
        self._idle_since = time.monotonic()
        self._watch()

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        """Leave the connection to the WebSocket, which has bounds of its own."""
        self._is_handed_over = True
        self._forget()
        super().handle_websocket_upgrade(event)

    def pause_writing(self) -> None:
        """Give the caller time to read what is already sent."""
        super().pause_writing()
        self._reading = self.loop.call_later(self.bounds.reading_seconds, self._end, "slow_reader")

    def resume_writing(self) -> None:
        """Go on."""
        super().resume_writing()
        if self._reading is not None:
            self._reading.cancel()

    def _watch(self) -> None:
        """Give what the caller has to send next its time; what it is sending already keeps the time that it has."""
        awaited = None if self._is_handed_over else self._still_to_come()
        if awaited == self._awaited:
            return
        if self._sending is not None:
            self._sending.cancel()
        self._awaited = awaited
        if awaited is not None:
            is_head = awaited[0] == "slow_head"
            seconds = self.bounds.head_seconds if is_head else self.bounds.body_seconds
            self._sending = self.loop.call_later(seconds, self._end_head if is_head else self._end, awaited[0])

    def _still_to_come(self) -> tuple[Cut, object] | None:
        # With the request that was the last one, so that the next gets a time of its own.
        if not self.is_asking:
            return "slow_head", self.cycle
        return ("slow_body", self.cycle) if self.cycle.more_body else None

    def _end_head(self, cut: Cut) -> None:
        if self.transport.is_closing():
            self._end("slow_reader")
        elif self.conn.our_state is not h11.IDLE:
            self._end("slow_body")  # answered already, and sends on
        elif self.conn.trailing_data[0]:
            seconds = self.bounds.head_seconds
            self._refuse(RequestTooSlow(f"the head of a request takes more than {seconds:g} s", limit=seconds), cut)
        else:
            self.timeout_keep_alive_handler()

    def _end(self, cut: Cut) -> None:
        self.bounds.on_cut(cut)
        # Nobody else is to count it, or to end it again, until the loop comes round to it.
        self.connections.discard(self)
        self.transport.abort()

    def _refuse(self, error: VcemoError, cut: Cut) -> None:
        """Say why, and close."""
        self.bounds.on_cut(cut)
        request_id = uuid.uuid4().hex
        answer = problem_response(error, request_id=request_id)
        answer.headers.update({HEADER: request_id, "Connection": "close"})
        secure(answer.headers)
        head = h11.Response(status_code=answer.status_code, headers=answer.raw_headers)
        events = (head, h11.Data(data=bytes(answer.body)), h11.EndOfMessage())
        self.transport.write(b"".join(self.conn.send(event) or b"" for event in events))
        self.transport.close()
        self._reading = self.loop.call_later(_LAST_SECONDS, self.transport.abort)

    def _make_room(self) -> None:
        idle = [
            one
            for one in self.connections
            if isinstance(one, BoundedProtocol) and one is not self and not one.is_asking
        ]
        if idle:
            # Last of all one whose answer is still on its way out.
            min(idle, key=lambda one: (one.transport.get_write_buffer_size() > 0, one._idle_since))._end("made_way")
            return
        limit = self.bounds.max_connections
        self._refuse(Overloaded("every connection is taken", value=len(self.connections), limit=limit), "refused")

    def _forget(self) -> None:
        for timer in (self._sending, self._reading):
            if timer is not None:
                timer.cancel()
