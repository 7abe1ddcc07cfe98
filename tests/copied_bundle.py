"""Copies of the committed bundle, under another version or spoilt, for the tests of loading and reloading."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from service_fixtures import BUNDLE

from model.bundle import FACTS_FILE, GOLDEN_FILE, SCHEMA_VERSION, sealed_files


def copied_bundle(folder: Path, *, version: str, **changes: Any) -> Path:
    """Copy the bundle under another version and with other facts; the files stay sealed."""
    shutil.copytree(BUNDLE, folder)
    rewrite_facts(folder, {"version": version, **changes})
    return folder


def rewrite_facts(folder: Path, changes: Mapping[str, Any]) -> None:
    document = json.loads((folder / FACTS_FILE).read_text(encoding="utf-8"))
    (folder / FACTS_FILE).write_text(json.dumps(document | changes), encoding="utf-8")


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
    rewrite_facts(folder, {"golden_audio": {name: wrong for name in document["golden_audio"]}})
