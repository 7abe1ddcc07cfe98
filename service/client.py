"""A client of the service: recordings and live calls, async and not; ``python -m service.client FILE [--live]``.

>>> client = Client("http://localhost:8000")
>>> answer = client.predict(Path("call.wav"), channel_roles="agent,customer")
>>> for event in client.stream(blocks, CallFormat(encoding="mulaw", sample_rate_hz=8000, channels=2)):
...     print(event["type"])
"""

import asyncio
import queue
import random
import sys
import threading
import time
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

import httpx2
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from model.errors import ServiceRefused, ServiceUnreachable
from service.call_format import CallFormat
from service.client_call import ClientCall, Event, refused

HEADER: Final = "X-API-Key"

_PREDICT_SECONDS: Final = 600.0
_CONNECT_SECONDS: Final = 10.0
_FIRST_RETRY_SECONDS: Final = 0.2
_LONGEST_RETRY_SECONDS: Final = 5.0
_MOST_UNREAD: Final = 1000
_TRY_AGAIN: Final = frozenset({"overloaded", "not_ready", "client_too_slow", "deadline_exceeded"})
"""Codes of problems that pass."""

Sound = Iterable[bytes] | AsyncIterable[bytes]


class AsyncClient:
    """Asks a service; one may be shared by many tasks."""

    def __init__(self, url: str = "http://localhost:8000", *, key: str = "") -> None:
        """url: of the service. key: an API key, where it asks for one."""
        self._url = url.rstrip("/")
        self._headers = {HEADER: key} if key else {}

    async def predict(self, recording: Path | bytes, *, channel_roles: str = "") -> Event:
        """Have a recording judged; returns the answer as in docs/schema/predict-v1.json.

        Raises:
            ServiceRefused: the service answered with a problem.
            ServiceUnreachable: it did not answer.
        """
        data = await asyncio.to_thread(recording.read_bytes) if isinstance(recording, Path) else recording
        asked = {"channel_roles": channel_roles} if channel_roles else {}
        try:
            async with httpx2.AsyncClient(timeout=_PREDICT_SECONDS, trust_env=False) as client:
                headers = {"Content-Type": "application/octet-stream", **self._headers}
                answer = await client.post(f"{self._url}/predict", params=asked, content=data, headers=headers)
        except httpx2.HTTPError as error:
            raise ServiceUnreachable(f"{self._url} did not answer: {type(error).__name__}") from error
        document: Event = answer.json()
        if answer.is_error:
            raise refused(document)
        return document

    async def stream(self, sound: Sound, call_format: CallFormat, *, channel_roles: str = "") -> AsyncIterator[Event]:
        """Stream a live call, and yield what the service says of it up to the summary.

        A connection that breaks is made again, and the call goes on where it was: no sound is lost or sent twice, no
        segment missed. sound: blocks of whole frames, as they come.

        Raises:
            ServiceRefused: the service answered with a problem that does not pass.
            ServiceUnreachable: it stayed away for longer than the call waits.
        """
        call = ClientCall(self._url, call_format, channel_roles=channel_roles)
        more = asyncio.Event()
        feeding = asyncio.create_task(_feed(call, sound, more))
        lost_at, attempt = time.monotonic(), 0
        try:
            while not call.is_over:
                try:
                    async with connect(
                        call.address,
                        additional_headers=self._headers,
                        open_timeout=_CONNECT_SECONDS,
                        compression=None,
                        proxy=None,
                    ) as connection:
                        async for event in _exchange(connection, call, more):
                            lost_at, attempt = time.monotonic(), 0
                            yield event
                except ServiceRefused as problem:
                    if problem.problem_code not in _TRY_AGAIN:
                        raise
                except (OSError, ConnectionClosed, InvalidHandshake) as error:
                    if time.monotonic() - lost_at > max(call.resume_seconds, _CONNECT_SECONDS):
                        raise ServiceUnreachable(f"{self._url} is not there: {type(error).__name__}") from error
                if not call.is_over:
                    attempt += 1
                    await asyncio.sleep(_pause_seconds(attempt))
            await feeding
        finally:
            feeding.cancel()
            await asyncio.wait({feeding})


class Client:
    """The same for who has no event loop; a live call runs in a thread of its own."""

    def __init__(self, url: str = "http://localhost:8000", *, key: str = "") -> None:
        """As :class:`AsyncClient`."""
        self._client = AsyncClient(url, key=key)

    def predict(self, recording: Path | bytes, *, channel_roles: str = "") -> Event:
        """As :meth:`AsyncClient.predict`."""
        return asyncio.run(self._client.predict(recording, channel_roles=channel_roles))

    def stream(self, sound: Iterable[bytes], call_format: CallFormat, *, channel_roles: str = "") -> Iterator[Event]:
        """As :meth:`AsyncClient.stream`; blocks are taken in another thread, so waiting for one holds nothing up."""
        events: queue.Queue[Event | BaseException | None] = queue.Queue(_MOST_UNREAD)
        is_wanted = True

        async def run() -> None:
            async for event in self._client.stream(sound, call_format, channel_roles=channel_roles):
                if not is_wanted:
                    return
                await asyncio.to_thread(events.put, event)

        def work() -> None:
            try:
                asyncio.run(run())
                events.put(None)
            except BaseException as error:  # noqa: BLE001 - raised again where it is waited for
                events.put(error)

        thread = threading.Thread(target=work, name="live-call", daemon=True)
        thread.start()
        try:
            while (event := events.get()) is not None:
                if isinstance(event, BaseException):
                    raise event
                yield event
        finally:
            is_wanted = False


async def _feed(call: ClientCall, sound: Sound, more: asyncio.Event) -> None:
    """Take sound as it comes, never further ahead of the service than may be."""
    try:
        async for block in _blocks(sound):
            while not call.has_room:
                await asyncio.sleep(0.02)
            call.take(block)
            more.set()
    finally:
        # Where the sound breaks off with an error, the call is ended as well, and then the error raised.
        call.is_fed = True
        more.set()


async def _blocks(sound: Sound) -> AsyncIterator[bytes]:
    if isinstance(sound, AsyncIterable):
        async for block in sound:
            yield block
        return
    blocks = iter(sound)
    # A microphone, or a paced file, takes its time: not in the event loop.
    while block := await asyncio.to_thread(lambda: next(blocks, b"")):
        yield block


async def _exchange(connection: ClientConnection, call: ClientCall, more: asyncio.Event) -> AsyncIterator[Event]:
    """Send and receive over one connection, until the call is over or the connection is."""
    yield call.receive(await connection.recv())
    sending = asyncio.create_task(_send(connection, call, more))
    try:
        async for text in connection:
            yield call.receive(text)
    finally:
        sending.cancel()
        with suppress(asyncio.CancelledError, ConnectionClosed):
            await sending


async def _send(connection: ClientConnection, call: ClientCall, more: asyncio.Event) -> None:
    while True:
        more.clear()
        while data := call.next_message():
            await connection.send(data)
        if call.is_fed:
            await connection.send('{"type": "end"}')
            return
        await more.wait()


def _pause_seconds(attempt: int) -> float:
    """Longer and longer, and drawn, so that all clients of a service that restarts do not come back at once."""
    return random.uniform(0, min(_LONGEST_RETRY_SECONDS, _FIRST_RETRY_SECONDS * 2**attempt))  # noqa: S311


if __name__ == "__main__":
    from service.client_command import main

    sys.exit(main())
