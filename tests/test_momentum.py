from itertools import pairwise

import numpy as np
import torch
from drawn_features import features_of_every_kind, small_network, tensors_of
from hypothesis import given
from hypothesis import strategies as st

from training.momentum import KeyEncoder, KeyQueue


@given(st.lists(st.integers(min_value=1, max_value=7), max_size=12), st.integers(min_value=1, max_value=9))
def test_the_queue_holds_the_last_keys_with_their_labels(batches: list[int], size: int) -> None:
    """Against a plain list: labels number the keys, and a key is its label all over."""
    queue = KeyQueue(size, 3)
    expected: list[int] = []
    for start, count in pairwise(np.cumsum([0, *batches]).tolist()):
        labels = torch.arange(start, count)
        queue.push(labels[:, None].expand(-1, 3).float(), labels)
        expected = [*expected, *labels.tolist()][-size:]
    assert len(queue) == len(expected)
    bank = queue.bank(torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64))
    assert sorted(bank.labels.tolist()) == expected
    assert torch.equal(bank.features, bank.labels[:, None].expand(-1, 3).float())


def test_places_that_nothing_was_written_to_are_not_contrasted_with() -> None:
    queue = KeyQueue(16384, 4)
    queue.push(torch.ones(2, 4), torch.tensor([3, 5]))
    bank = queue.bank(torch.zeros(1, 4), torch.tensor([1]))
    assert bank.labels.tolist() == [1, 3, 5]
    assert bank.features.shape == (3, 4)


def test_the_key_encoder_follows_by_its_momentum() -> None:
    network = small_network("paper")
    keys = KeyEncoder(network, momentum=0.9)
    before = [weight.clone() for weight in keys.network.parameters()]
    with torch.no_grad():
        for weight in network.parameters():
            weight.add_(1.0)
        network.mel.standardise.get_buffer("mean").fill_(7.0)
    keys.follow(network)
    for old, new in zip(before, keys.network.parameters(), strict=True):
        torch.testing.assert_close(new, old + 0.1)
        assert not new.requires_grad
    assert bool((keys.network.mel.standardise.get_buffer("mean") == 7.0).all())


def test_keys_are_unit_vectors_without_a_gradient() -> None:
    keys = KeyEncoder(small_network("whisper"), momentum=0.9)(
        tensors_of(features_of_every_kind(np.random.default_rng(0)))
    )
    assert not keys.requires_grad
    torch.testing.assert_close(keys.norm(dim=1), torch.ones(5))
