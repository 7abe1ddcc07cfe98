"""The admin port: who may ask, for what, and what is answered."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from reload_fixtures import copied_bundle, during, with_another_golden_case

from model.recognizer import EmotionRecognizer
from service.admin import create_admin_app
from service.lifecycle import Service
from service.problems import MEDIA_TYPE
from service.settings import Settings

pytest_plugins = ("service_fixtures", "reload_fixtures")

KEY = "correct horse battery staple"
AUTHORISED = {"Authorization": f"Bearer {KEY}"}

Scenario = Callable[[httpx.AsyncClient], Awaitable[None]]


@pytest.fixture
def administered(shelf: Path, first: EmotionRecognizer) -> Iterator[Callable[[Scenario], Service]]:
    """Runs a scenario with a client of the admin port of a service that is ready."""

    def run(scenario: Scenario) -> Service:
        service = Service(Settings(bundle=shelf / "current"), recognizer=first)
        app = create_admin_app(service, key_sha256=hashlib.sha256(KEY.encode()).hexdigest())

        async def asked() -> None:
            transport = httpx.ASGITransport(app=app)
            async with httpx.AsyncClient(transport=transport, base_url="http://admin") as client:
                await scenario(client)

        during(service, asked)
        return service

    yield run
    (shelf / "current").unlink()
    (shelf / "current").symlink_to("first")


def problem_in(response: httpx.Response) -> dict[str, Any]:
    assert response.headers["content-type"] == MEDIA_TYPE
    document: dict[str, Any] = response.json()
    assert document["status"] == response.status_code
    assert document["request_id"] == response.headers["x-request-id"]
    return document


def test_who_has_no_key_or_another_learns_and_changes_nothing(
    administered: Callable[[Scenario], Service],
) -> None:
    async def scenario(client: httpx.AsyncClient) -> None:
        for given in ("", KEY, f"Basic {KEY}", "Bearer", "Bearer ", f"Bearer {KEY}!", "Bearer \xff"):
            headers = {b"Authorization": given.encode("latin-1")}
            for answer in (
                await client.get("/admin/status", headers=headers),
                await client.post("/admin/reload", headers=headers, json={"bundle": "second"}),
            ):
                assert (answer.status_code, problem_in(answer)["code"]) == (401, "admin_key_invalid")
                assert answer.headers["www-authenticate"].startswith("Bearer ")
                assert "1.0.0" not in answer.text

    assert administered(scenario).require_loaded().facts.version == "1.0.0"


def test_a_bundle_is_served_by_name(administered: Callable[[Scenario], Service]) -> None:
    async def scenario(client: httpx.AsyncClient) -> None:
        client.headers.update(AUTHORISED)
        done = (await client.post("/admin/reload", json={"bundle": "second"})).json()
        assert (done["changed"], done["version"], done["previous_version"]) == (True, "2.0.0", "1.0.0")
        status = (await client.get("/admin/status")).json()
        assert (status["state"], status["version"], status["in_flight"]) == ("ready", "2.0.0", 0)
        again = (await client.post("/admin/reload", json={"bundle": "second"})).json()
        assert (again["changed"], again["version"]) == (False, "2.0.0")

    administered(scenario)


def test_an_empty_order_reads_the_configured_path_again(
    administered: Callable[[Scenario], Service], shelf: Path
) -> None:
    async def scenario(client: httpx.AsyncClient) -> None:
        client.headers.update(AUTHORISED)
        assert (await client.post("/admin/reload")).json()["changed"] is False
        (shelf / "current").unlink()
        (shelf / "current").symlink_to("second")
        assert (await client.post("/admin/reload")).json()["version"] == "2.0.0"

    administered(scenario)


def test_what_is_refused_is_named_without_a_path(administered: Callable[[Scenario], Service], shelf: Path) -> None:
    with_another_golden_case(copied_bundle(shelf / "unsound", version="3.0.0"))

    async def scenario(client: httpx.AsyncClient) -> None:
        client.headers.update(AUTHORISED)
        for bundle, status, code, value in (
            ("unsound", 422, "bundle_refused", "golden_mismatch"),
            ("nowhere", 422, "bundle_refused", "bundle_invalid"),
            ("../elsewhere", 403, "bundle_outside", None),
            ("/etc", 403, "bundle_outside", None),
        ):
            answer = await client.post("/admin/reload", json={"bundle": bundle})
            problem = problem_in(answer)
            assert (problem["status"], problem["code"], problem["value"]) == (status, code, value)
            assert str(shelf) not in answer.text
            assert "/etc" not in answer.text

    assert administered(scenario).require_loaded().facts.version == "1.0.0"


def test_a_second_reload_is_refused_while_one_is_under_way(administered: Callable[[Scenario], Service]) -> None:
    async def scenario(client: httpx.AsyncClient) -> None:
        client.headers.update(AUTHORISED)
        asked = [client.post("/admin/reload", json={"bundle": "second"}) for _ in range(2)]
        answers = await asyncio.gather(*asked)
        assert sorted(answer.status_code for answer in answers) == [200, 409]
        refused = next(answer for answer in answers if answer.status_code == 409)
        assert problem_in(refused)["code"] == "reload_under_way"

    administered(scenario)


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"nonsense", 422, "invalid_request"),
        (b'{"bundle": 7}', 422, "invalid_request"),
        (b'{"bundel": "second"}', 422, "invalid_request"),
        (b"[]", 422, "invalid_request"),
        (b'{"bundle": "' + b"x" * 5000 + b'"}', 413, "upload_too_large"),
    ],
    ids=["no JSON", "a number", "another field", "a list", "too long"],
)
def test_an_order_that_is_none_is_refused(
    administered: Callable[[Scenario], Service], body: bytes, status: int, code: str
) -> None:
    async def scenario(client: httpx.AsyncClient) -> None:
        answer = await client.post("/admin/reload", content=body, headers=AUTHORISED)
        assert (answer.status_code, problem_in(answer)["code"]) == (status, code)

    administered(scenario)


def test_there_is_nothing_else_on_the_port(administered: Callable[[Scenario], Service]) -> None:
    async def scenario(client: httpx.AsyncClient) -> None:
        for path in ("/", "/docs", "/openapi.json", "/predict", "/metrics"):
            assert (await client.get(path, headers=AUTHORISED)).status_code == 404

    administered(scenario)
