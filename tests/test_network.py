import json
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnxruntime
import pytest
import torch
from drawn_features import (
    FEATURES,
    PRESETS,
    SMALL,
    drawn_features,
    features_of_every_kind,
    lived_in,
    small_network,
    tensors_of,
)
from torch import Tensor, nn

from model.attention import AttentionLayer
from model.bundle import FACTS_FILE, GOLDEN_FILE, calibrated
from model.encoders import MelEncoder
from model.features import MODALITIES, collate
from model.network import NetworkConfig, VcemoNetwork
from training.export import export_network, network_of

Preset = Literal["paper", "whisper"]

BUNDLES = sorted(path.parent for path in (Path(__file__).parents[1] / "artifacts").glob(f"*/{FACTS_FILE}"))

SUBSETS = [subset for size in (1, 2, 3) for subset in combinations(MODALITIES, size)]
"""The rows of the paper's table 3."""

CHOICES: dict[str, dict[str, Any]] = {
    "pooling-mean": {"pooling": "mean"},
    "pooling-bert_token": {"pooling": "bert_token"},
    "word_conv-time_mix": {"word_conv": "time_mix"},
    "word_conv-none": {"word_conv": "none"},
    "word_kernel-5": {"word_kernel": 5},
    "concat-channel": {"concat": "channel"},
    "final_layers-2": {"final_layers": 2},
    "concat-channel-mean": {"concat": "channel", "pooling": "mean"},
    "add_mode-aligned": {"add_mode": "aligned"},
    "aligned-mean": {"add_mode": "aligned", "pooling": "mean"},
    "aligned-channel-time_mix": {"add_mode": "aligned", "concat": "channel", "word_conv": "time_mix"},
    "guide-words": {"fusion1_guide": "words"},
    "guide-words-aligned": {"fusion1_guide": "words", "add_mode": "aligned"},
    "bidirectional": {"bidirectional": True},
    "bidirectional-words-aligned": {"bidirectional": True, "fusion1_guide": "words", "add_mode": "aligned"},
    "convolutions": {"conv_channels": (4, 8), "conv_time_strides": (3, 1), "conv_kernel": 5},
    "conv_frequency_stride": {"conv_frequency_stride": 3},
    "recurrent-layers": {"mel_lstm_layers": 2, "word_lstm_layers": 2},
    "heads-of-the-network": {"predictor_hidden": 0, "projector_hidden": 8, "feed_forward_multiple": 2},
    "sentence_norm": {"sentence_norm": True},
    "mel_encoder-conv": {"mel_encoder": "conv"},
    "statistics_heads-2": {"statistics_heads": 2},
    "text_branch": {"text_branch": True, "text_width": 8, "ngram_buckets": 70_000},
    "speaker_prior_steps-5": {"speaker_prior_steps": 5.0},
}
ABLATIONS: dict[str, dict[str, Any]] = {"-".join(subset): {"modalities": subset} for subset in SUBSETS[:-1]}
OPTIONS = CHOICES | ABLATIONS

# Several options at once: an export takes a second.
EXPORTS: list[tuple[Preset, tuple[str, ...]]] = [
    ("paper", ("pooling-mean", "word_conv-none", "recurrent-layers", "sentence_norm")),
    ("paper", ("pooling-bert_token", "word_conv-time_mix", "guide-words")),
    ("paper", ("concat-channel", "bidirectional", "word_kernel-5", "conv_frequency_stride")),
    ("paper", ("add_mode-aligned", "convolutions", "heads-of-the-network")),
    ("paper", ("acoustic", "guide-words-aligned")),
    ("paper", ("sentence", "final_layers-2", "text_branch")),
    ("whisper", ("aligned-channel-time_mix", "bidirectional-words-aligned")),
    ("whisper", ("words-sentence", "concat-channel-mean")),
    ("whisper", ("mel_encoder-conv", "statistics_heads-2", "speaker_prior_steps-5")),
]

