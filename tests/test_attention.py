import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor, nn

from model.attention import (
    AttentionLayer,
    AttentionPooling,
    CoAttention,
    MultiHeadAttention,
    fit_to_steps,
    length_mask,
    masked_mean,
    masked_softmax,
    pool_to_steps,
)

WIDTH, HEADS = 12, 3

Rows = npt.NDArray[np.float64]
"""(steps, width) of one sample, without padding."""


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def everywhere(x: Tensor) -> Tensor:
    return torch.ones(x.shape[:2], dtype=torch.bool)


@pytest.fixture
def attention() -> MultiHeadAttention:
    torch.manual_seed(0)
    return MultiHeadAttention(WIDTH, HEADS, dropout=0.0).eval()


def test_attention_equals_torchs_own_with_the_same_weights(attention: MultiHeadAttention) -> None:
    reference = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True).eval()
    parts = (attention.query, attention.key, attention.value)
    with torch.no_grad():
        reference.in_proj_weight.copy_(torch.cat([part.weight for part in parts]))
        reference.in_proj_bias.copy_(torch.cat([part.bias for part in parts]))
    reference.out_proj.load_state_dict(attention.out.state_dict())
    query, guide, mask = drawn(2, 5, WIDTH), drawn(2, 7, WIDTH, seed=1), length_mask(torch.tensor([7, 4]), 7)
    expected, _ = reference(query, guide, guide, key_padding_mask=~mask)
    torch.testing.assert_close(attention(query, guide, mask), expected, atol=1e-6, rtol=1e-5)


def linear(weights: dict[str, Rows], name: str, row: Rows) -> Rows:
    return np.array(
        [
            sum(one * other for one, other in zip(line, row, strict=True)) + bias
            for line, bias in zip(weights[f"{name}.weight"], weights[f"{name}.bias"], strict=True)
        ]
    )


def layer_norm(weights: dict[str, Rows], name: str, row: Rows) -> Rows:
    mean = sum(row) / len(row)
    variance = sum((value - mean) ** 2 for value in row) / len(row)
    return (row - mean) / math.sqrt(variance + 1e-5) * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def eq1(weights: dict[str, Rows], name: str, asking: Rows, read: Rows) -> Rows:
    """VCEMO eq. 1 for each head, one query and one key at a time."""
    size = WIDTH // HEADS
    queries, keys, values = (
        [linear(weights, f"{name}.{part}", row) for row in rows]
        for part, rows in (("query", asking), ("key", read), ("value", read))
    )
    found = []
    for query in queries:
        joined = np.zeros(WIDTH)
        for head in range(HEADS):
            part = slice(head * size, (head + 1) * size)
            scores = [math.exp(float(query[part] @ key[part]) / math.sqrt(size)) for key in keys]
            for score, value in zip(scores, values, strict=True):
                joined[part] += score / sum(scores) * value[part]
        found.append(linear(weights, f"{name}.out", joined))
    return np.array(found)


def written_out_layer(weights: dict[str, Rows], x: Rows, guide: Rows | None) -> Rows:
    """MCAN's SA, or SGA where there is a guide (VCEMO fig. 2)."""
    x = np.array([layer_norm(weights, "self_norm", row) for row in x + eq1(weights, "self_attention", x, x)])
    if guide is not None:
        asked = eq1(weights, "guided_attention", x, guide)
        x = np.array([layer_norm(weights, "guided_norm", row) for row in x + asked])
    hidden = [np.maximum(linear(weights, "feed_forward.0", row), 0) for row in x]
    fed = np.array([linear(weights, "feed_forward.3", row) for row in hidden])
    return np.array([layer_norm(weights, "feed_norm", row) for row in x + fed])


def in_double(module: nn.Module) -> dict[str, Rows]:
    """Draw every weight of ``module``, norms too, and return them."""
    generator = torch.Generator().manual_seed(2)
    module.double()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(std=0.5, generator=generator)
    return {name: tensor.numpy() for name, tensor in module.state_dict().items()}


def test_attention_is_equation_one_written_out(attention: MultiHeadAttention) -> None:
    weights = {f"it.{name}": value for name, value in in_double(attention).items()}
    query, guide = drawn(1, 5, WIDTH).double(), drawn(1, 7, WIDTH, seed=1).double()
    with torch.inference_mode():
        found = attention(query, guide, length_mask(torch.tensor([4]), 7))
    expected = eq1(weights, "it", query[0].numpy(), guide[0, :4].numpy())
    np.testing.assert_allclose(found[0].numpy(), expected, atol=1e-12, rtol=0)


