from io import StringIO
from typing import Literal

import numpy as np
import pytest
from drawn_features import FEATURES, features_of_every_kind, small_network
from rich.console import Console
from torch import nn

from model.features import collate
from model.network import VcemoNetwork
from training.shapes import count_parameters, module_shapes


def rows_of(network: VcemoNetwork, *, depth: int = 2) -> dict[str, list[str]]:
    batch = collate(features_of_every_kind(np.random.default_rng(0)), config=FEATURES)
    console = Console(width=200, file=StringIO(), record=True)
    console.print(module_shapes(network, batch, depth=depth))
    lines = [line.strip("│ ").split("│") for line in console.export_text().splitlines() if line.startswith("│")]
    return {cells[0].strip(): [cell.strip() for cell in cells[1:]] for cells in lines}


def test_every_module_is_listed_with_what_it_reads_and_gives() -> None:
    rows = rows_of(small_network("paper"))
    assert rows["mel"][:3] == ["MelEncoder", "5 x 90 x 80", "5 x 23 x 16"]
    assert rows["mel.convolutions"][:3] == ["ModuleList", "5 x 1 x 90 x 80", "5 x 8 x 23 x 10"]
    assert rows["words.lstm"][:3] == ["LSTM", "5 x 90 x 100", "5 x 90 x 16"]
    assert rows["final"][:3] == ["AttentionLayer", "5 x 9 x 16", "5 x 9 x 16"]
    assert rows["predictor"][:3] == ["Sequential", "5 x 16", "5 x 6"]
    assert rows["projector"][:3] == ["Sequential", "5 x 16", "5 x 128"]
    assert rows["absent"] == ["Parameter", "", "3 x 16", "48", "48"]


@pytest.mark.parametrize("preset", ["paper", "whisper"])
def test_the_parts_add_up_to_the_whole(preset: Literal["paper", "whisper"]) -> None:
    network = small_network(preset, final_layers=2, bidirectional=True)
    parts = rows_of(network, depth=1)
    assert sum(int(cells[3].replace(",", "")) for cells in parts.values()) == count_parameters(network)


def test_the_table_goes_as_deep_as_asked() -> None:
    network = small_network("whisper")
    names = {depth: set(rows_of(network, depth=depth)) for depth in (1, 2, 4)}
    assert "fusion1" in names[1]
    assert "fusion1.encoder" in names[2] - names[1]
    assert "fusion1.decoder.0.guided_attention" in names[4] - names[2]


def test_an_encoder_that_is_left_out_has_no_shapes_and_is_not_counted() -> None:
    whole, part = small_network("paper"), small_network("paper", modalities=("words", "sentence"))
    rows = rows_of(part)
    assert rows["mel"][1:3] == ["", ""]
    assert rows["mel"][4] == "0"
    assert count_parameters(whole) - count_parameters(part) == count_parameters(whole.mel)


def test_looking_changes_nothing() -> None:
    network = small_network("whisper").train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    rows_of(network)
    assert network.training
    assert all((tensor == before[name]).all() for name, tensor in network.state_dict().items())


def test_only_what_is_trained_is_counted() -> None:
    layer = nn.Linear(3, 4)
    assert count_parameters(layer) == 16
    layer.bias.requires_grad_(False)
    assert count_parameters(layer) == 12
