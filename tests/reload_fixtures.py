"""Copies of the committed bundle, under another version or spoilt, and a service that may reload them.

Test modules name this file in ``pytest_plugins``. PYTEST_DONT_REWRITE: they import its helpers before.
"""

import asyncio
import json
import shutil
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from service_fixtures import BUNDLE

from model.assets import AssetStore
from model.bundle import FACTS_FILE, GOLDEN_FILE, SCHEMA_VERSION, sealed_files, write_facts
from model.processors import usable_processors
from model.recognizer import EmotionRecognizer
from service.lifecycle import Service


def copied_bundle(folder: Path, *, version: str, **changes: Any) -> Path:
    """Copy the bundle under another version and with other facts; the files stay sealed."""
    shutil.copytree(BUNDLE, folder)
    rewrite_facts(folder, {"version": version, **changes})
    return folder


def rewrite_facts(folder: Path, changes: Mapping[str, Any]) -> None:
    document = json.loads((folder / FACTS_FILE).read_text(encoding="utf-8"))
    write_facts(folder, document | changes)


def with_a_byte_flipped(folder: Path, name: str) -> None:
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)


def of_another_schema(folder: Path) -> None:
    rewrite_facts(folder, {"schema_version": SCHEMA_VERSION + 1})


def with_another_golden_case(folder: Path) -> None:
    with np.load(folder / GOLDEN_FILE, allow_pickle=False) as file:
        golden = {name: file[name] for name in file.files}
    golden["probabilities"] = golden["probabilities"][::-1]
    np.savez_compressed(folder / GOLDEN_FILE, allow_pickle=False, **golden)
    rewrite_facts(folder, {"files": sealed_files(folder)})


def with_another_golden_recording(folder: Path) -> None:
    document = json.loads((folder / FACTS_FILE).read_text(encoding="utf-8"))
    wrong = {label: 1.0 if label == "fear" else 0.0 for label in document["labels"]}
    rewrite_facts(folder, {"golden_audio": dict.fromkeys(document["golden_audio"], wrong)})


@pytest.fixture(scope="session")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of bundles: first, second, and a link to the first."""
    folder = tmp_path_factory.mktemp("bundles")
    copied_bundle(folder / "first", version="1.0.0")
    copied_bundle(folder / "second", version="2.0.0")
    (folder / "current").symlink_to("first")
    return folder


@pytest.fixture(scope="session")
def first(shelf: Path, assets: AssetStore) -> EmotionRecognizer:
    loaded = EmotionRecognizer.load(shelf / "first", assets=assets, threads=usable_processors())
    loaded.warm_up()
    return loaded


def during(service: Service, scenario: Callable[[], Awaitable[None]]) -> None:
    """Run a scenario in a service that is ready."""

    async def life() -> None:
        service.start()
        async with asyncio.timeout(60):
            try:
                await until(lambda: service.state == "ready")
                await scenario()
            finally:
                await service.stop()

    asyncio.run(life())


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)
