import torch
from torch import nn

from model.dropout import Dropout


def test_about_the_asked_share_is_dropped_and_the_mean_is_kept() -> None:
    torch.manual_seed(0)
    kept = Dropout(0.2)(torch.ones(1000, 1003))
    assert abs((kept == 0).float().mean().item() - 51 / 256) < 1e-3
    assert abs(kept.mean().item() - 1) < 1e-3
    torch.testing.assert_close(kept.unique(), torch.tensor([0.0, 256 / 205]))


def test_neighbours_are_dropped_independently_of_each_other() -> None:
    torch.manual_seed(0)
    gone = (Dropout(0.5)(torch.ones(4096, 64)) == 0).float()
    correlation = torch.corrcoef(gone.T) - torch.eye(64)
    assert correlation.abs().max() < 0.08


def test_what_was_dropped_gets_no_gradient_and_the_rest_is_scaled() -> None:
    x = torch.ones(40, 5, requires_grad=True)
    y = Dropout(0.3)(x)
    y.sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad, y.detach())


def test_the_seed_decides_what_is_dropped() -> None:
    drop, x = Dropout(0.5), torch.ones(9, 7)
    torch.manual_seed(3)
    first = drop(x)
    assert not torch.equal(first, drop(x))
    torch.manual_seed(3)
    torch.testing.assert_close(first, drop(x))


def test_nothing_is_dropped_outside_training_or_without_a_share() -> None:
    x = torch.randn(5, 5)
    assert torch.equal(Dropout(0.5).eval()(x), x)
    assert torch.equal(Dropout(0.0)(x), x)
    assert not Dropout(1.0)(x).any()
    assert isinstance(Dropout(0.5), nn.Dropout)
