"""uvicorn around the application: the banner, the signals, the exit code."""

import signal
import sys
import time
from types import FrameType

import uvicorn
from fastapi import FastAPI

from model.errors import AssetError, KeysInvalid, VcemoError
from service.app import create_app
from service.lifecycle import Service
from service.logs import configure_logging
from service.schemas import SCHEMA_VERSION
from service.settings import Settings
from service.traces import start_tracing


def serve(settings: Settings) -> int:
    """Serve until a signal or a failure; returns the exit code."""
    configure_logging(level=settings.log_level, style=settings.log_format)
    try:
        app = create_app(settings)
    except KeysInvalid as error:
        print(f"error: {error.message}", file=sys.stderr)
        return 1
    service: Service = app.state.service
    end_tracing = start_tracing(settings.traces_endpoint, version=SCHEMA_VERSION) if settings.traces_endpoint else None
    _Server(app, settings).run()
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


class _Server(uvicorn.Server):
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
                timeout_graceful_shutdown=max(1, round(settings.drain_seconds)),
            )
        )
        self._settings = settings
        self._service: Service = app.state.service
        self._leave_at: float | None = None
        self._has_announced = False

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
            print(
                f"\n  ready        {url}\n  try it       {url}/docs\n"
                f"  or           curl {key}-F file=@recording.wav {url}/predict\n",
                flush=True,
            )
