from typing import Any

import numpy as np
import pytest
import torch
from drawn_features import drawn_features, features_of_every_kind, lived_in, small_network, tensors_of
from torch import Tensor

from model.encoders import Standardise
from model.network import VcemoNetwork
from model.text_branch import NgramBag, TextBranch, WordReader

SIZES = {"sentence": 8, "words": 8, "ngrams": 16}


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def branch() -> TextBranch:
    torch.manual_seed(0)
    return TextBranch(7, 5, size=8, ngram_buckets=50, dropout=0.5).eval()


@pytest.fixture
def reader() -> WordReader:
    torch.manual_seed(0)
    return WordReader(5, 8, dropout=0.5).eval()


@pytest.fixture
def bag() -> NgramBag:
    torch.manual_seed(0)
    return NgramBag(50, 6).eval()


def inputs(batch: int = 3) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        "sentence": drawn(batch, 7),
        "words": drawn(batch, 4, 5),
        "words_lengths": torch.full((batch,), 4),
        "ngrams": torch.randint(50, (batch, 9), generator=generator),
        "ngram_weights": 1 + torch.rand(batch, 9, generator=generator),
        "modality_mask": torch.ones(batch, 3),
    }


def parts_of(read: Tensor) -> dict[str, Tensor]:
    return dict(zip(SIZES, torch.split(read, list(SIZES.values()), dim=-1), strict=True))


def test_sentence_words_and_ngrams_stand_side_by_side(branch: TextBranch) -> None:
    given = inputs()
    found = parts_of(branch(**given))
    assert branch.sizes == SIZES
    torch.testing.assert_close(found["sentence"], branch.sentence(given["sentence"]))
    torch.testing.assert_close(found["words"], branch.words(given["words"], given["words_lengths"]))
    torch.testing.assert_close(found["ngrams"], branch.ngrams(given["ngrams"], given["ngram_weights"]))


@pytest.mark.parametrize(
    ("mask", "zero"),
    [
        ((1, 0, 0), {"sentence", "words", "ngrams"}),
        ((1, 0, 1), {"words"}),
        ((0, 1, 0), {"sentence", "ngrams"}),
        ((0, 1, 1), set()),
    ],
)
def test_what_is_missing_is_zero(branch: TextBranch, mask: tuple[int, int, int], zero: set[str]) -> None:
    found = parts_of(branch(**(inputs(1) | {"modality_mask": torch.tensor([mask], dtype=torch.float32)})))
    assert {name for name, part in found.items() if not part.any()} == zero


def test_words_are_read_over_their_own_length(reader: WordReader) -> None:
    words = drawn(1, 3, 5)
    longer = torch.cat([words, torch.full((1, 6, 5), 100.0)], dim=1)
    torch.testing.assert_close(reader(longer, torch.tensor([3])), reader(words, torch.tensor([3])))


def test_a_pattern_that_no_word_shows_is_not_there_padded_or_not(reader: WordReader) -> None:
    # The least that GELU gives is -0.17: a padded text must not get more out of it than one alone.
    with torch.no_grad():
        for pattern in reader.patterns:
            pattern.bias.fill_(-1.0)  # type: ignore[operator]
    words, seen = drawn(1, 1, 5) * 0.01, []
    reader.project.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    for padding in (0, 1, 6):
        reader(torch.nn.functional.pad(words, (0, 0, 0, padding)), torch.tensor([1]))
    assert not seen[0][:, : 3 * 32].any()
    torch.testing.assert_close(seen[1], seen[0])
    torch.testing.assert_close(seen[2], seen[0])


def test_words_are_read_in_their_order(reader: WordReader) -> None:
    words = drawn(1, 4, 5)
    assert (reader(words, torch.tensor([4])) - reader(words.flip(1), torch.tensor([4]))).abs().max() > 1e-4


def test_training_hides_words_whole_and_judging_none(reader: WordReader) -> None:
    read: list[Tensor] = []
    reader.score.register_forward_pre_hook(lambda _, given: read.append(given[0]))
    words = torch.ones(1, 200, 5)
    for training in (True, False):
        reader.train(training)(words, torch.tensor([200]))
    hidden, all_there = read
    assert set(hidden.sum(2).flatten().tolist()) == {0.0, 5.0}
    assert 0.1 < (hidden == 0).float().mean() < 0.3
    torch.testing.assert_close(all_there, words)


