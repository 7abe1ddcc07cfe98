import json
from typing import Literal

import numpy as np
import pytest
import torch
from drawn_features import PRESETS, SMALL, drawn_features, features_of_every_kind, small_network, tensors_of
from torch import Tensor, nn

from model.network import NetworkConfig, VcemoNetwork

Preset = Literal["paper", "whisper"]

# Batch norm and softmax see no shift of all they get; of one key (the sentence reads itself) softmax sees nothing.
SHIFTS = (*(f"convolutions.{k}.bias" for k in range(3)), "key.bias", "pooling.score.3.bias", "statistics.score.3.bias")
ONE_KEY = tuple(
    f"fusion2.decoder.{layer}.self_attention.{part}.{kind}"
    for layer in (0, 1)
    for part in ("query", "key")
    for kind in ("weight", "bias")
)


@pytest.fixture(params=PRESETS)
def preset(request: pytest.FixtureRequest) -> Preset:
    chosen: Preset = request.param
    return chosen


@pytest.mark.parametrize(("preset", "least", "most"), [("paper", 9.5, 10.5), ("whisper", 0.3, 3.0)])
def test_a_preset_has_so_many_million_parameters(preset: Preset, least: float, most: float) -> None:
    network = VcemoNetwork(NetworkConfig.preset_named(preset))
    count = sum(parameter.numel() for parameter in network.parameters()) / 1e6
    assert least < count < most


def test_only_the_preset_whisper_reads_encoder_states() -> None:
    assert small_network("paper").states is None
    assert small_network("whisper").states is not None


def test_a_preset_takes_changes_and_comes_back_from_json(preset: Preset) -> None:
    config = NetworkConfig.preset_named(preset, width=64, conv_channels=(4, 8, 8))
    assert (config.preset, config.width) == (preset, 64)
    assert NetworkConfig.from_json(json.loads(json.dumps(config.to_json()))) == config


def test_padding_and_batch_mates_never_change_a_logit(preset: Preset) -> None:
    batch = features_of_every_kind(np.random.default_rng(0))
    network = small_network(preset)
    with torch.inference_mode():
        together = network(**tensors_of(batch))
        alone = torch.cat([network(**tensors_of([item])) for item in batch])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ["mel", "states", "words"])
def test_nothing_beyond_a_length_changes_a_logit(preset: Preset, name: str) -> None:
    inputs = tensors_of([drawn_features(np.random.default_rng(0), words=3)])
    network = small_network(preset)
    garbage = torch.full((1, 40, inputs[name].shape[2]), 100.0)
    with torch.inference_mode():
        expected = network(**inputs)
        found = network(**(inputs | {name: torch.cat([inputs[name], garbage], dim=1)}))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("column", "names"), [(0, ("mel", "mel_lengths", "states", "states_lengths")), (1, ("words",)), (2, ("sentence",))]
)
def test_the_content_of_an_absent_modality_is_ignored(preset: Preset, column: int, names: tuple[str, ...]) -> None:
    first, second = (tensors_of([drawn_features(np.random.default_rng(seed), frames=60 + seed)]) for seed in (0, 1))
    first["modality_mask"][:, column] = 0
    network = small_network(preset)
    with torch.inference_mode():
        expected = network(**first)
        found = network(**(first | {name: second[name] for name in names}))
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("column", [0, 1, 2])
def test_every_modality_that_is_there_is_read(preset: Preset, column: int) -> None:
    present = tensors_of([drawn_features(np.random.default_rng(0))])
    absent = present | {"modality_mask": present["modality_mask"].clone()}
    absent["modality_mask"][:, column] = 0
    network = small_network(preset)
    with torch.inference_mode():
        assert (network(**present) - network(**absent)).abs().max() > 1e-4


