"""A trained network applied to examples, in torch."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from model.features import FeatureConfig, Features
from training.collation import collate_inputs
from training.systems import Network


def predict_logits(
    network: Network, features: Sequence[Features], *, config: FeatureConfig, batch_size: int = 64
) -> npt.NDArray[np.float64]:
    """Return logits (utterances, classes)."""
    network.eval()
    rows: list[npt.NDArray[Any]] = [np.zeros((0, network.config.num_classes))]
    device = next(network.parameters()).device
    with torch.inference_mode():
        for start in range(0, len(features), batch_size):
            inputs = as_tensors(collate_inputs(features[start : start + batch_size], config=config), device=device)
            rows.append(network(**inputs).float().cpu().numpy())
    return np.concatenate(rows).astype(np.float64)


def as_tensors(inputs: Mapping[str, npt.NDArray[Any]], *, device: torch.device | None = None) -> dict[str, Tensor]:
    """Hand a collated batch to torch; on the CPU without a copy."""
    return {name: torch.from_numpy(array).to(device) for name, array in inputs.items()}