def test_a_bag_is_the_weighted_sum_of_vectors_of_a_text_of_length_one(bag: NgramBag) -> None:
    rarity = torch.rand(50, generator=torch.Generator().manual_seed(1)) + 0.5
    bag.fit(rarity)
    buckets, weights = torch.tensor([[3, 17, 3]]), torch.tensor([[1.0, 2.0, 1.5]])
    telling = weights[0] * rarity[buckets[0]]
    expected = 4.0 * (telling / telling.norm()) @ bag.vectors.weight[buckets[0]]
    torch.testing.assert_close(bag(buckets, weights), expected[None])


def test_padding_and_the_order_of_ngrams_change_nothing(bag: NgramBag) -> None:
    buckets, weights = torch.tensor([[3, 17, 20]]), torch.tensor([[1.0, 2.0, 1.5]])
    expected = bag(buckets, weights)
    torch.testing.assert_close(bag(buckets.flip(1), weights.flip(1)), expected)
    padded = bag(torch.cat([buckets, torch.tensor([[0, 49]])], 1), torch.cat([weights, torch.zeros(1, 2)], 1))
    torch.testing.assert_close(padded, expected)


def test_ngrams_that_tell_nothing_are_a_zero_without_a_division_by_it(bag: NgramBag) -> None:
    bag.fit(torch.zeros(50))
    found = bag(torch.tensor([[3, 17]]), torch.tensor([[1.0, 2.0]]))
    found.sum().backward()
    assert not found.any()
    assert bag.vectors.weight.grad is not None
    assert torch.isfinite(bag.vectors.weight.grad).all()


def test_the_rarity_of_ngrams_travels_with_the_weights(bag: NgramBag) -> None:
    assert set(bag.state_dict()) == {"rarity", "scale", "vectors.weight"}


def test_the_branch_is_standardised_by_itself(branch: TextBranch) -> None:
    standardise = branch.sentence[0]
    assert isinstance(standardise, Standardise)
    given = inputs()
    standardise.fit(torch.full((7,), 3.0), torch.full((7,), 2.0))
    shifted = given | {"sentence": given["sentence"] * 2 + 3}
    standardised = branch(**shifted)
    standardise.fit(torch.zeros(7), torch.ones(7))
    torch.testing.assert_close(standardised, branch(**given))


def judged_text(network: VcemoNetwork, batch: dict[str, Tensor]) -> Tensor:
    """What stands at the end of the network's embedding."""
    assert network.text is not None
    with torch.inference_mode():
        embedded = network.embed(**batch)
    return embedded[:, -sum(network.text.sizes.values()) :]


def test_of_an_utterance_without_text_the_embedding_ends_in_zeros() -> None:
    network = lived_in(small_network("whisper"))
    found = judged_text(network, tensors_of(features_of_every_kind(np.random.default_rng(0))))
    assert found.any(dim=1).tolist() == [True, True, True, False, True]


@pytest.mark.parametrize("preset", ["paper", "whisper"])
def test_text_that_goes_past_the_fusions_does_not_depend_on_the_sound(preset: Any) -> None:
    network = lived_in(small_network(preset, text_branch=True))
    texts = [drawn_features(np.random.default_rng(seed), words=3 + seed) for seed in range(3)]
    alone = [text.without_sound() for text in texts]
    torch.testing.assert_close(judged_text(network, tensors_of(texts)), judged_text(network, tensors_of(alone)))


def test_text_that_goes_past_the_fusions_is_read_beyond_their_steps() -> None:
    network = small_network("whisper")
    batch = tensors_of([drawn_features(np.random.default_rng(0), words=30)])
    changed = batch["words"].clone()
    changed[:, 25] = 5.0
    assert (judged_text(network, batch) - judged_text(network, batch | {"words": changed})).abs().max() > 1e-4


@pytest.mark.parametrize("name", ["ngrams", "ngram_weights"])
def test_ngrams_are_read_by_the_text_branch_alone(name: str) -> None:
    batch = tensors_of([drawn_features(np.random.default_rng(0))])
    other = batch | {name: batch[name].flip(1)}
    with torch.inference_mode():
        branched, plain = small_network("whisper"), small_network("whisper", text_branch=False)
        assert (branched(**batch) - branched(**other)).abs().max() > 1e-5
        assert torch.equal(plain(**batch), plain(**other))
