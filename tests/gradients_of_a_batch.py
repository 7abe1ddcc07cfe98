"""Run by test_distributed, alone and under torchrun: writes the gradients of one batch of eleven."""

import sys
from pathlib import Path

import numpy as np
import torch
from drawn_features import FEATURES, SMALL, drawn_example, drawn_features
from safetensors.torch import save_file

from model.labels import EMOTIONS
from training.dataset import TrainingSet
from training.distributed import Ranks, launched_ranks
from training.experiment import Contrast, Experiment
from training.feature_cache import Example
from training.trainer import Training

CONTRASTS = {
    "in_batch": Contrast(alpha=1.0, temperature=0.5),
    "queue_and_two_passes": Contrast(alpha=1.0, temperature=0.5, queue_size=8, two_passes=True),
}


def main(folder: Path) -> None:
    generator = np.random.default_rng(0)
    clips = [
        drawn_example(drawn_features(generator, frames=20 + 7 * k), key=str(k), emotion=EMOTIONS[k % 3])
        for k in range(11)
    ]
    with launched_ranks() as ranks:
        for name, contrast in CONTRASTS.items():
            found = gradients(clips, contrast, ranks)
            if ranks.is_first:
                save_file(found, folder / f"{name}.safetensors")


def gradients(clips: list[Example], contrast: Contrast, ranks: Ranks) -> dict[str, torch.Tensor]:
    experiment = Experiment(
        network=SMALL | {"dropout": 0.0, "input_dropout": 0.0},
        preset="paper",
        corpora={"casia": 1},
        batch_size=11,
        contrast=contrast,
        label_smoothing=0.0,
    )
    training_set = TrainingSet(clips, (), experiment=experiment, features=FEATURES)
    training = Training(training_set, experiment=experiment, features=FEATURES, ranks=ranks)
    # Batch norm by its running statistics: those of a batch are each process's own.
    for module in training.modules().values():
        module.eval()
    (batch,) = training_set.batches(1)
    training.losses(batch)  # fills the queue, so that the next batch meets old keys
    training.losses(batch).total.backward()  # type: ignore[no-untyped-call]
    return {name: p.grad.clone() for name, p in training.network.named_parameters() if p.grad is not None}


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]))
