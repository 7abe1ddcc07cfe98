"""A network as it is trained: its prediction, and the others that teach it and are left behind."""

import torch
from torch import Tensor, nn

from training.adversary import CorpusAdversary
from training.systems import Network


class Learner(nn.Module):
    """What is differentiated, over one or two dropout passes of a batch."""

    def __init__(self, network: Network, adversary: CorpusAdversary | None, *, passes: int) -> None:
        super().__init__()
        self.network = network
        self.adversary = adversary
        self._passes = passes

    def forward(self, inputs: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return logits (passes * batch, classes), contrastive features, the parts' own logits, and the adversary's.

        Those are (passes * batch, parts, classes) and (passes * batch, corpora); empty where nobody asks for them.
        """
        embedded = torch.cat([self.network.embed(**inputs) for _ in range(self._passes)])
        logits = self.network.predict(embedded)
        alone = list(self.network.judged_alone(embedded).values())
        judged = torch.stack(alone, dim=1) if alone else logits[:, None][:, :0]
        guessed = logits[:, :0] if self.adversary is None else self.adversary(embedded)
        return logits, self.network.project(embedded), judged, guessed


def can_judge(part: str, modality_mask: Tensor) -> Tensor:
    """Say which samples (batch,) teach a part by itself: sound where there is some, and text where there is no sound.

    What an actor reads aloud carries the label of the voice, not its own.
    """
    heard = modality_mask[:, 0] > 0
    if part in ("sound", "expert"):
        return heard
    return (modality_mask[:, 1 if part == "words" else 2] > 0) & ~heard
