"""One network trained on one training set: a fixed schedule, no selection on anything held out."""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import load_file, save
from torch import Tensor, nn

from model.encoders import Standardise
from model.features import FeatureConfig, Features, collate
from model.network import VcemoNetwork
from training.dataset import TrainingSet
from training.experiment import Experiment
from training.losses import training_loss

OnEpoch = Callable[[int, float], None]
"""Called after each epoch with its number from one, and its mean loss."""


def train_network(training_set: TrainingSet, *, experiment: Experiment, on_epoch: OnEpoch) -> VcemoNetwork:
    """Train one network; the last epoch's weights are the result."""
    torch.manual_seed(experiment.seed)
    network = VcemoNetwork(experiment.network_config)
    fit_standardisation(network, [example.features for example in [*training_set.clips, *training_set.texts]])
    optimiser = torch.optim.AdamW(
        network.parameters(), lr=experiment.learning_rate, weight_decay=experiment.weight_decay
    )
    schedule = _warmup_then_cosine(
        optimiser,
        total=training_set.steps_per_epoch() * experiment.epochs,
        warmup_share=experiment.warmup_share,
    )
    for epoch in range(1, experiment.epochs + 1):
        network.train()
        losses = []
        for batch in training_set.batches(epoch):
            loss = _loss(network, as_tensors(batch.inputs), torch.from_numpy(batch.labels), experiment)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            losses.append(loss.item())
        on_epoch(epoch, float(np.mean(losses)))
    return network.eval()


def predict_logits(
    network: VcemoNetwork, features: Sequence[Features], *, config: FeatureConfig, batch_size: int = 64
) -> npt.NDArray[np.float64]:
    """Return logits (utterances, classes)."""
    network.eval()
    rows: list[npt.NDArray[Any]] = [np.zeros((0, network.config.num_classes))]
    with torch.inference_mode():
        for start in range(0, len(features), batch_size):
            inputs = as_tensors(collate(features[start : start + batch_size], config=config))
            rows.append(network(**inputs).numpy())
    return np.concatenate(rows).astype(np.float64)


def fit_standardisation(network: VcemoNetwork, features: Sequence[Features]) -> None:
    """Set the input statistics of ``network`` from the training part."""
    _fit(network.mel.standardise, [one.mel for one in features])
    if network.states is not None:
        _fit(network.states.standardise, [one.states for one in features])
    _fit(network.words.standardise, [one.words for one in features])
    sentence = network.sentence[0]
    assert isinstance(sentence, Standardise)
    _fit(sentence, [None if one.sentence is None else one.sentence[None] for one in features])


def save_network(network: VcemoNetwork, path: Path) -> None:
    """Write the weights, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".part")
    # Its save_file would let nobody but the owner read the weights; the service runs as somebody else.
    temporary.write_bytes(save(network.state_dict()))
    temporary.replace(path)


def load_network(path: Path, *, experiment: Experiment) -> VcemoNetwork:
    """Read what :func:`save_network` wrote."""
    network = VcemoNetwork(experiment.network_config)
    network.load_state_dict(load_file(path))
    return network.eval()


def as_tensors(inputs: Mapping[str, npt.NDArray[Any]]) -> dict[str, Tensor]:
    """Hand a collated batch to torch, without a copy."""
    return {name: torch.from_numpy(array) for name, array in inputs.items()}


def _loss(network: VcemoNetwork, inputs: dict[str, Tensor], labels: Tensor, experiment: Experiment) -> Tensor:
    embedded = network.embed(**inputs)
    return training_loss(
        network.predictor(embedded),
        network.project(embedded),
        labels,
        alpha=experiment.contrast_alpha,
        temperature=experiment.contrast_temperature,
        label_smoothing=experiment.label_smoothing,
    )


def _fit(standardise: Standardise, sequences: Sequence[npt.NDArray[np.float32] | None]) -> None:
    """Fit on (rows, d) sequences, in double precision and without joining them."""
    present = [rows for rows in sequences if rows is not None and len(rows)]
    if not present:
        return
    count = sum(len(rows) for rows in present)
    mean = np.sum([rows.sum(0, dtype=np.float64) for rows in present], axis=0) / count
    square = np.sum([((rows - mean) ** 2).sum(0) for rows in present], axis=0) / count
    standardise.fit(torch.from_numpy(mean).float(), torch.from_numpy(np.sqrt(square)).float())


def _warmup_then_cosine(
    optimiser: torch.optim.Optimizer, *, total: int, warmup_share: float
) -> torch.optim.lr_scheduler.LambdaLR:
    warmup = max(1, round(total * warmup_share))

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, total - warmup)))

    return torch.optim.lr_scheduler.LambdaLR(optimiser, factor)
