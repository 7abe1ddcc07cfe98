"""uvicorn around the application: nobody who has connected is turned away without an answer."""

import asyncio
import signal
import socket

from reload_fixtures import until
from service_fixtures import PATIENCE_SECONDS

from model.recognizer import EmotionRecognizer
from service.app import create_app
from service.server import Server
from service.settings import Settings

pytest_plugins = ("service_fixtures", "reload_fixtures")

PROBE = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n"


async def answer_on(connection: socket.socket) -> bytes:
    loop, received = asyncio.get_running_loop(), b""
    connection.setblocking(False)
    async with asyncio.timeout(PATIENCE_SECONDS):
        while part := await loop.sock_recv(connection, 65_536):
            received += part
    return received


def test_who_has_connected_when_the_server_stops_listening_is_answered(recognizer: EmotionRecognizer) -> None:
    server = Server(create_app(Settings(), recognizer), Settings(port=0))

    async def scenario() -> list[bytes]:
        serving = asyncio.create_task(server.serve())
        await until(lambda: server.started)
        address = server.servers[0].sockets[0].getsockname()
        accepted = socket.create_connection(address)
        await until(lambda: bool(server.server_state.connections))
        # Connected as far as the kernel is concerned; the loop, which this holds up, has accepted none of them.
        waiting = [socket.create_connection(address) for _ in range(5)]
        for connection in waiting:
            connection.sendall(PROBE)
        server.handle_exit(signal.SIGTERM, None)
        ending = asyncio.create_task(server.shutdown())
        await asyncio.sleep(0.2)
        accepted.sendall(PROBE)
        answers = await asyncio.gather(*(answer_on(each) for each in (*waiting, accepted)))
        await ending
        await serving
        for each in (*waiting, accepted):
            each.close()
        return list(answers)

    answers = asyncio.run(scenario())
    assert len(answers) == 6
    for answer in answers:
        assert answer.startswith(b"HTTP/1.1 200")
        assert b"connection: close" in answer.lower()
