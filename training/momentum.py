"""MoCo (He et al. 2020) with labels: a slow copy of the network, and a queue of the keys it made (VCEMO §3.5)."""

import copy

import torch
from torch import Tensor, nn

from model.network import VcemoNetwork
from training.losses import Bank


class KeyEncoder(nn.Module):
    """A copy of the network that follows it slowly and learns nothing itself."""

    def __init__(self, network: VcemoNetwork, *, momentum: float) -> None:
        super().__init__()
        self.momentum = momentum
        self.network = copy.deepcopy(network).requires_grad_(requires_grad=False)

    @torch.no_grad()
    def follow(self, network: VcemoNetwork) -> None:
        """Move each weight to ``momentum`` of itself and the rest of the network's; copy the statistics."""
        for weight, leading in zip(self.network.parameters(), network.parameters(), strict=True):
            weight.lerp_(leading, 1 - self.momentum)
        for statistic, newer in zip(self.network.buffers(), network.buffers(), strict=True):
            statistic.copy_(newer)

    @torch.no_grad()
    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        """Return the keys (batch, projection) of a batch, L2-normalised."""
        keys: Tensor = self.network.project(self.network.embed(**inputs))
        return keys


class KeyQueue(nn.Module):
    """The last keys with their labels, first in first out.

    Places that no key has filled yet count for nothing; supervised queues that start at random do not say so.
    """

    keys: Tensor
    labels: Tensor
    written: Tensor

    def __init__(self, size: int, dimension: int) -> None:
        super().__init__()
        self.register_buffer("keys", torch.zeros(size, dimension))
        self.register_buffer("labels", torch.zeros(size, dtype=torch.int64))
        self.register_buffer("written", torch.zeros((), dtype=torch.int64))

    def __len__(self) -> int:
        """Places that hold a key."""
        return min(int(self.written), len(self.keys))

    @torch.no_grad()
    def push(self, keys: Tensor, labels: Tensor) -> None:
        """Add a batch of keys (batch, d) with labels (batch,) over the oldest; of too many the last stay."""
        size = len(self.keys)
        kept = min(len(keys), size)
        first = int(self.written) + len(keys) - kept
        places = (first + torch.arange(kept, device=keys.device)) % size
        self.keys[places] = keys[-kept:]
        self.labels[places] = labels[-kept:]
        self.written += len(keys)

    def bank(self, keys: Tensor, labels: Tensor) -> Bank:
        """Return this batch's keys, and the queue's, as what anchors are contrasted with."""
        filled = len(self)
        return Bank(features=torch.cat([keys, self.keys[:filled]]), labels=torch.cat([labels, self.labels[:filled]]))
