import pytest
import torch

from training.adversary import CorpusAdversary


def test_the_adversary_sees_the_features_as_they_are() -> None:
    torch.manual_seed(0)
    adversary, features = CorpusAdversary(8, 3, strength=0.5), torch.randn(5, 8)
    torch.testing.assert_close(adversary(features), adversary.judge(features))


@pytest.mark.parametrize("strength", [0.5, 2.0])
def test_its_gradient_reaches_the_features_reversed_and_itself_unchanged(strength: float) -> None:
    torch.manual_seed(0)
    adversary = CorpusAdversary(8, 3, strength=strength)
    plain, fooled = torch.randn(5, 8, requires_grad=True), torch.zeros(5, 8, requires_grad=True)
    fooled.data.copy_(plain.data)
    labels = torch.tensor([0, 1, 2, 0, 1])

    torch.nn.functional.cross_entropy(adversary.judge(plain), labels).backward()  # type: ignore[no-untyped-call]
    own = [parameter.grad.clone() for parameter in adversary.parameters() if parameter.grad is not None]
    adversary.zero_grad()
    torch.nn.functional.cross_entropy(adversary(fooled), labels).backward()  # type: ignore[no-untyped-call]

    assert plain.grad is not None
    assert fooled.grad is not None
    torch.testing.assert_close(fooled.grad, -strength * plain.grad)
    for parameter, expected in zip(adversary.parameters(), own, strict=True):
        torch.testing.assert_close(parameter.grad, expected)
