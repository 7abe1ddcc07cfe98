import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from training.experiment import Contrast
from training.losses import Bank, loss_alone, supervised_contrast, training_loss


def drawn(count: int, *, seed: int = 0, size: int = 8) -> Tensor:
    features = torch.randn(count, size, generator=torch.Generator().manual_seed(seed))
    return nn.functional.normalize(features, dim=-1)


def in_scalar_loops(features: Tensor, labels: list[int], temperature: float, *, anchors: int | None = None) -> float:
    """Khosla et al. 2020, L_out, one float64 product at a time; only the first ``anchors`` rows are anchors."""
    rows = features.double().numpy()
    losses = []
    for i, anchor in enumerate(rows[:anchors]):
        others = [j for j in range(len(rows)) if j != i]
        positives = [j for j in others if labels[j] == labels[i]]
        if not positives:
            continue
        total = sum(math.exp(float(np.dot(anchor, rows[j])) / temperature) for j in others)
        terms = [math.log(math.exp(float(np.dot(anchor, rows[j])) / temperature) / total) for j in positives]
        losses.append(-sum(terms) / len(positives))
    return sum(losses) / len(losses)


@pytest.mark.parametrize("temperature", [0.1, 0.5, 1.0])
@pytest.mark.parametrize("labels", [[0, 0, 1, 1, 2, 2, 0], [0, 0, 0, 0, 0, 0, 0], [0, 1, 2, 3, 4, 5, 0]])
def test_contrast_equals_the_formula_in_scalar_loops(labels: list[int], temperature: float) -> None:
    features = drawn(len(labels))
    found = supervised_contrast(features, torch.tensor(labels), temperature=temperature)
    assert found.item() == pytest.approx(in_scalar_loops(features, labels, temperature), rel=1e-5)


def test_an_anchor_without_a_positive_is_skipped_but_stays_in_the_denominators() -> None:
    features, labels = drawn(5), [0, 0, 1, 1, 7]
    found = supervised_contrast(features, torch.tensor(labels), temperature=0.1).item()
    assert found == pytest.approx(in_scalar_loops(features, labels, 0.1), rel=1e-5)
    assert found > supervised_contrast(features[:4], torch.tensor(labels[:4]), temperature=0.1).item()


def test_a_batch_without_any_pair_costs_nothing_and_has_gradients_of_zero() -> None:
    features = drawn(3).requires_grad_()
    loss = supervised_contrast(features, torch.tensor([0, 1, 2]), temperature=0.1)
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.item() == 0.0
    assert features.grad is not None
    assert not features.grad.any()


def test_a_low_temperature_stays_finite() -> None:
    features = drawn(6).requires_grad_()
    loss = supervised_contrast(features, torch.tensor([0, 0, 1, 1, 2, 2]), temperature=0.01)
    loss.backward()  # type: ignore[no-untyped-call]
    assert math.isfinite(loss.item())
    assert features.grad is not None
    assert torch.isfinite(features.grad).all()


def test_clusters_by_label_cost_less_than_clusters_across_labels() -> None:
    corners = torch.eye(4)[[0, 0, 1, 1]]
    by_label = supervised_contrast(corners, torch.tensor([0, 0, 1, 1]), temperature=0.1)
    across = supervised_contrast(corners, torch.tensor([0, 1, 0, 1]), temperature=0.1)
    assert by_label < 0.01 < across


@pytest.mark.parametrize("alpha", [0.1, 1.0, 100.0])
def test_the_loss_weighs_contrast_by_alpha_and_divides_by_the_sum(alpha: float) -> None:
    logits, features, labels = torch.randn(6, 6), drawn(6), torch.tensor([0, 0, 1, 1, 2, 2])
    entropy = nn.functional.cross_entropy(logits, labels).item()
    contrast = supervised_contrast(features, labels, temperature=0.5).item()
    found = training_loss(logits, features, labels, contrast=Contrast(alpha=alpha, temperature=0.5)).total.item()
    assert found == pytest.approx((entropy + alpha * contrast) / (1 + alpha), rel=1e-5)


def test_without_contrast_the_loss_is_cross_entropy_with_its_smoothing() -> None:
    logits, labels = torch.randn(4, 6), torch.tensor([0, 1, 2, 3])
    found = training_loss(logits, drawn(4), labels, contrast=Contrast(alpha=0.0), label_smoothing=0.1)
    torch.testing.assert_close(found.total, nn.functional.cross_entropy(logits, labels, label_smoothing=0.1))


