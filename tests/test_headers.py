"""What browsers are told with every answer, and whose pages may ask."""

import re
from collections.abc import Mapping
from pathlib import Path

import httpx
import pytest
from keyed_app import ask, keyed_app, keys_in

from service.app import create_app
from service.settings import Settings

EVERYWHERE = {"x-content-type-options": "nosniff", "x-frame-options": "DENY", "referrer-policy": "no-referrer"}
PAGE = "https://app.example"


def policy_of(answer: httpx.Response) -> Mapping[str, list[str]]:
    directives = [directive.split() for directive in answer.headers["content-security-policy"].split(";")]
    return {name: sources for name, *sources in directives}


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/health/live", 200),
        ("GET", "/health/ready", 503),
        ("GET", "/metrics", 200),
        ("GET", "/openapi.json", 200),
        ("GET", "/nowhere", 404),
        ("GET", "/static-offline-docs/../../secret", 404),
        ("DELETE", "/predict", 405),
        ("POST", "/predict", 401),
        ("GET", "/v1/model", 401),
    ],
)
def test_every_answer_may_neither_be_guessed_at_nor_framed_nor_kept(
    tmp_path: Path, method: str, path: str, status: int
) -> None:
    keys_in(tmp_path / "keys.toml", dashboard="")
    (answer,) = ask(keyed_app(tmp_path / "keys.toml"), (method, path, {}))
    assert answer.status_code == status
    assert EVERYWHERE.items() <= dict(answer.headers).items()
    assert policy_of(answer) == {"default-src": ["'none'"], "frame-ancestors": ["'none'"]}
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("path", ["/docs", "/redoc"])
def test_a_page_of_the_documentation_may_load_what_it_links_and_ask_this_service_alone(path: str) -> None:
    (page,) = ask(create_app(Settings()), ("GET", path, {}))
    policy = policy_of(page)
    linked = re.findall(r'(?:href|src)="([^"]+)"', page.text)
    assert linked
    assert all(link.startswith("/static-offline-docs/") for link in linked)
    assert "'self'" in policy["script-src"]
    assert ("'unsafe-inline'" in policy["script-src"]) or not re.search(r"<script>", page.text)
    assert "'unsafe-inline'" in policy["style-src"]
    assert policy["connect-src"] == ["'self'"]
    assert policy["frame-ancestors"] == policy["default-src"] == ["'none'"]
    assert EVERYWHERE.items() <= dict(page.headers).items()


def test_parts_of_the_documentation_may_be_kept() -> None:
    (part,) = ask(create_app(Settings()), ("GET", "/static-offline-docs/swagger-ui.css", {}))
    assert part.status_code == 200
    assert "cache-control" not in part.headers
    assert part.headers["x-content-type-options"] == "nosniff"


def asked_from(page: str) -> dict[str, str]:
    return {"Origin": page, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "x-api-key"}


def test_no_page_may_ask_unless_its_origin_is_named() -> None:
    off = create_app(Settings())
    for answer in ask(off, ("OPTIONS", "/predict", asked_from(PAGE)), ("GET", "/health/live", {"Origin": PAGE})):
        assert not [name for name in answer.headers if name.startswith("access-control-")]


def test_a_named_origin_may_ask_with_a_key_and_read_what_it_is_answered(tmp_path: Path) -> None:
    keys_in(tmp_path / "keys.toml", dashboard="")
    app = keyed_app(tmp_path / "keys.toml", cors_origins=f"{PAGE},https://other.example")
    allowed, refused, answer = ask(
        app,
        ("OPTIONS", "/predict", asked_from(PAGE)),
        ("OPTIONS", "/predict", asked_from("https://evil.example")),
        ("POST", "/predict", {"Origin": PAGE}),
    )
    assert (allowed.status_code, refused.status_code, answer.status_code) == (200, 400, 401)
    assert allowed.headers["access-control-allow-origin"] == answer.headers["access-control-allow-origin"] == PAGE
    assert "x-api-key" in allowed.headers["access-control-allow-headers"]
    assert "access-control-allow-origin" not in refused.headers
    assert "access-control-allow-credentials" not in allowed.headers
    assert "Retry-After" in answer.headers["access-control-expose-headers"]
    assert EVERYWHERE.items() <= dict(allowed.headers).items()
