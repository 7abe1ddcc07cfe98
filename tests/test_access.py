"""Who may ask, and how much at a time."""

import asyncio
import logging
from pathlib import Path

import httpx
import pytest
from fastapi import Depends, FastAPI
from keyed_app import LET_IN, ask, keyed_app, keys_in, outcome
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

from model.errors import VcemoError
from service.access import Access
from service.app import create_app
from service.exchange import ExchangeMiddleware, answer_problem
from service.keys import Keyring
from service.metrics import Metrics
from service.settings import Settings

OPEN = {
    "/health/live",
    "/health/ready",
    "/health/startup",
    "/metrics",
    "/openapi.json",
    "/docs",
    "/docs/oauth2-redirect",
    "/redoc",
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "keys.toml"


def test_without_a_file_of_keys_nobody_is_asked_for_one() -> None:
    (answer,) = ask(create_app(Settings()), ("GET", "/v1/model", {}))
    assert outcome(answer) == LET_IN


def test_a_key_is_taken_from_either_header(file: Path) -> None:
    secret = keys_in(file, dashboard="")["dashboard"]
    shown = [{"X-API-Key": secret}, {"Authorization": f"Bearer {secret}"}, {"Authorization": f"bearer {secret}"}]
    shown.append({"X-API-Key": secret, "Authorization": "Basic of-a-proxy"})
    answers = ask(keyed_app(file), *(("GET", "/v1/model", headers) for headers in shown))
    assert [outcome(answer) for answer in answers] == [LET_IN] * 4


@pytest.mark.parametrize(
    "headers",
    [{}, {"X-API-Key": ""}, {"X-API-Key": "vcemo_wrong"}, {"Authorization": "Bearer"}, {"Authorization": "Basic eDp5"}],
    ids=str,
)
def test_who_shows_no_known_key_is_told_how_to(file: Path, headers: dict[str, str]) -> None:
    keys_in(file, dashboard="")
    (answer,) = ask(keyed_app(file), ("GET", "/v1/model", headers))
    assert outcome(answer) == (401, "unauthorized")
    assert answer.headers["www-authenticate"] == 'Bearer realm="vcemo"'
    assert answer.json()["request_id"] == answer.headers["x-request-id"]


def test_every_route_but_probes_metrics_and_documentation_needs_a_key(file: Path) -> None:
    keys_in(file, dashboard="")
    app = keyed_app(file)
    routes = [(method.upper(), path) for path, item in app.openapi()["paths"].items() for method in item]
    closed = [(method, path) for method, path in routes if path not in OPEN]
    assert {"/predict", "/v1/model"} <= {path for _, path in closed}
    answers = ask(app, *((method, path, {}) for method, path in closed))
    assert {outcome(answer) for answer in answers} == {(401, "unauthorized")}
    answers = ask(app, *(("GET", path, {}) for path in OPEN))
    assert 401 not in {answer.status_code for answer in answers}


def test_a_caller_without_a_key_is_refused_before_a_byte_of_the_body_is_read(file: Path) -> None:
    keys_in(file, dashboard="")
    heard, sent = [], []

    async def receive() -> dict[str, object]:
        heard.append("asked for more")
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: object) -> None:
        sent.append((message, len(heard)))

    headers = [(b"content-length", b"9"), (b"content-type", b"audio/wav")]
    scope = {"type": "http", "method": "POST", "path": "/predict", "query_string": b"", "headers": headers}
    asyncio.run(keyed_app(file)(scope, receive, send))
    start, num_heard = sent[0]
    assert start["status"] == 401  # type: ignore[index]
    assert num_heard == 0


def test_a_key_may_ask_so_often_a_minute_and_is_told_when_to_return(file: Path) -> None:
    keys = keys_in(file, slow="requests_per_minute = 3", other="requests_per_minute = 3", free="")
    app = keyed_app(file)
    slow = ("GET", "/v1/model", {"X-API-Key": keys["slow"]})
    answers = ask(app, *[slow] * 5)
    assert [outcome(answer) for answer in answers] == [LET_IN] * 3 + [(429, "rate_limited")] * 2
    assert answers[4].json()["limit"] == 3
    assert 1 <= int(answers[4].headers["retry-after"]) <= 60
    others = ask(app, *(("GET", "/v1/model", {"X-API-Key": keys[name]}) for name in ("other", "free") * 3))
    assert {outcome(answer) for answer in others} == {LET_IN}


def test_a_clock_that_is_set_back_does_not_shut_a_key_out(file: Path) -> None:
    secret = keys_in(file, dashboard="requests_per_minute = 2")["dashboard"]
    storage = MemoryStorage()
    app = guarded_app(Access(Keyring(file), limiter=MovingWindowRateLimiter(storage)))
    request = ("GET", "/now", {"X-API-Key": secret})
    assert [answer.status_code for answer in ask(app, *[request] * 3)] == [200, 200, 429]
    for entry in (entry for entries in storage.events.values() for entry in entries):
        entry.atime += 3600  # as if they had been made before the clock was set back by an hour
        entry.expiry += 3600
    assert [answer.status_code for answer in ask(app, *[request] * 3)] == [200, 200, 429]


