"""Requests that no honest caller sends, among good ones."""

import asyncio
import random

import httpx
import pytest
from service_fixtures import PATIENCE_SECONDS, Running, wait_until

from bench.serving.hostile import attacks
from service.lifecycle import Service

pytest_plugins = ("service_fixtures",)


@pytest.mark.parametrize("kind", attacks())
def test_a_hostile_request_is_the_callers_own_fault_and_nobody_elses(server: Running, kind: str, speech: bytes) -> None:
    async def attacked() -> list[int]:
        draw = random.Random(kind)
        async with httpx.AsyncClient(base_url=server.url, timeout=PATIENCE_SECONDS, trust_env=False) as client:
            return list(await asyncio.gather(*(attacks()[kind](client, draw) for _ in range(8))))

    statuses = asyncio.run(attacked())
    assert all(status < 500 for status in statuses), statuses
    assert server.predict(speech).status_code == 200
    service: Service = server.service
    wait_until(lambda: service.metrics.registry.get_sample_value("vcemo_requests_in_flight") == 0)


def test_a_body_in_a_hundred_thousand_chunks_is_read_like_any_other(server: Running, speech: bytes) -> None:
    head = "POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: audio/wav\r\nTransfer-Encoding: chunked\r\n\r\n"
    with server.connect() as connection:
        connection.sendall(head.encode() + b"1\r\nR\r\n" * 100_000 + b"0\r\n\r\n")
        assert b" 415 " in connection.recv(100)
    assert server.predict(speech).status_code == 200
