"""The adapters for encoders that are not at hand, on small ones with random weights."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from model.errors import AssetMissing
from training.audio_encoder import FRAMES_PER_SECOND, AudioEncoder
from training.frames import FrameConfig

SIZES: dict[str, Any] = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
SIZES |= {"conv_dim": (8,) * 7, "num_conv_pos_embeddings": 4, "num_conv_pos_embedding_groups": 2}
KINDS = {
    "HuBERT": (transformers.HubertConfig, transformers.HubertModel),
    "WavLM": (transformers.WavLMConfig, transformers.WavLMModel),
    "data2vec, as emotion2vec": (transformers.Data2VecAudioConfig, transformers.Data2VecAudioModel),
}
SECOND = np.random.default_rng(0).normal(size=16_000).astype(np.float32)


def saved(kind: str, folder: Path) -> Path:
    torch.manual_seed(0)
    config, network = KINDS[kind]
    network(config(**SIZES)).save_pretrained(folder)
    return folder


def config_of(folder: Path, **changes: Any) -> FrameConfig:
    options: dict[str, Any] = {"kind": "encoder", "encoder": str(folder), "encoder_dimension": 16}
    return FrameConfig(**(options | changes))


@pytest.mark.parametrize("kind", KINDS)
def test_an_encoder_gives_the_states_of_the_layer_that_is_named(kind: str, tmp_path: Path) -> None:
    folder = saved(kind, tmp_path)
    last, first, averaged = (
        AudioEncoder.load(config_of(folder, **changes)).frames(SECOND) for changes in ({}, {"layer": 0}, {"average": 4})
    )
    assert last.shape == first.shape == (FRAMES_PER_SECOND - 1, 16)
    assert not np.allclose(last, first)
    np.testing.assert_allclose(averaged[0], last[:4].mean(0), atol=1e-6)


def test_neither_loudness_nor_a_click_of_a_few_samples_upsets_it(tmp_path: Path) -> None:
    encoder = AudioEncoder.load(config_of(saved("HuBERT", tmp_path)))
    np.testing.assert_allclose(encoder.frames(SECOND), encoder.frames(SECOND * 3), atol=1e-3)
    assert encoder.frames(SECOND[:30]).shape == (1, 16)


def test_sizes_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    folder = saved("WavLM", tmp_path)
    with pytest.raises(ValueError, match="states of 16, not encoder_dimension 768"):
        AudioEncoder.load(config_of(folder, encoder_dimension=768))
    with pytest.raises(ValueError, match=r"layer 3 of .* which has 2"):
        AudioEncoder.load(config_of(folder, layer=3))


def test_a_folder_without_an_encoder_is_named(tmp_path: Path) -> None:
    with pytest.raises(AssetMissing, match="no audio encoder"):
        AudioEncoder.load(config_of(tmp_path))
