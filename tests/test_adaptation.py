"""The network adapts to a speaker of whom something was heard."""

from dataclasses import replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pytest
import torch
from drawn_features import PRESETS, drawn_features, features_of_every_kind, lived_in, small_network, tensors_of
from torch import Tensor

from model.network import VcemoNetwork
from model.speaker import Moments, SpeakerStatistics

Preset = Literal["paper", "whisper"]
Array = npt.NDArray[Any]
LONG = 10**9


@pytest.fixture(params=PRESETS)
def preset(request: pytest.FixtureRequest) -> Preset:
    chosen: Preset = request.param
    return chosen


@pytest.fixture(params=["paper", "whisper", "conv"])
def network(request: pytest.FixtureRequest) -> VcemoNetwork:
    changes: dict[str, Any] = {"mel_encoder": "conv"} if request.param == "conv" else {}
    return lived_in(small_network("paper" if request.param == "paper" else "whisper", **changes))


def statistics_of(network: VcemoNetwork) -> dict[str, tuple[Array, Array]]:
    """Mean and deviation of the training part, of the inputs that are adapted."""
    encoders = {"mel": network.mel} | ({"states": network.states} if network.states is not None else {})
    return {
        name: (encoder.standardise.get_buffer("mean").numpy(), encoder.standardise.get_buffer("deviation").numpy())
        for name, encoder in encoders.items()
    }


def read_by(network: VcemoNetwork, batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """Mel and states as the encoders are given them."""
    given: dict[str, Tensor] = {}
    hooks = [
        encoder.register_forward_pre_hook(lambda _, inputs, name=name: given.update({name: inputs[0]}))
        for name, encoder in (("mel", network.mel), ("states", network.states))
        if encoder is not None
    ]
    with torch.inference_mode():
        network(**batch)
    for hook in hooks:
        hook.remove()
    return given


def moments(count: int, mean: Array, deviation: Array) -> Moments:
    exact = mean.astype(np.float64)
    return Moments(count=count, total=count * exact, squares=count * (exact**2 + deviation.astype(np.float64) ** 2))


def voice(network: VcemoNetwork, *, shift: float, scale: float, count: int) -> SpeakerStatistics:
    """A speaker whose every input is that of the training part, scaled and shifted."""
    found = {
        name: moments(count, mean * scale + shift, deviation * scale)
        for name, (mean, deviation) in statistics_of(network).items()
    }
    return SpeakerStatistics(mel=found["mel"], states=found.get("states", moments(count, np.zeros(512), np.ones(512))))


def test_a_stranger_is_read_to_the_bit_as_without_adaptation(network: VcemoNetwork) -> None:
    batch = tensors_of([drawn_features(np.random.default_rng(seed), frames=60 + seed) for seed in range(3)])
    for name, given in read_by(network, batch).items():
        assert torch.equal(given, batch[name]), name


def test_statistics_of_no_rows_are_not_looked_at(network: VcemoNetwork) -> None:
    batch = tensors_of(features_of_every_kind(np.random.default_rng(0)))
    batch["speaker_rows"] = torch.zeros_like(batch["speaker_rows"])
    other = batch | {name: torch.full_like(batch[name], 50.0) for name in ("speaker_mel", "speaker_states")}
    with torch.inference_mode():
        assert torch.equal(network(**batch), network(**other))


@pytest.mark.parametrize("name", ["speaker_mel", "speaker_states"])
def test_what_was_heard_of_a_speaker_is_read(preset: Preset, name: str) -> None:
    network = lived_in(small_network(preset))
    batch = tensors_of([drawn_features(np.random.default_rng(0), known_speaker=True)])
    with torch.inference_mode():
        difference = (network(**batch) - network(**(batch | {name: batch[name] + 1}))).abs().max()
    assert (difference > 1e-5) == (name == "speaker_mel" or preset == "whisper")


def test_a_voice_known_for_long_is_read_like_the_training_part(network: VcemoNetwork) -> None:
    plain = drawn_features(np.random.default_rng(0), frames=64, steps=8)
    assert plain.mel is not None
    assert plain.states is not None
    strange = replace(plain, mel=plain.mel * 1.7 + 3, states=plain.states * 1.7 + 3)
    known = replace(strange, speaker=voice(network, shift=3.0, scale=1.7, count=LONG))
    with torch.inference_mode():
        expected, unadapted, adapted = (network(**tensors_of([one])) for one in (plain, strange, known))
    torch.testing.assert_close(adapted, expected, atol=1e-3, rtol=0)
    assert (unadapted - expected).abs().max() > 0.01
    read = read_by(network, tensors_of([known]))
    for name, original in (("mel", plain.mel), ("states", plain.states)):
        if name in read:
            np.testing.assert_allclose(read[name][0], original, atol=1e-3)


def test_a_voice_like_the_training_part_is_left_alone(network: VcemoNetwork) -> None:
    plain = drawn_features(np.random.default_rng(0))
    known = replace(plain, speaker=voice(network, shift=0.0, scale=1.0, count=LONG))
    with torch.inference_mode():
        torch.testing.assert_close(network(**tensors_of([known])), network(**tensors_of([plain])), atol=1e-4, rtol=0)


def test_half_of_a_voice_is_taken_away_at_the_prior_and_more_with_every_row(preset: Preset) -> None:
    network = lived_in(small_network(preset, speaker_prior_steps=10.0))
    plain = drawn_features(np.random.default_rng(0))
    moved: dict[int, dict[str, float]] = {}
    for count in (1, 10, 80, 800):
        # Shifted by so little that hardly any of it is spread.
        known = replace(plain, speaker=voice(network, shift=1e-2, scale=1.0, count=count))
        batch = tensors_of([known])
        moved[count] = {name: float((batch[name] - read).mean()) for name, read in read_by(network, batch).items()}
    for name, at_prior in {"mel": 80, "states": 10}.items():
        if name == "mel" or preset == "whisper":
            shifts = [moved[count][name] for count in moved]
            assert moved[at_prior][name] == pytest.approx(0.5e-2, rel=0.02)
            assert 0 < shifts[0] < shifts[1] < shifts[2] < shifts[3] < 1e-2


def test_a_batch_may_hold_strangers_and_acquaintances(network: VcemoNetwork) -> None:
    batch = [drawn_features(np.random.default_rng(seed), known_speaker=seed % 2 == 1) for seed in range(4)]
    with torch.inference_mode():
        together = network(**tensors_of(batch))
        alone = torch.cat([network(**tensors_of([one])) for one in batch])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)
