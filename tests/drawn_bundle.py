"""A sealed bundle with a network drawn at random, beside the other files of the committed one."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from conftest import ROOT
from drawn_features import FEATURES, tensors_of

from model.bundle import FACTS_FILE, GOLDEN_FILE, NETWORK_FILE, BundleFacts, calibrated, sealed_files, write_facts
from model.features import collate
from model.network import VcemoNetwork
from training.export import export_network, golden_features


def drawn_bundle(folder: Path, network: VcemoNetwork) -> Path:
    """Write ``network`` with a golden case of its own; no golden recording was judged by it."""
    shutil.copytree(ROOT / "artifacts" / "vcemo-whisper-zh", folder)
    facts = BundleFacts.from_json(json.loads((folder / FACTS_FILE).read_text(encoding="utf-8")))
    facts = replace(facts, name="drawn", version="0", features=FEATURES, network=network.config.to_json())
    golden = golden_features(FEATURES)
    batch = collate(golden, config=FEATURES)
    export_network(network, folder / NETWORK_FILE, example=batch)
    with torch.inference_mode():
        logits = network(**tensors_of(golden)).numpy()
    expected = calibrated(logits, facts.temperature)
    np.savez_compressed(folder / GOLDEN_FILE, allow_pickle=False, probabilities=expected, **batch)
    write_facts(folder, facts.to_json(files=sealed_files(folder)))
    return folder
