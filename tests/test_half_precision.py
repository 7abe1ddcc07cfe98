from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from drawn_features import FEATURES, drawn_features, small_network
from onnx import TensorProto

from model.features import collate
from training.export import export_network
from training.half_precision import round_to_half


@pytest.mark.parametrize("rounded", [True, False])
def test_only_weights_that_half_precision_can_hold_are_kept_in_it(tmp_path: Path, rounded: bool) -> None:
    network = small_network("whisper")
    if rounded:
        round_to_half(network)
    path = tmp_path / "fusion.onnx"
    export_network(network, path, example=collate([drawn_features(np.random.default_rng(0))] * 2, config=FEATURES))
    kinds = {tensor.name: tensor.data_type for tensor in onnx.load(str(path)).graph.initializer}
    vectors = [kind for name, kind in kinds.items() if "ngrams.vectors" in name]
    assert vectors == [TensorProto.FLOAT16 if rounded else TensorProto.FLOAT]


def test_rounding_moves_no_weight_by_more_than_half_precision_does() -> None:
    network, exact = small_network("whisper"), small_network("whisper").state_dict()
    round_to_half(network)
    for name, value in network.state_dict().items():
        torch.testing.assert_close(value, exact[name], rtol=2**-11, atol=2**-25)