def test_one_layer_of_co_attention_is_figure_two_written_out() -> None:
    cascade = CoAttention(WIDTH, HEADS, layers=1, dropout=0.0).eval()
    in_double(cascade)
    encoder, decoder = (
        {name: tensor.numpy() for name, tensor in stack[0].state_dict().items()}
        for stack in (cascade.encoder, cascade.decoder)
    )
    guide, x = drawn(1, 6, WIDTH).double(), drawn(1, 4, WIDTH, seed=1).double()
    masks = length_mask(torch.tensor([5]), 6), length_mask(torch.tensor([3]), 4)
    with torch.inference_mode():
        found_guide, found = cascade(guide, masks[0], x, masks[1])
    expected_guide = written_out_layer(encoder, guide[0, :5].numpy(), None)
    expected = written_out_layer(decoder, x[0, :3].numpy(), expected_guide)
    np.testing.assert_allclose(found_guide[0, :5].numpy(), expected_guide, atol=1e-12, rtol=0)
    np.testing.assert_allclose(found[0, :3].numpy(), expected, atol=1e-12, rtol=0)


def test_what_the_mask_hides_has_no_influence(attention: MultiHeadAttention) -> None:
    query, guide, mask = drawn(1, 5, WIDTH), drawn(1, 7, WIDTH, seed=1), length_mask(torch.tensor([4]), 7)
    changed = guide.clone()
    changed[:, 4:] = 1e4
    torch.testing.assert_close(attention(query, guide, mask), attention(query, changed, mask), atol=0, rtol=0)


def test_over_a_guide_of_one_step_attention_degenerates_to_a_constant(attention: MultiHeadAttention) -> None:
    # reproduction.md, decision 9: softmax over one key is one, whatever is asked; so the sentence is the reader of
    # fusion 2, never what is read.
    guide = drawn(1, 1, WIDTH)
    first, second = attention(drawn(1, 5, WIDTH, seed=1), guide, everywhere(guide)).unbind(0)[0][:2]
    torch.testing.assert_close(first, second, atol=0, rtol=0)
    torch.testing.assert_close(first, attention.out(attention.value(guide))[0, 0])


def test_a_width_that_the_heads_do_not_divide_is_refused() -> None:
    with pytest.raises(ValueError, match="width 10 is not a multiple of heads 3"):
        MultiHeadAttention(10, 3, dropout=0.0)


def test_every_guided_layer_reads_the_final_output_of_the_guides_stack() -> None:
    torch.manual_seed(0)
    cascade = CoAttention(WIDTH, HEADS, layers=3, dropout=0.0).eval()
    guide, x = drawn(1, 6, WIDTH), drawn(1, 4, WIDTH, seed=1)
    found_guide, found = cascade(guide, everywhere(guide), x, everywhere(x))
    for layer in cascade.encoder:
        guide = layer(guide, everywhere(guide))
    for layer in cascade.decoder:
        x = layer(x, everywhere(x), guide, everywhere(guide))
    torch.testing.assert_close(found_guide, guide)
    torch.testing.assert_close(found, x)


def cascades(**changes: Any) -> tuple[CoAttention, CoAttention]:
    """A plain cascade, and one with ``changes`` and the same weights."""
    torch.manual_seed(0)
    changed = CoAttention(WIDTH, HEADS, layers=2, dropout=0.0, **changes).eval()
    plain = CoAttention(WIDTH, HEADS, layers=2, dropout=0.0).eval()
    plain.load_state_dict({k: v for k, v in changed.state_dict().items() if not k.startswith("reverse.")})
    return plain, changed


def test_aligned_the_guide_is_averaged_through_the_last_guided_map() -> None:
    plain, aligned = cascades(aligned=True)
    guide, x = drawn(2, 6, WIDTH), drawn(2, 4, WIDTH, seed=1)
    masks = length_mask(torch.tensor([5, 2]), 6), length_mask(torch.tensor([3, 4]), 4)
    refined, expected = plain(guide, masks[0], x, masks[1])
    found_guide, found = aligned(guide, masks[0], x, masks[1])
    first, last = aligned.decoder
    assert isinstance(last, AttentionLayer)
    _, weights = last.attend(first(x, masks[1], refined, masks[0]), masks[1], refined, masks[0])
    torch.testing.assert_close(found, expected)
    assert found_guide.shape == x.shape
    assert not weights[0, :, :, 5:].any()
    for step in range(4):
        averaged = sum(weights[0, :, step, k].mean() * refined[0, k] for k in range(5))
        torch.testing.assert_close(found_guide[0, step], averaged)


