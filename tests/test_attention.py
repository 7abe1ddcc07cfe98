import pytest
import torch
from torch import Tensor, nn

from model.attention import (
    AttentionLayer,
    AttentionPooling,
    CoAttention,
    MultiHeadAttention,
    length_mask,
    masked_softmax,
    pool_to_steps,
)

WIDTH, HEADS = 12, 3


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
