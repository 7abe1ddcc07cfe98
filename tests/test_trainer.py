from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from drawn_features import (
    FEATURES,
    PRESETS,
    SMALL,
    drawn_example,
    drawn_features,
    features_of_every_kind,
    small_network,
    tensors_of,
)

from model.encoders import Standardise
from model.features import Features
from model.labels import EMOTIONS
from model.network import VcemoNetwork
from training.dataset import TrainingSet
from training.experiment import Experiment
from training.feature_cache import Example
from training.trainer import (
    _warmup_then_cosine,
    fit_standardisation,
    load_network,
    predict_logits,
    save_network,
    train_network,
)

EXPERIMENT = Experiment(
    network=SMALL | {"input_dropout": 0.0}, corpora={"casia": 1}, epochs=2, batch_size=16, learning_rate=3e-3
)


@pytest.fixture(scope="module")
def learnable() -> list[Example]:
    """Clips whose features are shifted by their label."""
    generator = np.random.default_rng(0)
    return [
        drawn_example(drawn_features(generator, shift=1.0 * (index % 6)), key=str(index), emotion=EMOTIONS[index % 6])
        for index in range(48)
    ]


def trained(
    clips: list[Example], *, texts: tuple[Example, ...] = (), **changes: Any
) -> tuple[VcemoNetwork, list[float]]:
    experiment = replace(EXPERIMENT, **changes)
    losses: list[float] = []
    training_set = TrainingSet(clips, texts, experiment=experiment, features=FEATURES)
    return train_network(training_set, experiment=experiment, on_epoch=lambda _, loss: losses.append(loss)), losses


def features_of(examples: list[Example]) -> list[Features]:
    return [example.features for example in examples]


@pytest.mark.parametrize("preset", PRESETS)
def test_the_loss_falls_and_the_labels_are_learnt(learnable: list[Example], preset: str) -> None:
    network, losses = trained(learnable, preset=preset, epochs=24)
    assert len(losses) == 24
    assert losses[-1] < 0.8 * losses[0]
    predicted = predict_logits(network, features_of(learnable), config=FEATURES).argmax(1)
    assert (predicted == np.arange(48) % 6).mean() > 0.8


def test_the_same_seed_trains_the_same_network(learnable: list[Example]) -> None:
    texts = (drawn_example(drawn_features(np.random.default_rng(1), frames=0), key="text"),)
    first, again, other = (trained(learnable, texts=texts, epochs=1, seed=seed)[0].state_dict() for seed in (5, 5, 6))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_the_network_comes_ready_to_predict(learnable: list[Example]) -> None:
    network, _ = trained(learnable, epochs=1)
    assert not network.training


def test_inputs_are_standardised_by_all_rows_of_the_training_part() -> None:
    drawn = features_of_every_kind(np.random.default_rng(0))
    network = small_network("whisper")
    fit_standardisation(network, drawn)
    assert network.states is not None
    assert isinstance(network.sentence[0], Standardise)
    for standardise, rows in (
        (network.mel.standardise, [one.mel for one in drawn if one.mel is not None]),
        (network.states.standardise, [one.states for one in drawn if one.states is not None]),
        (network.words.standardise, [one.words for one in drawn if one.words is not None]),
        (network.sentence[0], [one.sentence[None] for one in drawn if one.sentence is not None]),
    ):
        joined = np.concatenate(rows).astype(np.float64)
        np.testing.assert_allclose(standardise.get_buffer("mean"), joined.mean(0), atol=1e-6)
        np.testing.assert_allclose(standardise.get_buffer("deviation"), joined.std(0).clip(1e-3), atol=1e-6)


def test_a_modality_that_the_training_part_lacks_keeps_its_scale() -> None:
    network = small_network("whisper")
    fit_standardisation(network, [drawn_features(np.random.default_rng(0), words=0)])
    assert not network.words.standardise.get_buffer("mean").any()


def test_a_network_comes_back_from_its_file(tmp_path: Path) -> None:
    network = small_network("whisper", input_dropout=0.0)
    network.mel.standardise.get_buffer("mean").fill_(0.5)
    path = tmp_path / "runs" / "anna.safetensors"
    save_network(network, path)
    loaded = load_network(path, experiment=EXPERIMENT)
    assert list(path.parent.iterdir()) == [path]
    assert not loaded.training
    inputs = tensors_of(features_of_every_kind(np.random.default_rng(0)))
    with torch.inference_mode():
        assert torch.equal(network(**inputs), loaded(**inputs))


def test_the_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    save_network(small_network("paper"), tmp_path / "paper.safetensors")
    with pytest.raises(RuntimeError, match="state_dict"):
        load_network(tmp_path / "paper.safetensors", experiment=EXPERIMENT)


def test_predictions_do_not_depend_on_the_batch_size() -> None:
    network, drawn = small_network("whisper"), features_of_every_kind(np.random.default_rng(0))
    at_once = predict_logits(network.train(), drawn, config=FEATURES)
    assert at_once.shape == (5, 6)
    np.testing.assert_allclose(predict_logits(network, drawn, config=FEATURES, batch_size=2), at_once, atol=1e-5)


def test_nothing_to_predict_gives_no_logits() -> None:
    assert predict_logits(small_network("paper"), [], config=FEATURES).shape == (0, 6)


def test_the_learning_rate_warms_up_and_then_falls_to_nothing() -> None:
    optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    schedule = _warmup_then_cosine(optimiser, total=100, warmup_share=0.1)
    rates = []
    for _ in range(100):
        rates.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        schedule.step()
    assert rates[:10] == pytest.approx([(step + 1) / 10 for step in range(10)])
    assert max(rates) == 1.0
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[-1] < 0.001
