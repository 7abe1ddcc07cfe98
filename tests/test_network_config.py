import json
from typing import Any, Literal

import pytest
import torch
from drawn_features import PRESETS

from model.features import MODALITIES
from model.network import VcemoNetwork
from model.network_config import NetworkConfig


@pytest.mark.parametrize(("preset", "least", "most"), [("paper", 9.5, 10.5), ("mcan", 90, 100), ("whisper", 0.3, 3.0)])
def test_a_preset_has_so_many_million_parameters(
    preset: Literal["paper", "mcan", "whisper"], least: float, most: float
) -> None:
    with torch.device("meta"):
        network = VcemoNetwork(NetworkConfig.preset_named(preset))
    count = sum(parameter.numel() for parameter in network.parameters()) / 1e6
    assert least < count < most


def test_the_size_of_mcan_is_a_change_of_the_preset_paper() -> None:
    config = NetworkConfig.preset_named("mcan", dropout=0.2)
    assert config == NetworkConfig.preset_named("paper", width=512, heads=8, layers=6, dropout=0.2)


def test_the_names_of_the_modalities_are_those_of_the_mask() -> None:
    assert NetworkConfig().modalities == MODALITIES


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pooling": "max"}, "pooling 'max' is not one of: attention, mean, bert_token"),
        ({"preset": "paper", "mel_encoder": "statistics"}, "goes with states"),
        ({"preset": "papers"}, "preset 'papers' is not one of: paper, whisper"),
        ({"concat": "channel", "pooling": "bert_token"}, "pooling 'bert_token' needs concat 'time', not 'channel'"),
        ({"modalities": ()}, "are not one or more of: acoustic, words, sentence"),
        ({"modalities": ("words", "words")}, "are not one or more of"),
        ({"modalities": ("mel",)}, "are not one or more of"),
        ({"conv_channels": (4, 4)}, "2 conv channels, but 3 time strides"),
        ({"word_kernel": 4}, "word_kernel 4 is not odd"),
        ({"final_layers": 0}, "final_layers 0 is less than 1"),
    ],
)
def test_a_choice_that_is_not_offered_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        NetworkConfig(**changes)


def test_an_unknown_preset_is_refused() -> None:
    with pytest.raises(ValueError, match="no preset 'large'; known: paper, mcan, whisper"):
        NetworkConfig.preset_named("large")  # type: ignore[arg-type]


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_takes_changes_and_comes_back_from_json(preset: Literal["paper", "whisper"]) -> None:
    config = NetworkConfig.preset_named(preset, width=64, conv_channels=(4, 8, 8))
    assert (config.preset, config.width) == (preset, 64)
    assert NetworkConfig.from_json(json.loads(json.dumps(config.to_json()))) == config


def test_text_goes_past_the_fusions_of_the_preset_whisper_alone() -> None:
    assert NetworkConfig.preset_named("whisper").text_branch
    assert not NetworkConfig.preset_named("paper").text_branch
    assert not NetworkConfig.preset_named("mcan").text_branch