# Batch norm and softmax see no shift of all they get; of one key (the sentence reads itself) softmax sees nothing.
SHIFTS = (
    *(f"convolutions.{k}.bias" for k in range(3)),
    *("key.bias", "pooling.score.3.bias", "text.words.score.bias"),
    *(f"statistics.{k}.score.3.bias" for k in range(4)),
)
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


@pytest.fixture(params=OPTIONS)
def option(request: pytest.FixtureRequest) -> dict[str, Any]:
    return OPTIONS[request.param]


def test_the_sentence_of_the_paper_passes_a_linear_layer_and_nothing_behind_it() -> None:
    assert isinstance(small_network("paper").sentence[-1], nn.Linear)
    assert isinstance(small_network("whisper").sentence[-1], nn.LayerNorm)


@pytest.mark.parametrize("bundle", BUNDLES, ids=lambda bundle: bundle.name)
def test_the_committed_weights_give_the_golden_probabilities(bundle: Path) -> None:
    facts = json.loads((bundle / FACTS_FILE).read_text(encoding="utf-8"))
    network = network_of(bundle)
    with np.load(bundle / GOLDEN_FILE, allow_pickle=False) as golden:
        inputs = {name: torch.from_numpy(golden[name]) for name in VcemoNetwork.INPUTS}
        expected = golden["probabilities"]
    with torch.inference_mode():
        found = calibrated(network(**inputs).numpy(), facts["temperature"])
    assert np.abs(found - expected).max() < 1e-5


def test_only_the_preset_whisper_reads_encoder_states() -> None:
    assert small_network("paper").states is None
    assert small_network("whisper").states is not None


def test_every_option_comes_back_from_json(option: dict[str, Any]) -> None:
    config = NetworkConfig.preset_named("paper", **option)
    assert NetworkConfig.from_json(json.loads(json.dumps(config.to_json()))) == config


def test_under_no_option_padding_or_a_batch_mate_changes_a_logit(option: dict[str, Any]) -> None:
    batch = features_of_every_kind(np.random.default_rng(0))
    network = lived_in(small_network("paper", **option))
    inputs = tensors_of(batch)
    for name in ("mel", "states", "words"):
        garbage = torch.full((len(batch), 40, inputs[name].shape[2]), 100.0)
        inputs[name] = torch.cat([inputs[name], garbage], dim=1)
    garbage = torch.full((len(batch), 40), 9)
    inputs["ngrams"] = torch.cat([inputs["ngrams"], garbage], dim=1)
    inputs["ngram_weights"] = torch.cat([inputs["ngram_weights"], torch.zeros_like(garbage)], dim=1)
    with torch.inference_mode():
        together = network(**inputs)
        alone = torch.cat([network(**tensors_of([item])) for item in batch])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)


def test_under_no_option_half_precision_changes_much(option: dict[str, Any]) -> None:
    inputs = tensors_of(features_of_every_kind(np.random.default_rng(0)))
    network = lived_in(small_network("paper", **option))
    with torch.inference_mode():
        expected = network(**inputs)
        with torch.autocast("cpu", torch.bfloat16):
            found = network(**inputs)
    torch.testing.assert_close(found.float(), expected, atol=0.1, rtol=0)


def together(names: tuple[str, ...]) -> dict[str, Any]:
    return {field: value for name in names for field, value in OPTIONS[name].items()}


