"""What a text says by itself, in torch: sentence, words and n-grams, each read by a small head of its own.

The fusions read words and sentence as well; this branch goes past them to the prediction, and is what judges a text
without sound. Where a part is missing its features are zero.
"""

import torch
from torch import Tensor, nn

from model.attention import length_mask, masked_softmax
from model.dropout import Dropout
from model.encoders import Standardise

_DROPOUT = 0.3
_WORD_CHANNELS = 32
_WORD_HEADS = 4
_WORD_DROPOUT = 0.2
_NGRAM_SIZE = 16
_NGRAM_DROPOUT = 0.7
"""An n-gram that decides alone is one that was learnt by heart: most of a text's are hidden in training."""


class TextBranch(nn.Module):
    """Sentence (batch, d), words and n-grams -> three vectors a text."""

    def __init__(
        self,
        sentence_dimension: int,
        word_dimension: int,
        *,
        size: int,
        ngram_buckets: int,
        dropout: float = _DROPOUT,
    ) -> None:
        super().__init__()
        self.sentence = nn.Sequential(
            Standardise(sentence_dimension), Dropout(dropout), nn.Linear(sentence_dimension, size), nn.GELU()
        )
        self.words = WordReader(word_dimension, size, dropout)
        self.ngrams = NgramBag(ngram_buckets, _NGRAM_SIZE)
        self.sizes = {"sentence": size, "words": size, "ngrams": _NGRAM_SIZE}

    def forward(
        self,
        sentence: Tensor,
        words: Tensor,
        words_lengths: Tensor,
        ngrams: Tensor,
        ngram_weights: Tensor,
        modality_mask: Tensor,
    ) -> Tensor:
        """Return the three side by side, (batch, sum of sizes)."""
        read, spelt = modality_mask[:, 2:3], modality_mask[:, 1:2]
        parts = [
            self.sentence(sentence) * read,
            self.words(words, words_lengths) * spelt,
            self.ngrams(ngrams, ngram_weights) * read,
        ]
        return torch.cat(parts, dim=-1)


class WordReader(nn.Module):
    """Word vectors -> the strongest of some word patterns, and attentive means -> (batch, size)."""

    def __init__(self, dimension: int, size: int, dropout: float) -> None:
        super().__init__()
        # Padded on both sides, and cut on the right when read: a pattern ends at its word, and looks back only.
        self.patterns = nn.ModuleList(
            nn.Conv1d(dimension, _WORD_CHANNELS, kernel, padding=kernel - 1) for kernel in (1, 2, 3)
        )
        self.score = nn.Linear(dimension, _WORD_HEADS)
        width = 3 * _WORD_CHANNELS + _WORD_HEADS * dimension
        self.project = nn.Sequential(Dropout(dropout), nn.Linear(width, size), nn.GELU())

    def forward(self, words: Tensor, lengths: Tensor) -> Tensor:
        """Read (batch, words, dimension)."""
        mask = length_mask(lengths, words.shape[1])
        if self.training:
            # Whole words are hidden, unscaled: as if they had not been said, or not been heard.
            words = words * (torch.rand_like(words[..., :1]) > _WORD_DROPOUT).to(words.dtype)
        timeline = words.transpose(1, 2)
        strongest = []
        for pattern in self.patterns:
            found = nn.functional.gelu(pattern(timeline))[..., : words.shape[1]]
            # No less than zero, padded or not: a pattern that no word shows is not there.
            strongest.append(found.masked_fill(~mask[:, None], 0.0).amax(2).clamp(min=0.0))
        weights = masked_softmax(self.score(words).transpose(1, 2), mask[:, None])  # (batch, heads, words)
        read: Tensor = self.project(torch.cat([*strongest, (weights @ words).flatten(1)], dim=-1))
        return read


class NgramBag(nn.Module):
    """Hashed n-grams -> the sum of their vectors, weighted by how telling each is (tf-idf)."""

    def __init__(self, buckets: int, size: int) -> None:
        super().__init__()
        self.vectors = nn.Embedding(buckets, size)
        nn.init.normal_(self.vectors.weight, std=0.05)
        self.scale = nn.Parameter(torch.tensor(4.0))
        self.register_buffer("rarity", torch.ones(buckets))
        self.dropout = Dropout(_NGRAM_DROPOUT)

    def fit(self, rarity: Tensor) -> None:
        """Take the inverse document frequency of each bucket (buckets,) in the training part."""
        self.get_buffer("rarity").copy_(rarity)

    def forward(self, buckets: Tensor, weights: Tensor) -> Tensor:
        """Sum up (batch, n) buckets with their weights, zero where a text has fewer: (batch, size)."""
        telling = weights * self.get_buffer("rarity")[buckets]
        telling = telling / torch.sqrt((telling**2).sum(1, keepdim=True).clamp(min=1e-12))
        bag: Tensor = (self.dropout(telling)[:, None] @ self.vectors(buckets)).squeeze(1) * self.scale
        return bag
