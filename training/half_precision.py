"""Weights kept in half precision, and computed with in single: half the file for the same answers."""

from pathlib import Path
from typing import Final

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

_LEAST_HALVED: Final = 1_024
"""Small tensors, statistics of the inputs among them, stay as they are."""


def round_to_half(network: nn.Module) -> None:
    """Round every large parameter to what half precision can hold, so that the kept file gives the same answers."""
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.numel() >= _LEAST_HALVED:
                parameter.copy_(parameter.half().float())


def keep_in_half(path: Path) -> None:
    """Rewrite an ONNX file so that large weights are stored in half precision, and cast once when it is loaded."""
    document = onnx.load(str(path))
    casts = []
    for tensor in document.graph.initializer:
        if tensor.data_type != TensorProto.FLOAT or np.prod(tensor.dims) < _LEAST_HALVED:
            continue
        exact = numpy_helper.to_array(tensor)
        kept = exact.astype(np.float16)
        if not np.array_equal(kept.astype(np.float32), exact):
            continue  # rounding would change an answer
        casts.append(helper.make_node("Cast", [f"{tensor.name}.half"], [tensor.name], to=TensorProto.FLOAT))
        tensor.CopyFrom(numpy_helper.from_array(kept, f"{tensor.name}.half"))
    nodes = [*casts, *document.graph.node]
    del document.graph.node[:]
    document.graph.node.extend(nodes)
    onnx.checker.check_model(document)
    onnx.save(document, str(path))