@pytest.mark.parametrize(
    ("preset", "names"), EXPORTS, ids=lambda value: value if isinstance(value, str) else "+".join(value)
)
def test_the_export_gives_the_logits_of_torch_under_every_option(
    preset: Preset, names: tuple[str, ...], tmp_path: Path
) -> None:
    network = lived_in(small_network(preset, **together(names)))
    generator = np.random.default_rng(0)
    example = collate(features_of_every_kind(generator), config=FEATURES)
    export_network(network, tmp_path / "fusion.onnx", example=example)
    session = onnxruntime.InferenceSession(str(tmp_path / "fusion.onnx"), providers=["CPUExecutionProvider"])
    read = [node.name for node in session.get_inputs()]
    other = [drawn_features(generator, frames=200, steps=51, words=20), drawn_features(generator, frames=3, words=0)]
    for batch in (features_of_every_kind(generator), other, other[:1], other[1:]):
        inputs = collate(batch, config=FEATURES)
        (found,) = session.run(["logits"], {name: inputs[name] for name in read})
        with torch.inference_mode():
            expected = network(**tensors_of(batch)).numpy()
        np.testing.assert_allclose(found, expected, atol=1e-4, rtol=0)


def test_no_choice_is_left_out_of_the_exports() -> None:
    exported = {item for _, names in EXPORTS for item in together(names).items()}
    assert {item for changes in CHOICES.values() for item in changes.items()} <= exported


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


SOUND = ("mel", "mel_lengths", "states", "states_lengths", "speaker_rows", "speaker_mel", "speaker_states")
TEXT = ("sentence", "ngrams", "ngram_weights")


@pytest.mark.parametrize(("column", "names"), [(0, SOUND), (1, ("words",)), (2, TEXT)])
def test_the_content_of_an_absent_modality_is_ignored(preset: Preset, column: int, names: tuple[str, ...]) -> None:
    first, second = (
        tensors_of([drawn_features(np.random.default_rng(seed), frames=60 + seed, known_speaker=True)])
        for seed in (0, 1)
    )
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


def test_the_fusions_cut_words_beyond_their_steps(preset: Preset) -> None:
    inputs = tensors_of([drawn_features(np.random.default_rng(0), words=30)])
    network = small_network(preset, text_branch=False)
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


def heard_by(network: VcemoNetwork, module: nn.Module) -> tuple[tuple[Tensor, ...], Any]:
    """Return what ``module`` reads and gives while ``network`` runs on one utterance of three words."""
    found: list[tuple[tuple[Tensor, ...], Any]] = []
    module.register_forward_hook(lambda _, given, out: found.append((given, out)))
    with torch.inference_mode():
        network(**tensors_of([drawn_features(np.random.default_rng(0), words=3)]))
    return found[0]


def test_words_can_guide_the_sound() -> None:
    (first, _, second, _), _ = heard_by(network := small_network("paper"), network.fusion1)
    (guide, guide_mask, guided, _), (words, acoustic) = heard_by(
        network := small_network("paper", fusion1_guide="words"), network.fusion1
    )
    torch.testing.assert_close(guide, second)
    torch.testing.assert_close(guided, first)
    (fused, mask, _, _), _ = heard_by(network, network.fusion2)
    assert guide_mask.sum() == 3
    assert mask.all()
    torch.testing.assert_close(fused[:, :3], acoustic[:, :3] + words[:, :3])
    torch.testing.assert_close(fused[:, 3:], acoustic[:, 3:])


def test_aligned_addition_has_a_step_for_each_word() -> None:
    network = small_network("paper", add_mode="aligned")
    _, (sound_of_words, words) = heard_by(network, network.fusion1)
    (fused, mask, _, _), _ = heard_by(network, network.fusion2)
    assert mask.tolist() == [[True] * 3 + [False] * 5]
    torch.testing.assert_close(fused, sound_of_words + words)


def test_concatenation_along_time_makes_the_sentence_the_last_step() -> None:
    network = small_network("paper")
    _, (fused, sentence) = heard_by(network, network.fusion2)
    (joined, mask), _ = heard_by(network, network.final)
    torch.testing.assert_close(joined, torch.cat([fused, sentence], dim=1))
    assert mask.all()


