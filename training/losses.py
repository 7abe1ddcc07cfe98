"""Cross entropy and supervised contrast, weighted as VCEMO §3.4."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from training.experiment import Contrast


@dataclass(frozen=True, kw_only=True, slots=True)
class Bank:
    """More samples to contrast with that are no anchors.

    features: (entries, d), L2-normalised. labels: (entries,).
    """

    features: Tensor
    labels: Tensor


@dataclass(frozen=True, kw_only=True, slots=True)
class Losses:
    """The loss that is descended, and its parts: scalars."""

    total: Tensor
    cross_entropy: Tensor
    contrast: Tensor


def supervised_contrast(features: Tensor, labels: Tensor, *, temperature: float, bank: Bank | None = None) -> Tensor:
    """Supervised contrastive loss over a batch (VCEMO §3.4, L_SupCon; Khosla et al. 2020, L_out).

    features: (anchors, d), L2-normalised. labels: (anchors,). The paper calls I "the set of classes"; it is the
    set of anchors, and A(i) is all others and the bank. Anchors without a positive are skipped; the mean is
    over the others.
    """
    others = features if bank is None else torch.cat([features, bank.features])
    labels_of_others = labels if bank is None else torch.cat([labels, bank.labels])
    similarity = features @ others.T / temperature
    itself = torch.eye(len(labels), len(labels_of_others), dtype=torch.bool, device=labels.device)
    positive = (labels[:, None] == labels_of_others[None, :]) & ~itself
    log_probability = similarity - similarity.masked_fill(itself, float("-inf")).logsumexp(dim=1, keepdim=True)
    count = positive.sum(1)
    per_anchor = -(log_probability * positive).sum(1) / count.clamp(min=1)
    used = count > 0
    return per_anchor[used].mean() if bool(used.any()) else features.sum() * 0.0


def training_loss(
    logits: Tensor,
    features: Tensor,
    labels: Tensor,
    *,
    contrast: Contrast,
    kind: Literal["softmax", "sigmoid"] = "softmax",
    label_smoothing: float = 0.0,
    bank: Bank | None = None,
) -> Losses:
    """Combine both losses: (CE + alpha SupCon) / (1 + alpha) (VCEMO §3.4).

    logits: (batch, classes). features: (batch, d), L2-normalised. labels: (batch,). Of two passes over a batch
    both are rows here: both predict, and both are anchors. kind ``sigmoid``: every class by itself, not smoothed.
    """
    if kind == "sigmoid":
        truth = nn.functional.one_hot(labels, logits.shape[1]).to(logits.dtype)
        cross_entropy = nn.functional.binary_cross_entropy_with_logits(logits, truth)
    else:
        cross_entropy = nn.functional.cross_entropy(logits, labels, label_smoothing=label_smoothing)
    if contrast.alpha == 0:
        return Losses(total=cross_entropy, cross_entropy=cross_entropy, contrast=torch.zeros_like(cross_entropy))
    pulled = supervised_contrast(features, labels, temperature=contrast.temperature, bank=bank)
    total = (cross_entropy + contrast.alpha * pulled) / (1 + contrast.alpha)
    return Losses(total=total, cross_entropy=cross_entropy, contrast=pulled)


def loss_alone(judged: Tensor, labels: Tensor, can_judge: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
    """Sum the mean cross entropies of parts that judge by themselves.

    judged: (batch, parts, classes). can_judge: (batch, parts), false where a part has nothing to go by.
    """
    total = judged.sum() * 0.0
    for part in range(judged.shape[1]):
        rows = can_judge[:, part]
        if bool(rows.any()):
            total = total + nn.functional.cross_entropy(
                judged[rows, part], labels[rows], label_smoothing=label_smoothing
            )
    return total
