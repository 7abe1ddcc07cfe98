"""What a comparison system has in common with VCEMO's network: the trainer, the judge and the tables need no more."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from model.encoders import Standardise


@dataclass(frozen=True, kw_only=True, slots=True)
class BaselineConfig:
    """Sizes of the inputs, which follow from the features, and of the output."""

    frame_dimension: int = 80
    """Of one step of what stands for the mel: see :class:`training.frames.FrameConfig`."""
    state_dimension: int = 512
    word_dimension: int = 100
    """300 in every paper (GloVe, trained on); ours are static, for features are kept and words are not."""
    num_classes: int = 6


class Baseline(nn.Module):
    """Emotion logits of a padded batch, from the inputs that :func:`training.collation.collate_inputs` names."""

    reads: ClassVar[tuple[str, ...]] = ()
    """Which fields of the features are standardised by the training part, in ``self.standardise``."""

    config: BaselineConfig
    embedded_size: int
    """Length of :meth:`embed`'s vectors."""

    def __init__(self, config: BaselineConfig, *, embedded_size: int) -> None:
        super().__init__()
        self.config = config
        self.embedded_size = embedded_size
        sizes = {"mel": config.frame_dimension, "states": config.state_dimension, "words": config.word_dimension}
        self.standardise = nn.ModuleDict({name: Standardise(sizes[name]) for name in self.reads})
        self.judges = nn.ModuleDict()
        """Of parts that judge alone, which only VCEMO has."""

    def forward(self, **inputs: Tensor) -> Tensor:
        """Return logits (batch, classes)."""
        return self.predict(self.embed(**inputs))

    def embed(self, **inputs: Tensor) -> Tensor:
        """Return what the last Linear reads, (batch, embedded_size)."""
        raise NotImplementedError

    def predict(self, embedded: Tensor) -> Tensor:
        """Return the logits (batch, classes) of :meth:`embed`'s output."""
        raise NotImplementedError

    def project(self, embedded: Tensor) -> Tensor:
        """Return an empty feature (batch, 0): there is nothing to contrast."""
        return embedded[:, :0]

    def judged_alone(self, _: Tensor) -> dict[str, Tensor]:
        """Return nothing: there are no parts."""
        return {}

    def read(self, name: str, inputs: dict[str, Tensor], *, longest: int) -> tuple[Tensor, Tensor]:
        """Return the standardised sequence (batch, steps, d) called ``name``, cut to ``longest``, and its lengths."""
        lengths = inputs[f"{name}_lengths"].clamp(max=longest)
        x: Any = self.standardise[name](inputs[name][:, :longest])
        present = torch.arange(x.shape[1], device=x.device)[None, :] < lengths[:, None]
        return x * present[..., None].to(x.dtype), lengths