def test_concatenation_along_channels_lays_the_sentence_beside_every_step() -> None:
    network = small_network("paper", concat="channel")
    _, (fused, sentence) = heard_by(network, network.fusion2)
    (joined, _), refined = heard_by(network, network.final)
    torch.testing.assert_close(joined[..., :16], fused)
    torch.testing.assert_close(joined[..., 16:], sentence.expand_as(fused))
    assert refined.shape == (1, 8, 32)


def test_pooling_can_read_the_step_of_the_sentence_alone() -> None:
    network = small_network("paper", pooling="bert_token")
    _, refined = heard_by(network, network.final)
    (pooled,), _ = heard_by(network, network.predictor)
    torch.testing.assert_close(pooled, refined[:, -1])


def test_pooling_by_the_mean_counts_only_what_is_there() -> None:
    network = small_network("paper", pooling="mean", add_mode="aligned")
    _, refined = heard_by(network, network.final)
    (pooled,), _ = heard_by(network, network.predictor)
    torch.testing.assert_close(pooled, refined[:, [0, 1, 2, -1]].mean(1))


def test_every_final_layer_is_run_in_its_turn() -> None:
    network = small_network("paper", final_layers=3)
    _, first = heard_by(network, network.final)
    (second, _), _ = heard_by(network, network.more_final[0])
    (pooled, _), _ = heard_by(network, network.pooling or network)
    _, last = heard_by(network, network.more_final[1])
    torch.testing.assert_close(second, first)
    torch.testing.assert_close(pooled, last)


def test_guided_by_the_sentence_fusion_two_would_add_the_same_to_every_step() -> None:
    # Why the sequence guides in fusion 2, under ``bidirectional`` as well: softmax over one key is one.
    network = small_network("paper", layers=2)
    generator = torch.Generator().manual_seed(0)
    sentence, single = torch.randn(1, 1, 16, generator=generator), torch.ones(1, 1, dtype=torch.bool)
    added: list[Tensor] = []
    for layer in network.fusion2.decoder:
        assert isinstance(layer, AttentionLayer)
        assert isinstance(layer.guided_norm, nn.LayerNorm)
        layer.self_norm.register_forward_hook(lambda _, __, out: added.append(-out))
        layer.guided_norm.register_forward_pre_hook(lambda _, given: added.append(given[0]))
    with torch.inference_mode():
        for seed in (1, 2):
            fused = torch.randn(1, 8, 16, generator=torch.Generator().manual_seed(seed))
            network.fusion2(sentence, single, fused, torch.ones(1, 8, dtype=torch.bool))
    first, second, *again = (before + after for before, after in zip(added[::2], added[1::2], strict=True))
    for found, other in zip((first, second), again, strict=True):
        torch.testing.assert_close(found, found[:, :1].expand_as(found), atol=1e-5, rtol=0)
        torch.testing.assert_close(found, other, atol=1e-5, rtol=0)


@pytest.mark.parametrize("modalities", SUBSETS, ids="-".join)
def test_a_modality_left_out_is_one_missing_in_every_sample(preset: Preset, modalities: tuple[str, ...]) -> None:
    full, part = lived_in(small_network(preset)), lived_in(small_network(preset, modalities=modalities))
    part.load_state_dict(full.state_dict())
    inputs = tensors_of(features_of_every_kind(np.random.default_rng(0)))
    kept = torch.tensor([float(name in modalities) for name in MODALITIES])
    with torch.inference_mode():
        found = part(**inputs)
        expected = full(**(inputs | {"modality_mask": inputs["modality_mask"] * kept}))
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("modalities", SUBSETS, ids="-".join)
def test_every_combination_of_modalities_is_trained_and_no_encoder_that_is_left_out(
    modalities: tuple[str, ...],
) -> None:
    generator = np.random.default_rng(0)
    batch = [drawn_features(generator, frames=8, shift=float(index % 2)) for index in range(12)]
    inputs, labels = tensors_of(batch), torch.arange(12) % 2
    network = small_network("paper", modalities=modalities, dropout=0.0).train()
    encoders = {"acoustic": network.mel, "words": network.words, "sentence": network.sentence}
    before = {name: [p.detach().clone() for p in encoder.parameters()] for name, encoder in encoders.items()}
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-2)
    for _ in range(20):
        loss = nn.functional.cross_entropy(network(**inputs), labels)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    assert loss.item() < 0.3  # ln 2 is the best without reading
    for name, encoder in encoders.items():
        unchanged = all(torch.equal(old, new) for old, new in zip(before[name], encoder.parameters(), strict=True))
        assert unchanged == (name not in modalities), name


