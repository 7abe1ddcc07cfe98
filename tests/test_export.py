from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
import torch
from drawn_features import FEATURES, PRESETS, drawn_features, features_of_every_kind, lived_in, small_network

from model.assets import AssetStore
from model.bundle import Bundle, BundleFacts, calibrated
from model.errors import AssetMissing, BundleInvalid, UnknownAsset
from model.features import Features, collate
from model.network import VcemoNetwork
from training.export import export_network, golden_features, network_of, write_bundle
from training.inference import as_tensors


@pytest.fixture(scope="module", params=PRESETS)
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[VcemoNetwork, Path]:
    network = lived_in(small_network(request.param))
    path = tmp_path_factory.mktemp("exported") / "fusion.onnx"
    export_network(network, path, example=collate(features_of_every_kind(np.random.default_rng(0)), config=FEATURES))
    return network, path


def batches() -> list[list[Features]]:
    generator = np.random.default_rng(5)
    drawn = [
        drawn_features(
            generator,
            frames=int(generator.integers(1, 900)),
            steps=int(generator.integers(1, 220)),
            words=int(generator.integers(0, 96)),
            known_speaker=index % 3 == 1,
        )
        for index in range(8)
    ]
    return [drawn[:1], drawn[1:3], drawn, features_of_every_kind(generator), [drawn_features(generator, frames=0)]]


def test_the_export_gives_the_probabilities_of_torch_at_every_length(exported: tuple[VcemoNetwork, Path]) -> None:
    network, path = exported
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [node.name for node in session.get_inputs()]
    for batch in batches():
        inputs = collate(batch, config=FEATURES)
        (found,) = session.run(["logits"], {name: inputs[name] for name in names})
        with torch.inference_mode():
            expected: npt.NDArray[np.float32] = network(**as_tensors(inputs)).numpy()
        assert np.abs(calibrated(found, 1.0) - calibrated(expected, 1.0)).max() < 1e-4


def test_what_only_training_needs_stays_behind(exported: tuple[VcemoNetwork, Path]) -> None:
    network, path = exported
    exported_network = onnx.load(str(path))
    names = {tensor.name for tensor in exported_network.graph.initializer}
    assert any(name.startswith("predictor") for name in names)
    assert not any("projector" in name or "judges" in name for name in names)
    left = [*network.projector.parameters(), *network.judges.parameters()]
    numbers = sum(parameter.numel() for parameter in left)
    everything = sum(value.numel() for value in network.state_dict().values())
    assert path.stat().st_size < 4 * (everything - numbers) + 200_000


def test_the_export_is_one_file(exported: tuple[VcemoNetwork, Path]) -> None:
    _, path = exported
    assert list(path.parent.iterdir()) == [path]


def test_the_inputs_that_the_network_reads_are_those_of_the_export(exported: tuple[VcemoNetwork, Path]) -> None:
    network, path = exported
    read = {node.name for node in onnx.load(str(path)).graph.input}
    unread = {"states", "states_lengths", "ngrams", "ngram_weights", "speaker_states"}
    assert read == set(VcemoNetwork.INPUTS) - (unread if network.config.preset == "paper" else set())


def test_the_golden_case_holds_every_modality_its_absence_and_a_speaker() -> None:
    golden = golden_features(FEATURES)
    batch = collate(golden, config=FEATURES)
    assert {tuple(row) for row in batch["modality_mask"].tolist()} == {(1, 1, 1), (1, 0, 0), (0, 1, 1)}
    assert batch["speaker_rows"].any(axis=1).tolist() == [False] * (len(golden) - 1) + [True]
    assert [item.ngrams is None for item in golden] == [item.sentence is None for item in golden]
    again = collate(golden_features(FEATURES), config=FEATURES)
    assert all(np.array_equal(batch[name], again[name]) for name in batch)


def test_a_bundle_without_weights_for_torch_says_so(tmp_path: Path) -> None:
    with pytest.raises(BundleInvalid, match=r"carries no network\.safetensors"):
        network_of(tmp_path)


@pytest.fixture
def facts(bundle: Bundle) -> BundleFacts:
    network = small_network("whisper")
    return replace(bundle.facts, name="new", features=FEATURES, network=network.config.to_json(), golden_audio={})


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """Where an older bundle lies."""
    folder = tmp_path / "artifacts" / "bundle"
    folder.mkdir(parents=True)
    (folder / "bundle.json").write_text("the old one")
    return folder


def assert_only_the_old_one_is_there(old: Path) -> None:
    assert list(old.parent.iterdir()) == [old]
    assert (old / "bundle.json").read_text() == "the old one"
    assert [path.name for path in old.iterdir()] == ["bundle.json"]


def test_a_write_that_fails_in_its_proof_leaves_the_old_bundle(
    old: Path, facts: BundleFacts, assets: AssetStore
) -> None:
    unknown = replace(facts, assets={"no-such-part": {"model.bin": "00"}})
    with pytest.raises(UnknownAsset):
        write_bundle(old, network=small_network("whisper"), facts=unknown, card="", assets=assets)
    assert_only_the_old_one_is_there(old)


def test_a_write_without_the_pre_trained_parts_leaves_the_old_bundle(
    old: Path, facts: BundleFacts, assets: AssetStore, tmp_path: Path
) -> None:
    empty = replace(assets, cache=tmp_path / "empty")
    with pytest.raises(AssetMissing):
        write_bundle(old, network=small_network("whisper"), facts=facts, card="", assets=empty)
    assert_only_the_old_one_is_there(old)


def test_a_write_that_is_interrupted_leaves_the_old_bundle(old: Path, facts: BundleFacts, assets: AssetStore) -> None:
    class Interrupted(VcemoNetwork):
        def forward(self, *inputs: torch.Tensor, **named: torch.Tensor) -> torch.Tensor:
            raise KeyboardInterrupt

    network = Interrupted(small_network("whisper").config)
    with pytest.raises(KeyboardInterrupt):
        write_bundle(old, network=network, facts=facts, card="", assets=assets)
    assert_only_the_old_one_is_there(old)
