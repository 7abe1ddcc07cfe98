"""Gradients of one batch of preset `paper`, SupCon included; run alone and under ``torchrun``, they must agree.

``python -m bench shows distributed`` does both and compares.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import torch
from safetensors.torch import save_file

from model.features import FeatureConfig
from model.labels import EMOTIONS
from training.corpora.manifest import Clip
from training.dataset import TrainingSet
from training.distributed import Ranks, launched_ranks
from training.experiment import Contrast, Experiment
from training.export import golden_features
from training.feature_cache import Example
from training.trainer import Training

CONTRASTS: Final = {
    "in_batch": Contrast(alpha=1.0, temperature=0.5),
    "queue_and_two_passes": Contrast(alpha=1.0, temperature=0.5, queue_size=8, two_passes=True),
}
_CLIPS: Final = 11
"""Odd, so that two processes have unequal shares."""


def main(folder: Path) -> None:
    """Write the gradients under each of :data:`CONTRASTS` as ``NAME.safetensors``."""
    with launched_ranks() as ranks:
        for name, contrast in CONTRASTS.items():
            found = gradients(_examples(), contrast, ranks)
            if ranks.is_first:
                save_file(found, folder / f"{name}.safetensors")


def gradients(clips: Sequence[Example], contrast: Contrast, ranks: Ranks) -> dict[str, torch.Tensor]:
    """Return the gradient of every parameter: no dropout, batch norm by its running statistics."""
    experiment = Experiment(
        preset="paper",
        network={"width": 16, "heads": 2, "layers": 1, "conv_channels": (4, 4, 8), "fusion_steps": 8, "dropout": 0.0},
        corpora={"casia": 1},
        batch_size=_CLIPS,
        contrast=contrast,
        label_smoothing=0.0,
        own_text_probability=1.0,
        paired_text_probability=0.0,
        time_mask_share=0.0,
    )
    features = experiment.feature_config
    training_set = TrainingSet(clips, (), experiment=experiment, features=features)
    training = Training(training_set, experiment=experiment, features=features, ranks=ranks)
    for module in training.modules().values():
        module.eval()
    (batch,) = training_set.batches(1)
    training.losses(batch)  # fills the queue, so that the next batch meets old keys
    training.losses(batch).total.backward()  # type: ignore[no-untyped-call]
    return {name: p.grad.clone() for name, p in training.network.named_parameters() if p.grad is not None}


def _examples() -> list[Example]:
    # The last of them lack a modality.
    drawn = golden_features(FeatureConfig(), count=_CLIPS)[-_CLIPS:]
    return [
        Example(
            clip=Clip(
                key=str(index),
                corpus="casia",
                audio=None,
                emotion=EMOTIONS[index % 3],
                speaker="anna",
                sentence=None,
                text=None,
                language="zh",
            ),
            features=features,
            seconds=float(index),
            transcript="",
            transcript_status="ok",
        )
        for index, features in enumerate(drawn)
    ]


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]))