def test_words_beyond_the_fusions_steps_are_cut(preset: Preset) -> None:
    inputs = tensors_of([drawn_features(np.random.default_rng(0), words=30)])
    network = small_network(preset)
    changed = inputs["words"].clone()
    changed[:, SMALL["fusion_steps"] + 1 :] = 5.0
    with torch.inference_mode():
        torch.testing.assert_close(network(**(inputs | {"words": changed})), network(**inputs), atol=1e-5, rtol=0)


def test_the_sequences_of_fusion_one_are_added_and_the_sentence_reads_their_sum(preset: Preset) -> None:
    network = small_network(preset)
    outputs: list[tuple[Tensor, Tensor]] = []
    inputs: list[tuple[Tensor, ...]] = []
    network.fusion1.register_forward_hook(lambda _, __, found: outputs.append(found))
    network.fusion2.register_forward_pre_hook(lambda _, given: inputs.append(given))
    with torch.inference_mode():
        network(**tensors_of([drawn_features(np.random.default_rng(0), words=3)]))
    ((guide, guided),), ((fused, _, sentence, _),) = outputs, inputs
    torch.testing.assert_close(fused[:, :3], guide[:, :3] + guided[:, :3])
    torch.testing.assert_close(fused[:, 3:], guide[:, 3:])
    assert sentence.shape[1] == 1


def test_the_contrastive_feature_has_length_one(preset: Preset) -> None:
    network = small_network(preset)
    with torch.inference_mode():
        projected = network.project(network.embed(**tensors_of(features_of_every_kind(np.random.default_rng(0)))))
    assert projected.shape == (5, network.config.projection)
    torch.testing.assert_close(projected.norm(dim=1), torch.ones(5))


def test_gradients_reach_every_parameter_but_those_that_nothing_can_depend_on(preset: Preset) -> None:
    network = small_network(preset, layers=2, dropout=0.0, input_dropout=0.0).train()
    inputs = tensors_of([*features_of_every_kind(np.random.default_rng(0)), drawn_features(np.random.default_rng(1))])
    embedded = network.embed(**inputs)
    targets = torch.arange(6) % 6
    loss = nn.functional.cross_entropy(network.predictor(embedded), targets) + network.project(embedded)[:, 0].sum()
    loss.backward()  # type: ignore[no-untyped-call]
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        largest = parameter.grad.abs().max().item()
        if name.endswith(SHIFTS) or name in ONE_KEY:
            assert largest < 1e-6, name
        else:
            assert largest > 1e-6, name


def test_each_modality_that_may_be_absent_has_a_vector_of_its_own(preset: Preset) -> None:
    network = small_network(preset).train()
    network(**tensors_of(features_of_every_kind(np.random.default_rng(0)))).sum().backward()
    assert network.absent.grad is not None
    assert (network.absent.grad.abs().max(1).values > 0).all()


def test_thirty_two_random_examples_are_learnt_by_heart(preset: Preset) -> None:
    generator = np.random.default_rng(0)
    inputs = tensors_of([drawn_features(generator, frames=int(generator.integers(20, 40))) for _ in range(32)])
    labels = torch.from_numpy(generator.integers(0, 6, 32))
    network = small_network(preset, width=32, dropout=0.0, input_dropout=0.0).train()
    optimiser = torch.optim.Adam(network.parameters(), lr=3e-3)
    for _ in range(25):
        loss = nn.functional.cross_entropy(network(**inputs), labels)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    with torch.inference_mode():
        assert (network(**inputs).argmax(1) == labels).all()


def test_a_batch_of_text_alone_can_be_trained_on(preset: Preset) -> None:
    network = small_network(preset).train()
    before = network.mel.norms[0].get_buffer("running_mean").clone()
    texts = [drawn_features(np.random.default_rng(seed), frames=0) for seed in range(3)]
    network(**tensors_of(texts)).sum().backward()
    assert all(p.grad is None or bool(torch.isfinite(p.grad).all()) for p in network.parameters())
    torch.testing.assert_close(network.mel.norms[0].get_buffer("running_mean"), before, atol=0, rtol=0)