def test_the_contrastive_feature_has_length_one(preset: Preset) -> None:
    network = small_network(preset)
    with torch.inference_mode():
        projected = network.project(network.embed(**tensors_of(features_of_every_kind(np.random.default_rng(0)))))
    assert projected.shape == (5, network.config.projection)
    torch.testing.assert_close(projected.norm(dim=1), torch.ones(5))


def loss_of_everything(network: VcemoNetwork, embedded: Tensor, targets: Tensor) -> Tensor:
    judged = [network.predictor(embedded), *network.judged_alone(embedded).values()]
    losses = [nn.functional.cross_entropy(logits, targets) for logits in judged]
    return torch.stack([*losses, network.project(embedded)[:, 0].sum()]).sum()


def test_gradients_reach_every_parameter_but_those_that_nothing_can_depend_on(preset: Preset) -> None:
    network = small_network(preset, layers=2, dropout=0.0, input_dropout=0.0).train()
    inputs = tensors_of([*features_of_every_kind(np.random.default_rng(0)), drawn_features(np.random.default_rng(1))])
    embedded = network.embed(**inputs)
    targets = torch.arange(6) % 6
    loss = loss_of_everything(network, embedded, targets)
    loss.backward()  # type: ignore[no-untyped-call]
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        largest = parameter.grad.abs().max().item()
        if name.endswith(SHIFTS) or name in ONE_KEY:
            assert largest < 1e-6, name
        else:
            assert largest > 1e-6, name


@pytest.mark.parametrize("changes", [{}, *CHOICES.values()], ids=["default", *CHOICES])
def test_of_the_preset_paper_whole_utterances_train_everything_but_what_stands_for_a_missing_one(
    changes: dict[str, Any],
) -> None:
    generator = np.random.default_rng(0)
    inputs = tensors_of([drawn_features(generator, frames=40 + 9 * index, words=3 + index) for index in range(6)])
    network = small_network("paper", **({"layers": 2, "dropout": 0.0} | changes)).train()
    embedded = network.embed(**inputs)
    targets = torch.arange(6)
    loss = loss_of_everything(network, embedded, targets)
    loss.backward()  # type: ignore[no-untyped-call]
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        largest = parameter.grad.abs().max().item()
        assert (largest < 1e-6) == (name == "absent" or name.endswith(SHIFTS) or name in ONE_KEY), name


def test_what_stands_for_a_modality_left_out_is_trained() -> None:
    network = small_network("paper", modalities=("words",)).train()
    network(**tensors_of([drawn_features(np.random.default_rng(seed)) for seed in range(3)])).sum().backward()
    assert network.absent.grad is not None
    assert (network.absent.grad.abs().max(1).values > 0).tolist() == [True, False, True]


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
    network = small_network(preset, mel_encoder="conv").train()
    assert isinstance(network.mel, MelEncoder)
    before = network.mel.norms[0].get_buffer("running_mean").clone()
    texts = [drawn_features(np.random.default_rng(seed), frames=0) for seed in range(3)]
    network(**tensors_of(texts)).sum().backward()
    assert all(p.grad is None or bool(torch.isfinite(p.grad).all()) for p in network.parameters())
    torch.testing.assert_close(network.mel.norms[0].get_buffer("running_mean"), before, atol=0, rtol=0)
