"""Cross-modality excitement (Li et al., 2020; CME): word by word, sound and text open each other's gates.

Needs to know when each word is said: see :mod:`training.word_times`. The published figures took the best epoch on the
test session itself, which is not copied. Their second table of words is a Linear on the same static vectors here.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from model.attention import length_mask
from training.baselines.baseline import Baseline, BaselineConfig
from training.baselines.recurrent import run

_KERNELS = (5, 2, 2)


@dataclass(frozen=True, kw_only=True, slots=True)
class CmeConfig(BaselineConfig):
    """``NeoMeanMaxExcite_v2`` of the authors' code."""

    channels: tuple[int, ...] = (64, 128, 128)
    hidden: int = 256
    """Of each direction of the LSTM over words."""
    max_frames: int = 3000
    max_words: int = 128


class Cme(Baseline):
    """Convolved frames, mean and maximum over each word; gates both ways; BiLSTM; maximum over words."""

    reads: ClassVar = ("mel", "words")

    def __init__(self, config: CmeConfig) -> None:
        super().__init__(config, embedded_size=2 * config.hidden)
        self.longest = {"mel": config.max_frames, "words": config.max_words}
        inputs = (config.frame_dimension, *config.channels)
        # Nothing bends between them, as published.
        self.convolutions = nn.Sequential(
            *(nn.Conv1d(inputs[k], inputs[k + 1], kernel) for k, kernel in enumerate(_KERNELS))
        )
        self.shrinkage = sum(_KERNELS) - len(_KERNELS)
        size = 2 * config.channels[-1]
        self.text = nn.Linear(config.word_dimension, size)
        self.text_as_gate = nn.Linear(config.word_dimension, size)
        self.sound_as_gate = nn.Linear(size, size)
        self.both = nn.LSTM(2 * size, config.hidden, batch_first=True, bidirectional=True)
        self.classifier = nn.Linear(2 * config.hidden, config.num_classes)

    def embed(self, **inputs: Tensor) -> Tensor:
        """Return (batch, 2 hidden)."""
        words, num_words = self.read("words", inputs, longest=self.longest["words"])
        sound = self._of_words(inputs, num_words, words.shape[1])
        text, gate = self.text(words), torch.sigmoid(self.sound_as_gate(sound))
        joined = torch.cat([text * gate + text, sound * torch.sigmoid(self.text_as_gate(words)) + sound], dim=-1)
        outputs, _ = run(self.both, joined, num_words)
        inside = length_mask(num_words, outputs.shape[1])[..., None]
        return outputs.masked_fill(~inside, torch.finfo(outputs.dtype).min).amax(1)

    def predict(self, embedded: Tensor) -> Tensor:
        """Return (batch, classes)."""
        logits: Tensor = self.classifier(embedded)
        return logits

    def _of_words(self, inputs: dict[str, Tensor], num_words: Tensor, most_words: int) -> Tensor:
        """Return mean and maximum of the convolved frames of each word, (batch, words, 2 channels)."""
        frames, num_frames = self.read("mel", inputs, longest=self.longest["mel"])
        frames = nn.functional.pad(frames, (0, 0, 0, max(0, self.shrinkage + 1 - frames.shape[1])))
        x = self.convolutions(frames.transpose(1, 2)).transpose(1, 2)  # (batch, frames - shrinkage, channels)
        last = (num_frames - self.shrinkage).clamp(min=1)
        spans = inputs["word_spans"][:, :most_words]  # shares of the utterance (batch, words, 2)
        start = torch.minimum((spans[..., 0] * num_frames[:, None]).floor().long(), last[:, None] - 1)
        end = torch.minimum((spans[..., 1] * num_frames[:, None]).ceil().long(), last[:, None])
        present = length_mask(num_words, most_words)[..., None]
        # Padding is no word, and owns no frame.
        end = torch.where(present[..., 0], torch.maximum(end, start + 1), start)
        mean, most = _mean_and_maximum(x, start, end)
        return torch.where(present, torch.cat([mean, most], dim=-1), 0.0)


def _mean_and_maximum(x: Tensor, start: Tensor, end: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and maximum (batch, words, d) of ``x`` (batch, time, d) from ``start`` to ``end`` (batch, words)."""
    time = torch.arange(x.shape[1], device=x.device)
    inside = (time >= start[..., None]) & (time < end[..., None])  # (batch, words, time)
    # A frame that two words share, for they were rounded outwards, is the later one's; a gap is nobody's.
    num_words = inside.shape[1]
    later = torch.arange(1, num_words + 1, device=x.device)[None, :, None] * inside
    owner = later.amax(1) - 1  # (batch, time), -1 in gaps
    owned = owner[:, None] == torch.arange(num_words, device=x.device)[None, :, None]
    count = owned.sum(2)[..., None]
    mean = (owned.to(x.dtype) @ x) / count.clamp(min=1)
    room = x.new_zeros(x.shape[0], num_words + 1, x.shape[2])
    where = torch.where(owner < 0, num_words, owner)[..., None].expand(-1, -1, x.shape[2])
    most = room.scatter_reduce(1, where, x, "amax", include_self=False)[:, :num_words]
    first = x.gather(1, start[..., None].expand(-1, -1, x.shape[2]))
    return torch.where(count > 0, mean, first), torch.where(count > 0, most, first)
