"""Parts of the embedding that go past the fusions, and judge alone while the network is trained."""

from typing import Any

import numpy as np
import pytest
import torch
from drawn_features import SMALL, features_of_every_kind, lived_in, small_network, tensors_of
from torch import Tensor, nn

from model.network import VcemoNetwork

WIDTH: int = SMALL["width"]
TEXT = {"sentence": 64, "words": 64, "ngrams": 16}


def embedded_by(network: VcemoNetwork) -> Tensor:
    with torch.inference_mode():
        return network.embed(**tensors_of(features_of_every_kind(np.random.default_rng(0))))


@pytest.mark.parametrize(
    ("preset", "changes", "parts"),
    [
        ("paper", {}, {}),
        ("paper", {"text_branch": True}, TEXT),
        ("whisper", {}, {"sound": 2 * WIDTH * 4} | TEXT),
        ("whisper", {"statistics_heads": 1, "text_branch": False}, {"sound": 2 * WIDTH}),
        (
            "whisper",
            {"statistics_heads": 3, "text_width": 8},
            {"sound": 2 * WIDTH * 3} | TEXT | {"sentence": 8, "words": 8},
        ),
        ("whisper", {"concat": "channel", "mel_encoder": "conv"}, {"sound": 2 * WIDTH * 4} | TEXT),
    ],
)
def test_every_part_past_the_fusions_judges_alone(preset: Any, changes: dict[str, Any], parts: dict[str, int]) -> None:
    network = small_network(preset, **changes)
    embedded = embedded_by(network)
    fused = WIDTH * (2 if network.config.concat == "channel" else 1)
    assert embedded.shape == (5, fused + sum(parts.values()))
    with torch.inference_mode():
        judged = network.judged_alone(embedded)
    assert {name: logits.shape for name, logits in judged.items()} == dict.fromkeys(parts, (5, 6))
    sizes = {name: judge[1].in_features for name, judge in network.judges.items()}  # type: ignore[index]
    assert sizes == parts


def test_a_judge_hears_its_own_part_alone() -> None:
    network = small_network("whisper")
    embedded = embedded_by(network).clone().requires_grad_()
    ends = np.cumsum([WIDTH, 2 * WIDTH * 4, *TEXT.values()]).tolist()
    for (name, logits), start, end in zip(network.judged_alone(embedded).items(), ends[:-1], ends[1:], strict=True):
        (gradient,) = torch.autograd.grad(logits.sum(), embedded)
        heard = gradient.abs().sum(0).nonzero().flatten()
        assert (heard[0].item(), heard[-1].item()) == (start, end - 1), name


def test_what_judges_alone_has_no_say_in_the_prediction() -> None:
    network = small_network("whisper")
    batch = tensors_of(features_of_every_kind(np.random.default_rng(0)))
    network(**batch).sum().backward()
    assert all(parameter.grad is None for parameter in network.judges.parameters())


def test_a_judge_of_text_has_nothing_to_go_by_without_it() -> None:
    network = lived_in(small_network("whisper"))
    with torch.inference_mode():
        judged = network.judged_alone(embedded_by(network))
    for name in TEXT:
        last = network.judges[name][1]  # type: ignore[index]
        assert isinstance(last, nn.Linear)
        torch.testing.assert_close(judged[name][3], last.bias)


def test_each_head_of_statistics_listens_for_itself() -> None:
    network = small_network("whisper", statistics_heads=2)
    one, other = embedded_by(network)[:, WIDTH : WIDTH * 5].chunk(2, dim=1)
    assert (one - other).abs().max() > 1e-4


def test_the_statistics_of_a_head_are_a_weighted_mean_and_deviation() -> None:
    network = small_network("whisper", statistics_heads=2)
    assert network.statistics is not None
    network.statistics_norm = nn.Sequential()
    heard: list[tuple[Tensor, Tensor]] = []
    head = network.statistics[1]
    weights_of = head.weights

    def listened(x: Tensor, mask: Tensor) -> Tensor:
        weights: Tensor = weights_of(x, mask)  # type: ignore[operator]
        heard.append((x, weights))
        return weights

    head.weights = listened  # type: ignore[assignment]
    found = embedded_by(network)[:, WIDTH * 3 : WIDTH * 5]
    ((x, weights),) = heard
    torch.testing.assert_close(weights.sum(1), torch.ones(5))
    for row in range(5):
        mean = (weights[row, :, None] * x[row]).sum(0)
        variance = (weights[row, :, None] * (x[row] - mean) ** 2).sum(0)
        torch.testing.assert_close(found[row], torch.cat([mean, (variance + 1e-5).sqrt()]), atol=1e-5, rtol=1e-4)
