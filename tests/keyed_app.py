"""The real application behind a file of keys, asked in the test's own event loop; it never loads a bundle.

Whoever gets past the guard therefore hears ``not_ready``.
"""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
from fastapi import FastAPI

from service.app import create_app
from service.keys import make_key
from service.settings import Settings

LET_IN = (503, "not_ready")


def keys_in(file: Path, **fields: str) -> dict[str, str]:
    """Write a file with a key of each name, its fields as TOML lines; returns the keys by name."""
    made = {name: make_key(name) for name in fields}
    file.write_text("".join(f"{made[name][1]}{lines}\n" for name, lines in fields.items()), encoding="utf-8")
    return {name: secret for name, (secret, _) in made.items()}


def keyed_app(file: Path, **options: Any) -> FastAPI:
    return create_app(Settings(api_keys_file=str(file), **options))


def ask(app: FastAPI, *requests: tuple[str, str, Mapping[str, str]]) -> list[httpx.Response]:
    """Send requests (method, path, headers) one after the other."""

    async def ask_all() -> list[httpx.Response]:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
            return [await client.request(method, path, headers=headers) for method, path, headers in requests]

    return asyncio.run(ask_all())


def outcome(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()["code"]
