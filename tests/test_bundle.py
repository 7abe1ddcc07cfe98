import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from conftest import ROOT
from drawn_bundle import drawn_bundle
from drawn_features import PRESETS, drawn_features, features_of_every_kind, small_network
from hypothesis import given
from hypothesis import strategies as st

from model.bundle import (
    CARD_FILE,
    FACTS_FILE,
    GOLDEN_AUDIO_FILE,
    GOLDEN_FILE,
    LOWER_LAYERS_FILE,
    NETWORK_FILE,
    SCHEMA_VERSION,
    Bundle,
    BundleFacts,
    calibrated,
    sealed_files,
    write_facts,
)
from model.errors import BundleChecksumMismatch, BundleInvalid, GoldenMismatch
from model.network_config import NetworkConfig
from training.experiment import load_experiment

SEALED = (NETWORK_FILE, GOLDEN_FILE, GOLDEN_AUDIO_FILE, CARD_FILE, LOWER_LAYERS_FILE)


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """A copy of the committed bundle, to be spoilt."""
    folder: Path = shutil.copytree(ROOT / "artifacts" / "vcemo-whisper-zh", tmp_path / "bundle")
    return folder


def rewrite_facts(folder: Path, change: Callable[[dict[str, Any]], None], *, reseal: bool = False) -> None:
    document = json.loads((folder / FACTS_FILE).read_text(encoding="utf-8"))
    change(document)
    if reseal:
        document["files"] = sealed_files(folder)
    write_facts(folder, document)


def flip_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_the_committed_bundle_reproduces_its_golden_case(bundle: Bundle) -> None:
    assert bundle.check_golden() <= 1e-4


def test_the_committed_bundle_seals_every_file(bundle: Bundle) -> None:
    document = json.loads((bundle.directory / FACTS_FILE).read_text(encoding="utf-8"))
    assert document["files"] == sealed_files(bundle.directory)
    assert {path.name for path in bundle.directory.iterdir()} == {FACTS_FILE, *document["files"]}
    assert set(SEALED) <= set(document["files"])


def test_the_committed_bundle_was_trained_by_the_committed_experiment(bundle: Bundle) -> None:
    experiment = load_experiment("default")
    assert bundle.facts.features == experiment.feature_config
    assert NetworkConfig.from_json(bundle.facts.network) == experiment.network_config


def test_facts_come_back_from_their_document(bundle: Bundle) -> None:
    document = json.loads(json.dumps(bundle.facts.to_json(files={})))
    assert BundleFacts.from_json(document) == bundle.facts


def test_probabilities_add_up_to_one_and_do_not_depend_on_batch_mates(bundle: Bundle) -> None:
    batch = features_of_every_kind(np.random.default_rng(0), bundle.facts.features)
    together = bundle.predict(batch)
    assert together.shape == (len(batch), len(bundle.facts.labels))
    np.testing.assert_allclose(together.sum(1), 1.0, atol=1e-5)
    for item, row in zip(batch, together, strict=True):
        np.testing.assert_allclose(bundle.predict([item])[0], row, atol=1e-5)


@pytest.mark.parametrize("preset", PRESETS)
def test_a_network_that_hears_adapts_to_speakers(tmp_path: Path, preset: Literal["paper", "whisper"]) -> None:
    bundle = Bundle.load(drawn_bundle(tmp_path / "drawn", small_network(preset)))
    assert bundle.adapts_to_speakers
    known = drawn_features(np.random.default_rng(0), known_speaker=True)
    stranger = replace(known, speaker=None)
    together = bundle.predict([known, stranger])
    assert np.abs(together[0] - together[1]).max() > 1e-4
    for item, row in zip((known, stranger), together, strict=True):
        np.testing.assert_allclose(bundle.predict([item])[0], row, atol=1e-5)


def test_a_network_that_reads_text_alone_has_no_speaker_to_adapt_to(tmp_path: Path) -> None:
    network = small_network("whisper", modalities=("words", "sentence"))
    bundle = Bundle.load(drawn_bundle(tmp_path / "drawn", network))
    assert not bundle.adapts_to_speakers
    known = drawn_features(np.random.default_rng(0), known_speaker=True)
    np.testing.assert_array_equal(bundle.predict([known]), bundle.predict([replace(known, speaker=None)]))


@pytest.mark.parametrize("name", SEALED)
def test_a_flipped_byte_is_found_in_every_sealed_file(copied: Path, name: str) -> None:
    flip_a_byte(copied / name)
    with pytest.raises(BundleChecksumMismatch, match=f"{name} has sha256 [0-9a-f]{{64}}, the bundle was sealed with"):
        Bundle.load(copied)


def test_a_sealed_file_in_a_folder_is_verified_as_well(copied: Path) -> None:
    folder = copied / "sentence_encoder"
    folder.mkdir()
    (folder / "tokenizer.json").write_text("{}")
    rewrite_facts(copied, lambda _: None, reseal=True)
    Bundle.load(copied)
    flip_a_byte(folder / "tokenizer.json")
    with pytest.raises(BundleChecksumMismatch, match=r"sentence_encoder/tokenizer\.json"):
        Bundle.load(copied)


