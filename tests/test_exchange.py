"""Around every request: ids, logs, and an answer whatever happens inside."""

import asyncio
import json
import logging
import sys
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from service.exchange import ExchangeMiddleware
from service.logs import JsonFormatter, TextFormatter
from service.metrics import Metrics

SECRET = "what the caller said"


def exchanged(app: Any, *, headers: dict[str, str] | None = None, is_leaving: bool = False) -> list[Message]:
    """Send a request with an unfinished body through the middleware; returns what was sent back."""
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"x", "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    raw = [(name.lower().encode(), value.encode()) for name, value in (headers or {}).items()]
    scope: Scope = {"type": "http", "method": "POST", "path": "/predict", "headers": raw}
    asyncio.run(ExchangeMiddleware(app, metrics=Metrics(), is_leaving=lambda: is_leaving)(scope, receive, send))
    return sent


async def fail(scope: Scope, receive: Receive, send: Send) -> None:
    raise KeyError(SECRET)


async def answer_early(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 413, "headers": []})
    await send({"type": "http.response.body", "body": b"too large"})


def test_a_foreign_error_is_answered_without_a_word_of_it(caplog: pytest.LogCaptureFixture) -> None:
    start, body = exchanged(fail, headers={"X-Request-ID": "one"})
    assert start["status"] == 500
    assert json.loads(body["body"])["code"] == "internal_error"
    assert json.loads(body["body"])["request_id"] == "one"
    assert SECRET not in body["body"].decode()
    stack = next(record for record in caplog.records if record.message == "unexpected error").facts["stack"]  # type: ignore[attr-defined]
    assert stack[0] == "KeyError"
    assert any("test_exchange.py" in line and line.endswith(" fail") for line in stack)
    assert SECRET not in str(stack)


@pytest.mark.parametrize("is_leaving", [False, True])
def test_a_service_that_leaves_asks_callers_to_send_no_more_on_their_connection(is_leaving: bool) -> None:
    start = exchanged(answer_early, headers={"Content-Length": "0"}, is_leaving=is_leaving)[0]
    assert ((b"connection", b"close") in start["headers"]) is is_leaving


def test_an_answer_before_the_body_has_ended_lets_the_caller_finish_and_closes() -> None:
    start, body, end = exchanged(answer_early, headers={"Content-Length": "9"})
    assert (b"connection", b"close") in start["headers"]
    assert (body["body"], body["more_body"]) == (b"too large", True)
    assert end == {"type": "http.response.body", "body": b""}


def test_a_caller_who_waits_to_be_asked_for_the_body_is_answered_at_once() -> None:
    sent = exchanged(answer_early, headers={"Content-Length": "9", "Expect": "100-continue"})
    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]


def test_a_request_that_is_cut_off_at_shutdown_is_told_so() -> None:
    async def cut_off(scope: Scope, receive: Receive, send: Send) -> None:
        raise asyncio.CancelledError

    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    scope: Scope = {"type": "http", "method": "POST", "path": "/predict", "headers": []}
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(ExchangeMiddleware(cut_off, metrics=Metrics())(scope, receive, send))
    assert sent[0]["status"] == 503
    assert json.loads(sent[1]["body"])["code"] == "not_ready"


def record_of(message: str, **extra: Any) -> logging.LogRecord:
    record = logging.LogRecord("service", logging.INFO, __file__, 1, message, (), None)
    vars(record).update(extra)
    return record


def test_a_json_record_is_one_line_with_its_facts_as_fields() -> None:
    line = JsonFormatter().format(record_of("request", facts={"status": 200, "route": "/predict"}))
    assert "\n" not in line
    fields = json.loads(line)
    assert (fields["event"], fields["level"], fields["status"]) == ("request", "info", 200)


def test_a_text_record_reads_well() -> None:
    assert TextFormatter().format(record_of("ready", facts={"threads": 2})).endswith("info    ready  threads=2")


def test_a_logged_exception_shows_its_causes_and_places_but_not_its_message() -> None:
    record = record_of("failed")
    try:
        try:
            raise KeyError(SECRET)
        except KeyError as error:
            raise RuntimeError(SECRET) from error
    except RuntimeError:
        record.exc_info = sys.exc_info()
    line = JsonFormatter().format(record)
    assert SECRET not in line
    assert [entry for entry in json.loads(line)["stack"] if not entry.startswith(" ")] == ["RuntimeError", "KeyError"]
