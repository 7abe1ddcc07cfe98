"""uvicorn around the application: the banner, the signals, the exit code."""

import asyncio
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from types import FrameType
from typing import Any, Final

import uvicorn
from fastapi import FastAPI

from model.errors import AlertRulesInvalid, AssetError, KeysInvalid, VcemoError
from service.admin import create_admin_app
from service.app import create_app
from service.connections import bounded_protocol
from service.lifecycle import Service
from service.logs import configure_logging
from service.schemas import SCHEMA_VERSION
from service.settings import Settings
from service.traces import start_tracing

_MAX_MESSAGE_BYTES: Final = 1 << 20
"""Ten seconds of two channels at 16 kHz take 640 kB."""
_LAST_REQUESTS_SECONDS: Final = 1.0
"""For a caller who has connected, or keeps a connection, and may be sending at this moment."""


def serve(settings: Settings) -> int:
    """Serve until a signal or a failure; returns the exit code."""
    configure_logging(level=settings.log_level, style=settings.log_format)
    try:
        app = create_app(settings)
    except (AlertRulesInvalid, KeysInvalid) as error:
        print(f"error: {error.message}", file=sys.stderr)
        return 1
    service: Service = app.state.service
    end_tracing = start_tracing(settings.traces_endpoint, version=SCHEMA_VERSION) if settings.traces_endpoint else None
    try:
        Server(app, settings).run()
    finally:
        _forget_what_cannot_be_written()
    if end_tracing is not None:
        end_tracing()
    if service.failure is None:
        return 0
    if not isinstance(service.failure, VcemoError):
        raise service.failure
    print(f"error: {service.failure.message}", file=sys.stderr)
    if isinstance(service.failure, AssetError):
        print(f"to fetch all that is missing: python -m model.assets fetch --cache {settings.cache}", file=sys.stderr)
    return 1


def websocket_options(settings: Settings) -> dict[str, Any]:
    """Return how uvicorn serves WebSockets: no message is read before the last was taken; pings find the dead."""
    return {
        "ws": "websockets-sansio",
        "ws_max_size": _MAX_MESSAGE_BYTES,
        "ws_ping_interval": settings.heartbeat_seconds,
        "ws_ping_timeout": settings.heartbeat_seconds,
        # Sound hardly gets smaller, and what unpacks can be a bomb.
        "ws_per_message_deflate": False,
    }


class Server(uvicorn.Server):
    """uvicorn that turns not ready before it stops listening, tells when it is ready, and ends when loading fails."""

    def __init__(self, app: FastAPI, settings: Settings) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                host=settings.host,
                port=settings.port,
                log_config=None,
                access_log=False,
                server_header=False,
                http=bounded_protocol(settings, on_cut=app.state.service.metrics.connection_cut),
                timeout_graceful_shutdown=max(1, round(settings.drain_seconds)),
                **websocket_options(settings),
            )
        )
        self._settings = settings
        self._service: Service = app.state.service
        self._leave_at: float | None = None
        self._has_announced = False

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve, with the admin port beside it where there is one."""
        async with _admin_port(self._service, self._settings):
            await super().serve(sockets)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen no more, answer whoever is connected, then end.

        uvicorn closes a connection that has no request yet at once: one that is on its way would be lost.
        """
        if self._service.state in ("loading", "ready"):
            self._service.begin_drain()
        self._service.calls.is_leaving.set()
        await self._stop_listening()
        deadline = time.monotonic() + _LAST_REQUESTS_SECONDS
        while self.server_state.connections and not self.force_exit and time.monotonic() < deadline:
            await asyncio.sleep(0.02)
        await super().shutdown(sockets)

    async def _stop_listening(self) -> None:
        """Close the listening sockets, and take over who has connected but was not accepted: closing resets them."""
        loop = asyncio.get_running_loop()
        listening = [each for server in self.servers for each in server.sockets]
        for each in listening:
            loop.remove_reader(each.fileno())
        # What was accepted in this turn of the loop belongs to a server that has to be open still.
        await asyncio.sleep(0)
        remaining = [socket.socket(fileno=os.dup(each.fileno())) for each in listening]
        for server in self.servers:
            server.close()
        for last in remaining:
            connected = list(_waiting(last))
            last.close()
            for each in connected:
                await loop.connect_accepted_socket(self._protocol, each)

    def _protocol(self) -> asyncio.Protocol:
        # As uvicorn makes them when it starts.
        made: asyncio.Protocol = self.config.http_protocol_class(  # type: ignore[call-arg]
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )
        return made

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to drain; a second Ctrl+C ends at once. uvicorn's own would raise the signal again at the end."""
        if self._leave_at is not None:
            self.should_exit = True
            self.force_exit = sig == signal.SIGINT
            return
        self._leave_at = time.monotonic() + self._settings.linger_seconds

    async def on_tick(self, counter: int) -> bool:
        """Look after the service ten times a second."""
        if self._leave_at is not None and self._service.state != "draining":
            # Here and not in the signal handler, which may interrupt the logging that this does.
            self._service.begin_drain()
        if self._service.state == "ready" and not self._has_announced:
            self._has_announced = True
            self._announce()
        is_over = self._leave_at is not None and time.monotonic() >= self._leave_at
        return bool(is_over or self._service.failure or await super().on_tick(counter))

    def _announce(self) -> None:
        port = self.servers[0].sockets[0].getsockname()[1]
        host = "localhost" if self._settings.host in ("127.0.0.1", "0.0.0.0", "::") else self._settings.host  # noqa: S104
        url = f"http://{host}:{port}"
        if self._settings.log_format == "text":
            key = '-H "X-API-Key: YOURS" ' if self._settings.api_keys_file else ""
            with suppress(OSError):  # where it goes to may be full, which is no reason not to serve
                print(
                    f"\n  ready        {url}\n  try it       {url}/dashboard\n  reference    {url}/docs\n"
                    f"  or           curl {key}-F file=@recording.wav {url}/predict\n",
                    flush=True,
                )


def _forget_what_cannot_be_written() -> None:
    """Leave with the exit code that was earned: Python has one of its own for output that it is left with."""
    for name in ("stdout", "stderr"):
        try:
            getattr(sys, name).flush()
        except OSError:
            setattr(sys, name, None)


class _AdminServer(uvicorn.Server):
    """uvicorn that leaves the signals to the server it runs beside."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield


@asynccontextmanager
async def _admin_port(service: Service, settings: Settings) -> AsyncIterator[None]:
    """Listen on the admin port, and to SIGHUP, as long as the service runs; without a port do neither."""
    if not settings.admin_port:
        yield
        return
    app = create_admin_app(service, key_sha256=settings.read_admin_digest())
    server = _AdminServer(
        uvicorn.Config(
            app,
            host=settings.admin_host,
            port=settings.admin_port,
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            http=bounded_protocol(settings, on_cut=service.metrics.connection_cut),
            timeout_graceful_shutdown=1,
        )
    )
    listening = asyncio.create_task(server.serve())
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, service.reload_on_signal)
    try:
        yield
    finally:
        server.should_exit = True
        await listening


def _waiting(listening: socket.socket) -> Iterator[socket.socket]:
    """Accept, without waiting, whoever has connected."""
    listening.setblocking(False)
    while True:
        try:
            connected, _ = listening.accept()
        except ConnectionError:  # hung up meanwhile
            continue
        except OSError:  # nobody waits, or no descriptor is left
            return
        yield connected