@pytest.mark.parametrize("temperature", [0.1, 1.0])
def test_a_bank_adds_positives_and_negatives_but_no_anchors(temperature: float) -> None:
    features, labels = drawn(9), [0, 1, 1, 2, 0, 0, 1, 5, 2]
    bank = Bank(features=features[4:], labels=torch.tensor(labels[4:]))
    found = supervised_contrast(features[:4], torch.tensor(labels[:4]), temperature=temperature, bank=bank)
    assert found.item() == pytest.approx(in_scalar_loops(features, labels, temperature, anchors=4), rel=1e-5)


def test_an_anchor_whose_only_positive_is_in_the_bank_counts() -> None:
    features = drawn(3)
    bank = Bank(features=features[2:], labels=torch.tensor([1]))
    found = supervised_contrast(features[:2], torch.tensor([0, 1]), temperature=0.5, bank=bank)
    assert found.item() == pytest.approx(in_scalar_loops(features, [0, 1, 1], 0.5, anchors=2), rel=1e-5)


@pytest.mark.parametrize("alpha", [0.1, 100.0])
def test_two_passes_predict_twice_and_contrast_with_each_other(alpha: float) -> None:
    """The whole loss in float64 scalars, both views of a sample being rows (VCEMO §3.5)."""
    logits, features, labels = torch.randn(6, 4), drawn(6, seed=3), [0, 1, 2, 0, 1, 2]
    entropy = -sum(
        math.log(math.exp(row[label]) / sum(map(math.exp, row)))
        for row, label in zip(logits.double().tolist(), labels, strict=True)
    ) / len(labels)
    expected = (entropy + alpha * in_scalar_loops(features, labels, 1.0)) / (1 + alpha)
    found = training_loss(logits, features, torch.tensor(labels), contrast=Contrast(alpha=alpha, temperature=1.0))
    assert found.total.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
def test_parts_that_judge_alone_add_their_mean_cross_entropies(label_smoothing: float) -> None:
    judged, labels = torch.randn(5, 2, 6), torch.tensor([0, 1, 2, 3, 4])
    everywhere = torch.ones(5, 2, dtype=torch.bool)
    found = loss_alone(judged, labels, everywhere, label_smoothing=label_smoothing)
    expected = sum(
        nn.functional.cross_entropy(judged[:, part], labels, label_smoothing=label_smoothing).item() for part in (0, 1)
    )
    assert found.item() == pytest.approx(expected, rel=1e-5)


def test_rows_that_cannot_judge_are_ignored() -> None:
    judged, labels = torch.randn(4, 2, 6, requires_grad=True), torch.tensor([0, 1, 2, 3])
    can_judge = torch.tensor([[True, False], [False, False], [True, True], [False, True]])
    found = loss_alone(judged, labels, can_judge)
    expected = nn.functional.cross_entropy(judged[[0, 2], 0], labels[[0, 2]])
    expected = expected + nn.functional.cross_entropy(judged[[2, 3], 1], labels[[2, 3]])
    torch.testing.assert_close(found, expected)
    found.backward()  # type: ignore[no-untyped-call]
    assert judged.grad is not None
    assert torch.equal(judged.grad.abs().sum(2) > 0, can_judge)


def test_a_part_that_nobody_can_judge_costs_nothing_and_has_gradients_of_zero() -> None:
    judged, labels = torch.randn(3, 1, 6, requires_grad=True), torch.tensor([0, 1, 2])
    loss = loss_alone(judged, labels, torch.zeros(3, 1, dtype=torch.bool))
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.item() == 0.0
    assert judged.grad is not None
    assert not judged.grad.any()


def test_without_parts_nothing_is_added() -> None:
    nothing = torch.zeros(3, 0, dtype=torch.bool)
    assert loss_alone(torch.randn(3, 0, 6), torch.tensor([0, 1, 2]), nothing).item() == 0.0


def test_a_sigmoid_loss_judges_every_class_by_itself() -> None:
    logits, labels = torch.tensor([[2.0, -1.0, 0.5], [0.0, 0.0, 3.0]]), torch.tensor([0, 1])
    found = training_loss(
        logits, logits[:, :0], labels, contrast=Contrast(alpha=0), kind="sigmoid", label_smoothing=0.5
    )
    right = torch.sigmoid(torch.tensor([2.0, 0.0])).log().sum()
    wrong = torch.sigmoid(-torch.tensor([-1.0, 0.5, 0.0, 3.0])).log().sum()
    assert found.total.item() == pytest.approx(-(right + wrong).item() / 6)