def test_in_both_directions_each_sequence_is_guided_by_the_other() -> None:
    plain, both = cascades(bidirectional=True)
    guide, x = drawn(1, 6, WIDTH), drawn(1, 4, WIDTH, seed=1)
    found_guide, found = both(guide, everywhere(guide), x, everywhere(x))
    assert both.reverse is not None
    _, expected_guide = both.reverse(x, everywhere(x), guide, everywhere(guide))
    torch.testing.assert_close(found, plain(guide, everywhere(guide), x, everywhere(x))[1])
    torch.testing.assert_close(found_guide, expected_guide)
    other_guide, _ = both(guide, everywhere(guide), x + drawn(1, 4, WIDTH, seed=2), everywhere(x))
    assert (other_guide - found_guide).abs().max() > 1e-3


def test_both_directions_can_be_aligned() -> None:
    plain, both = cascades(bidirectional=True, aligned=True)
    guide, x = drawn(1, 6, WIDTH), drawn(1, 4, WIDTH, seed=1)
    found_guide, found = both(guide, everywhere(guide), x, everywhere(x))
    torch.testing.assert_close(found, plain(guide, everywhere(guide), x, everywhere(x))[1])
    assert found_guide.shape == x.shape


def test_the_feed_forward_block_is_as_wide_as_asked() -> None:
    layer = AttentionLayer(WIDTH, HEADS, dropout=0.0, guided=False, feed_forward_multiple=2)
    assert layer.feed_forward[0].out_features == 2 * WIDTH


def test_a_layer_normalises_last() -> None:
    torch.manual_seed(0)
    layer = AttentionLayer(WIDTH, HEADS, dropout=0.0, guided=False).eval()
    x = drawn(2, 5, WIDTH) * 10
    refined = layer(x, everywhere(x))
    torch.testing.assert_close(refined.mean(-1), torch.zeros(2, 5), atol=1e-5, rtol=0)
    torch.testing.assert_close(refined.var(-1, unbiased=False), torch.ones(2, 5), atol=1e-3, rtol=0)


def test_pooling_weights_add_up_to_one_inside_each_length_and_are_zero_outside() -> None:
    torch.manual_seed(0)
    pooling = AttentionPooling(WIDTH, dropout=0.0).eval()
    x, mask = drawn(2, 6, WIDTH), length_mask(torch.tensor([6, 2]), 6)
    weights = pooling.weights(x, mask)
    torch.testing.assert_close(weights.sum(1), torch.ones(2))
    assert not weights[1, 2:].any()
    torch.testing.assert_close(pooling(x, mask)[1], weights[1, :2] @ x[1, :2])


def test_masked_softmax_is_softmax_of_what_is_visible() -> None:
    scores, mask = drawn(1, 5), length_mask(torch.tensor([3]), 5)
    torch.testing.assert_close(masked_softmax(scores, mask)[0, :3], torch.softmax(scores[0, :3], dim=0))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_masked_softmax_hides_in_every_precision(dtype: torch.dtype) -> None:
    weights = masked_softmax(drawn(1, 5).to(dtype), length_mask(torch.tensor([3]), 5))
    assert weights.dtype == dtype
    assert not weights[0, 3:].any()
    assert weights[0, :3].all()


def test_a_masked_mean_counts_what_is_visible() -> None:
    x, mask = drawn(2, 5, WIDTH), length_mask(torch.tensor([5, 2]), 5)
    torch.testing.assert_close(masked_mean(x, mask), torch.stack([x[0].mean(0), x[1, :2].mean(0)]))


@pytest.mark.parametrize("time", [1, 4, 9])
def test_a_sequence_is_padded_or_cut_to_the_steps(time: int) -> None:
    x = drawn(2, time, WIDTH)
    fitted = fit_to_steps(x, 4)
    assert fitted.shape == (2, 4, WIDTH)
    torch.testing.assert_close(fitted[:, : min(time, 4)], x[:, :4])
    assert not fitted[:, time:].any()


def test_a_length_mask_is_true_inside_each_sequence() -> None:
    assert length_mask(torch.tensor([0, 2, 3]), 3).int().tolist() == [[0, 0, 0], [1, 1, 0], [1, 1, 1]]


@pytest.mark.parametrize("time", [1, 3, 8, 9, 31, 64])
def test_pooling_to_steps_is_torchs_adaptive_average(time: int) -> None:
    x = drawn(2, time, WIDTH)
    expected = nn.functional.adaptive_avg_pool1d(x.transpose(1, 2), 8).transpose(1, 2)
    torch.testing.assert_close(pool_to_steps(x, torch.tensor([time, time]), 8), expected, atol=1e-6, rtol=1e-5)


def test_pooling_to_steps_reads_nothing_beyond_the_length() -> None:
    x = drawn(2, 20, WIDTH)
    x[0, 13:] = 1e4
    pooled = pool_to_steps(x, torch.tensor([13, 20]), 8)
    torch.testing.assert_close(pooled[:1], pool_to_steps(x[:1, :13], torch.tensor([13]), 8), atol=1e-6, rtol=1e-5)
