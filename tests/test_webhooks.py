import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from scenario import scenario
from standardwebhooks import Webhook

from model.errors import AlertRulesInvalid
from service.alerts import WebhookTarget
from service.schemas import Alert
from service.webhooks import Webhooks

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@dataclass
class Receiver:
    """A real HTTP server that answers with the statuses it is given, then with 204."""

    statuses: list[int] = field(default_factory=list)
    got: list[tuple[dict[str, str], str]] = field(default_factory=list)
    url: str = ""

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        headers = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:] if line)
        # Signatures and ids keep their case.
        exact = {line.split(": ", 1)[0].lower(): line.split(": ", 1)[1] for line in head.split("\r\n")[1:] if line}
        body = await reader.readexactly(int(headers["content-length"]))
        self.got.append((exact, body.decode()))
        status = self.statuses.pop(0) if self.statuses else 204
        writer.write(f"HTTP/1.1 {status} X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
        await writer.drain()
        writer.close()


@asynccontextmanager
async def receiving(*statuses: int) -> AsyncIterator[Receiver]:
    receiver = Receiver(statuses=list(statuses))
    server = await asyncio.start_server(receiver.answer, "127.0.0.1", 0)
    receiver.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook"
    async with server:
        yield receiver


def alert(rule: str = "angry") -> Alert:
    return Alert(
        id=f"{rule}-1-6000",
        rule=rule,
        severity="critical",
        role="customer",
        channel=1,
        at_ms=8000,
        segment_ids=["1-0", "1-6000"],
        message="客户生气",
    )


def webhooks(receiver: Receiver, on_delivery: Callable[[str], None], *, rules: tuple[str, ...] = ()) -> Webhooks:
    target = WebhookTarget(url=receiver.url, secret=SECRET, rules=rules)
    return Webhooks([target], on_delivery=on_delivery, first_wait_seconds=0.001)


@scenario
async def test_a_receiver_that_refuses_is_asked_again_until_it_has_the_signed_alert_and_then_no_more() -> None:
    outcomes: list[str] = []
    async with receiving(500, 503) as receiver:
        sender = webhooks(receiver, outcomes.append)
        sender.send(alert(), request_id="3f11")
        await sender.close(seconds=10)
    assert outcomes == ["ok"]
    assert len(receiver.got) == 3
    for headers, body in receiver.got:
        document = Webhook(SECRET).verify(body, headers)
        assert document["data"] == {"request_id": "3f11", "alert": alert().model_dump()}
    assert {headers["webhook-id"] for headers, _ in receiver.got} == {"msg_3f11_angry-1-6000"}


@scenario
async def test_who_never_takes_it_is_given_up_and_that_is_counted() -> None:
    outcomes: list[str] = []
    async with receiving(*[500] * 20) as receiver:
        sender = webhooks(receiver, outcomes.append)
        sender.send(alert(), request_id="3f11")
        await sender.close(seconds=10)
    assert outcomes == ["failed"]
    assert len(receiver.got) == 8


@scenario
async def test_a_webhook_hears_of_the_rules_that_it_names_only() -> None:
    outcomes: list[str] = []
    async with receiving() as receiver:
        sender = webhooks(receiver, outcomes.append, rules=("low",))
        sender.send(alert("angry"), request_id="3f11")
        sender.send(alert("low"), request_id="3f11")
        await sender.close(seconds=10)
    assert [json.loads(body)["data"]["alert"]["rule"] for _, body in receiver.got] == ["low"]


def test_the_secret_may_be_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text(f"{SECRET}\n", encoding="utf-8")
    Webhooks([WebhookTarget(url="https://a.example", secret_file=str(path))])
    with pytest.raises(AlertRulesInvalid, match="cannot be read"):
        Webhooks([WebhookTarget(url="https://a.example", secret_file=str(tmp_path / "none"))])
    path.write_text("whsec_!", encoding="utf-8")
    with pytest.raises(AlertRulesInvalid, match="not base64"):
        Webhooks([WebhookTarget(url="https://a.example", secret_file=str(path))])
