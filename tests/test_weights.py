from pathlib import Path

import numpy as np
import pytest
import torch
from drawn_features import features_of_every_kind, small_network, tensors_of

from training.weights import load_network, save_network


def test_a_network_comes_back_from_its_file(tmp_path: Path) -> None:
    network = small_network("whisper", input_dropout=0.0)
    network.mel.standardise.get_buffer("mean").fill_(0.5)
    path = tmp_path / "runs" / "anna.safetensors"
    save_network(network, path)
    loaded = load_network(path, config=network.config)
    assert list(path.parent.iterdir()) == [path]
    assert not loaded.training
    inputs = tensors_of(features_of_every_kind(np.random.default_rng(0)))
    with torch.inference_mode():
        assert torch.equal(network(**inputs), loaded(**inputs))


def test_the_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    save_network(small_network("paper"), tmp_path / "paper.safetensors")
    with pytest.raises(RuntimeError, match="state_dict"):
        load_network(tmp_path / "paper.safetensors", config=small_network("whisper").config)
