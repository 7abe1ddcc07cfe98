"""Cross entropy and supervised contrast, weighted as VCEMO §3.4."""

import torch
from torch import Tensor, nn


def supervised_contrast(features: Tensor, labels: Tensor, *, temperature: float) -> Tensor:
    """Supervised contrastive loss over a batch (VCEMO §3.4, L_SupCon; Khosla et al. 2020, L_out).

    features: (anchors, d), L2-normalised. labels: (anchors,). The paper calls I "the set of classes";
    it is the set of anchors. Anchors without a positive are skipped; the mean is over the others.
    """
    similarity = features @ features.T / temperature
    itself = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    positive = (labels[:, None] == labels[None, :]) & ~itself
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
    alpha: float,
    temperature: float,
    label_smoothing: float = 0.0,
) -> Tensor:
    """Combine both losses: (CE + alpha SupCon) / (1 + alpha) (VCEMO §3.4).

    logits: (batch, classes). features: (batch, d), L2-normalised. labels: (batch,).
    """
    cross_entropy = nn.functional.cross_entropy(logits, labels, label_smoothing=label_smoothing)
    if alpha == 0:
        return cross_entropy
    return (cross_entropy + alpha * supervised_contrast(features, labels, temperature=temperature)) / (1 + alpha)