def guarded_app(access: Access) -> FastAPI:
    """Routes that answer at once, or when the test says so, behind the real guard."""
    app = FastAPI(dependencies=[Depends(access.guard, scope="function")])
    app.state.may_end = asyncio.Event()
    app.add_middleware(ExchangeMiddleware, metrics=Metrics())
    app.add_exception_handler(VcemoError, answer_problem)

    @app.get("/now")
    async def now() -> str:
        return "done"

    @app.get("/later")
    async def later() -> str:
        await app.state.may_end.wait()
        return "done"

    @app.get("/never")
    async def never() -> str:
        raise KeyError("foreign")

    return app


def test_a_key_may_have_so_many_requests_under_way(file: Path) -> None:
    keys = keys_in(file, narrow="max_concurrent = 2", other="max_concurrent = 2")
    app = guarded_app(Access(Keyring(file)))

    async def crowd() -> tuple[list[httpx.Response], list[httpx.Response]]:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
            narrow, other = ({"X-API-Key": keys[name]} for name in ("narrow", "other"))
            held = [asyncio.create_task(client.get("/later", headers=narrow)) for _ in range(2)]
            await asyncio.sleep(0)
            while (refused := await client.get("/now", headers=narrow)).status_code != 429:
                await asyncio.sleep(0)
            meanwhile = [refused, await client.get("/now", headers=other)]
            app.state.may_end.set()
            await asyncio.gather(*held)
            return meanwhile, [await client.get("/now", headers=narrow) for _ in range(5)]

    (refused, other), later = asyncio.run(crowd())
    assert outcome(refused) == (429, "too_many_at_once")
    assert (refused.json()["value"], refused.json()["limit"]) == (2, 2)
    assert int(refused.headers["retry-after"]) >= 1
    assert other.status_code == 200
    assert {answer.status_code for answer in later} == {200}


def test_a_place_is_free_again_after_a_failure(file: Path) -> None:
    secret = keys_in(file, narrow="max_concurrent = 1\nrequests_per_minute = 8")["narrow"]
    requests = [("GET", path, {"X-API-Key": secret}) for path in ("/never", "/now") * 5]
    answers = ask(guarded_app(Access(Keyring(file))), *requests)
    assert [answer.status_code for answer in answers] == [500, 200] * 4 + [429] * 2
    assert outcome(answers[-1]) == (429, "rate_limited")


def test_the_name_of_a_key_is_logged_and_counted_and_the_key_itself_is_not(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    secret = keys_in(file, dashboard="requests_per_minute = 2")["dashboard"]
    requests = [("GET", "/v1/model", {"X-API-Key": secret})] * 3 + [("GET", "/v1/model", {"X-API-Key": "vcemo_wrong"})]
    *_, metrics = ask(keyed_app(file), *requests, ("GET", "/metrics", {}))
    assert 'vcemo_key_requests_total{code="not_ready",key="dashboard"} 2.0' in metrics.text
    assert 'vcemo_key_requests_total{code="rate_limited",key="dashboard"} 1.0' in metrics.text
    assert 'vcemo_requests_total{code="unauthorized",route="/v1/model"} 1.0' in metrics.text
    records = [vars(record)["facts"] for record in caplog.records if record.message == "request"]
    assert [facts.get("key") for facts in records if facts["route"] == "/v1/model"] == ["dashboard"] * 3 + [None]
    told = metrics.text + "".join(str(vars(record)) for record in caplog.records)
    assert secret not in told
    assert "vcemo_wrong" not in told


def test_the_documentation_shows_keys_where_they_are_asked_for_and_nowhere_else(file: Path) -> None:
    keys_in(file, dashboard="")
    keyed, unkeyed = keyed_app(file).openapi(), create_app(Settings()).openapi()
    assert set(keyed["components"]["securitySchemes"]) == {"X-API-Key", "Bearer"}
    predict = keyed["paths"]["/predict"]["post"]
    assert [list(one) for one in predict["security"]] == [["X-API-Key"], ["Bearer"]]
    assert set(predict["responses"]["429"]["content"]["application/problem+json"]["examples"]) == {
        "rate_limited",
        "too_many_at_once",
    }
    assert "401" in predict["responses"]
    assert "security" not in keyed["paths"]["/health/live"]["get"]
    assert "securitySchemes" not in unkeyed.get("components", {})
    assert not {"401", "429"} & set(unkeyed["paths"]["/predict"]["post"]["responses"])
