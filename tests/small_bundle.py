"""A sealed bundle of a hundred kilobytes, under any version: what tests of stores copy about."""

import json
import shutil
from pathlib import Path
from typing import Any

from drawn_bundle import drawn_bundle
from drawn_features import small_network

from model.bundle import FACTS_FILE, LOWER_LAYERS_FILE, sealed_files, write_facts
from training.export import WEIGHTS_FILE
from training.weights import save_network


def small_bundle(folder: Path, *, version: str = "1.0.0", seed: int = 0) -> Path:
    """Write a bundle with a small network, which torch can go on training; it reads no lower layers."""
    network = small_network("whisper", seed=seed)
    drawn_bundle(folder, network)
    (folder / LOWER_LAYERS_FILE).unlink()
    save_network(network, folder / WEIGHTS_FILE)
    rewrite(folder, version=version, golden_audio={"int8": {}}, files=sealed_files(folder))
    return folder


def under_version(bundle: Path, folder: Path, version: str, **changes: Any) -> Path:
    """Copy a bundle under another version."""
    shutil.copytree(bundle, folder)
    rewrite(folder, version=version, **changes)
    return folder


def rewrite(folder: Path, **changes: Any) -> None:
    document = json.loads((folder / FACTS_FILE).read_text(encoding="utf-8"))
    write_facts(folder, document | changes)