@pytest.mark.parametrize("name", SEALED)
def test_a_missing_file_is_named(copied: Path, name: str) -> None:
    (copied / name).unlink()
    with pytest.raises(BundleInvalid, match=f"the bundle has no {name}"):
        Bundle.load(copied)


@pytest.mark.parametrize("name", SEALED)
def test_a_bundle_that_seals_less_than_it_must_is_refused(copied: Path, name: str) -> None:
    rewrite_facts(copied, lambda document: document["files"].pop(name))
    with pytest.raises(BundleInvalid, match=f"seals no {name}"):
        Bundle.load(copied)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe"])
def test_facts_that_are_no_json_object_are_refused(copied: Path, content: bytes) -> None:
    (copied / FACTS_FILE).write_bytes(content)
    with pytest.raises(BundleInvalid, match=r"bundle\.json"):
        Bundle.load(copied)


def test_a_folder_without_facts_is_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(BundleInvalid, match="cannot be read"):
        Bundle.load(tmp_path)


@pytest.mark.parametrize("version", [0, 2, "1", None])
def test_another_schema_version_is_refused_with_the_one_that_is_read(copied: Path, version: object) -> None:
    rewrite_facts(copied, lambda document: document.update(schema_version=version))
    with pytest.raises(BundleInvalid, match=f"schema version {version}, this program reads 1") as caught:
        Bundle.load(copied)
    assert (caught.value.value, caught.value.limit) == (version, SCHEMA_VERSION)


@pytest.mark.parametrize("name", ["labels", "features", "temperature", "assets", "golden_audio"])
def test_a_missing_fact_is_refused(copied: Path, name: str) -> None:
    rewrite_facts(copied, lambda document: document.pop(name))
    with pytest.raises(BundleInvalid, match=name):
        Bundle.load(copied)


def test_an_unknown_fact_is_refused(copied: Path) -> None:
    rewrite_facts(copied, lambda document: document.update(mood="good"))
    with pytest.raises(BundleInvalid, match="mood"):
        Bundle.load(copied)


def test_an_unknown_field_of_the_features_is_refused(copied: Path) -> None:
    rewrite_facts(copied, lambda document: document["features"]["speech"].update(loudness=11))
    with pytest.raises(BundleInvalid, match="loudness"):
        Bundle.load(copied)


def test_another_temperature_does_not_reproduce_the_golden_case(copied: Path) -> None:
    rewrite_facts(copied, lambda document: document.update(temperature=document["temperature"] / 3))
    with pytest.raises(GoldenMismatch, match="golden probabilities differ") as caught:
        Bundle.load(copied)
    assert caught.value.limit == 1e-4


@pytest.mark.parametrize("change", [0.01, np.nan])
def test_other_golden_probabilities_are_not_reproduced(copied: Path, change: float) -> None:
    with np.load(copied / GOLDEN_FILE, allow_pickle=False) as file:
        golden = {name: file[name] for name in file.files}
    golden["probabilities"][0, 0] += change
    np.savez_compressed(copied / GOLDEN_FILE, allow_pickle=False, **golden)
    rewrite_facts(copied, lambda _: None, reseal=True)
    with pytest.raises(GoldenMismatch, match="golden probabilities differ"):
        Bundle.load(copied)


def test_a_network_that_cannot_be_loaded_is_named(copied: Path) -> None:
    (copied / NETWORK_FILE).write_bytes(b"not a network")
    rewrite_facts(copied, lambda _: None, reseal=True)
    with pytest.raises(BundleInvalid, match=r"fusion\.onnx cannot be loaded"):
        Bundle.load(copied)


logits = st.lists(st.floats(min_value=-1e4, max_value=1e4), min_size=2, max_size=6)


@given(logits, st.floats(min_value=0.05, max_value=20.0))
def test_calibrated_probabilities_add_up_to_one_and_keep_the_order(row: list[float], temperature: float) -> None:
    (probabilities,) = calibrated(np.array([row]), temperature)
    assert probabilities.sum() == pytest.approx(1.0, abs=1e-5)
    assert probabilities[int(np.argmax(row))] == probabilities.max()


def test_a_higher_temperature_is_less_certain() -> None:
    row = np.array([[3.0, 1.0, 0.0]])
    np.testing.assert_allclose(calibrated(row, 1.0), np.exp(row) / np.exp(row).sum(), rtol=1e-6)
    assert calibrated(row, 2.0).max() < calibrated(row, 1.0).max()


def test_a_bundle_that_reads_lower_layers_must_seal_them(copied: Path) -> None:
    rewrite_facts(copied, lambda document: document["files"].pop(LOWER_LAYERS_FILE))
    with pytest.raises(BundleInvalid, match=r"seals no lower_layers\.onnx"):
        Bundle.load(copied)


@pytest.mark.parametrize("files", [None, [], "all"])
def test_a_bundle_whose_seal_is_no_list_of_files_is_refused(copied: Path, files: object) -> None:
    rewrite_facts(copied, lambda document: document.update(files=files))
    with pytest.raises(BundleInvalid, match="seals no files"):
        Bundle.load(copied)
