"""What the dashboard is served as; tests/dashboard looks at it in a browser."""

import re
from pathlib import Path

import httpx
import pytest
from keyed_app import ask, keyed_app, keys_in

from service.app import create_app
from service.pages import PAGE
from service.settings import Settings

FOLDER = Path(__file__).parents[1] / "service" / "dashboard"


def answered(*paths: str, **headers: str) -> list[httpx.Response]:
    return ask(create_app(Settings()), *(("GET", path, headers) for path in paths))


def test_the_page_runs_its_own_scripts_and_one_that_bears_this_answers_nonce() -> None:
    page, another = answered(PAGE, PAGE)
    policy = page.headers["content-security-policy"]
    (nonce,) = set(re.findall(r"'nonce-([^']+)'", policy))
    assert page.text.count(f'nonce="{nonce}"') == len(re.findall(r"<script(?! type=\"module\")", page.text)) == 1
    assert "unsafe" not in policy
    assert nonce not in another.headers["content-security-policy"]
    assert page.headers["cache-control"] == "no-store"


def test_everything_that_the_page_names_is_served_from_here() -> None:
    (page,) = answered(PAGE)
    named = re.findall(r'(?:href|src)="([^"]+)"|": "\./([^"]+)"', page.text)
    parts = [f"/{linked or imported}" for linked, imported in named]
    assert len(parts) >= 8
    for part in answered(*parts):
        assert part.status_code == 200, part.url
        assert part.headers["content-type"].split(";")[0] in {"text/javascript", "text/css", "image/svg+xml"}


def test_no_part_names_another_host() -> None:
    for path in FOLDER.glob("*.*"):
        found = set(re.findall(r"(?:https?:)?//[\w.-]+\.\w+", path.read_text(encoding="utf-8")))
        assert found <= {"http://www.w3.org"}, path.name


def test_a_part_is_asked_for_again_and_sent_only_if_it_has_changed() -> None:
    (part,) = answered(f"{PAGE}/app.js")
    (again,) = answered(f"{PAGE}/app.js", **{"If-None-Match": part.headers["etag"]})
    assert part.headers["cache-control"] == again.headers["cache-control"] == "no-cache"
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize(
    "path", [f"{PAGE}/../pages.py", f"{PAGE}/%2e%2e/pages.py", f"{PAGE}/vendor/", f"{PAGE}/none.js"]
)
def test_nothing_but_the_parts_is_served(path: str) -> None:
    (refused,) = answered(path)
    assert refused.status_code == 404
    assert refused.json()["code"] == "not_found"


def test_a_slash_too_many_leads_to_the_page() -> None:
    (moved,) = answered(f"{PAGE}/")
    assert moved.status_code == 307
    assert moved.headers["location"] == "../dashboard"


def test_the_page_needs_no_key_where_the_service_does(tmp_path: Path) -> None:
    keys_in(tmp_path / "keys.toml", dashboard="")
    page, script = ask(keyed_app(tmp_path / "keys.toml"), ("GET", PAGE, {}), ("GET", f"{PAGE}/app.js", {}))
    assert page.status_code == script.status_code == 200


def test_each_library_has_its_licence_beside_it() -> None:
    vendor = FOLDER / "vendor"
    libraries = {path.stem.partition("-")[0] for path in vendor.glob("*.js")}
    assert libraries == {path.stem for path in vendor.glob("*.LICENSE")}
