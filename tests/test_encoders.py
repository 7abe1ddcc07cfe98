import pytest
import torch
from torch import Tensor, nn

from model.attention import length_mask
from model.encoders import (
    MaskedBatchNorm,
    MelEncoder,
    MelStatistics,
    Standardise,
    StateEncoder,
    StepEncoder,
    WordEncoder,
)


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def frame_mask(lengths: list[int], frames: int) -> Tensor:
    return length_mask(torch.tensor(lengths), frames)[:, None, :, None].float()


@pytest.fixture
def mel_encoder() -> MelEncoder:
    torch.manual_seed(0)
    return MelEncoder(num_mels=10, width=6, channels=(3, 4, 5), time_strides=(4, 2, 1))


def test_standardising_shifts_and_scales_by_the_statistics_it_was_given() -> None:
    standardise = Standardise(2)
    standardise.fit(torch.tensor([1.0, -2.0]), torch.tensor([2.0, 0.0]))
    # A band that never varies is not blown up.
    torch.testing.assert_close(standardise(torch.tensor([[5.0, -2.0]])), torch.tensor([[2.0, 0.0]]))


def test_the_statistics_travel_with_the_weights() -> None:
    assert set(Standardise(2).state_dict()) == {"mean", "deviation"}


def fitted() -> Standardise:
    standardise = Standardise(3)
    standardise.fit(torch.tensor([-7.3, 0.2, 1.1]), torch.tensor([3.7, 0.01, 1.3]))
    return standardise


def moments_of(rows: Tensor) -> Tensor:
    """Mean and deviation (1, 2, d) of rows (1, n, d)."""
    return torch.stack([rows.mean(1), rows.std(1, correction=0)], dim=1)


def test_of_a_stranger_adapting_changes_no_bit() -> None:
    standardise, rows = fitted(), drawn(1, 500, 3) * 5 - 3
    for statistics in (torch.zeros(1, 2, 3), torch.full((1, 2, 3), 9.0)):
        assert torch.equal(standardise.adapt(rows, torch.zeros(1), statistics, prior=40.0), rows)


def test_a_speaker_heard_for_long_is_moved_to_the_statistics_of_the_training_fold() -> None:
    standardise, rows = fitted(), drawn(1, 500, 3) * torch.tensor([6.0, 0.03, 0.6]) + torch.tensor([-4.0, 0.3, 5.0])
    adapted = standardise.adapt(rows, torch.tensor([1e9]), moments_of(rows), prior=40.0)
    standardised = standardise(adapted)
    torch.testing.assert_close(standardised.mean(1), torch.zeros(1, 3), atol=1e-3, rtol=0)
    torch.testing.assert_close(standardised.std(1, correction=0), torch.ones(1, 3), atol=1e-3, rtol=0)


@pytest.mark.parametrize("count", [1, 40, 4000])
def test_the_prior_is_worth_so_many_rows_of_the_training_fold(count: int) -> None:
    standardise, rows = fitted(), drawn(1, 60, 3) * 4 - 1
    adapted = standardise.adapt(rows, torch.tensor([float(count)]), moments_of(rows), prior=40.0)
    mean, square = rows.double().mean(1), (rows.double() ** 2).mean(1)
    born_mean, born_deviation = (standardise.get_buffer(name).double() for name in ("mean", "deviation"))
    all_mean = (count * mean + 40 * born_mean) / (count + 40)
    all_square = (count * square + 40 * (born_mean**2 + born_deviation**2)) / (count + 40)
    expected = (rows.double() - all_mean[:, None]) / torch.sqrt(all_square - all_mean**2)[:, None]
    torch.testing.assert_close(standardise(adapted).double(), expected, atol=1e-3, rtol=1e-3)


def test_a_voice_that_hardly_varies_is_not_blown_up() -> None:
    standardise = fitted()
    monotonous = torch.full((1, 9, 3), 2.0)
    adapted = standardise.adapt(monotonous + 0.01, torch.tensor([1e9]), moments_of(monotonous), prior=40.0)
    assert (standardise(adapted).abs() < 0.05**-0.5 * 1.01 * 0.01 / standardise.get_buffer("deviation") + 1e-3).all()


def test_each_of_a_batch_is_adapted_to_a_speaker_of_its_own() -> None:
    standardise, rows = fitted(), drawn(3, 9, 3)
    counts, statistics = torch.tensor([0.0, 30.0, 3e6]), drawn(3, 2, 3, seed=1).abs()
    together = standardise.adapt(rows, counts, statistics, prior=40.0)
    for k in range(3):
        one = slice(k, k + 1)
        alone = standardise.adapt(rows[one], counts[one], statistics[one], prior=40.0)
        torch.testing.assert_close(together[one], alone)


def test_masked_batch_norm_equals_torchs_where_nothing_is_padded() -> None:
    masked, reference = MaskedBatchNorm(3), nn.BatchNorm2d(3)
    with torch.no_grad():
        for norm in (masked, reference):
            norm.weight.copy_(torch.tensor([1.0, 2.0, 0.5]))
            norm.bias.copy_(torch.tensor([0.0, -1.0, 3.0]))
    x = drawn(4, 3, 7, 5) * 3 + 2
    torch.testing.assert_close(masked(x, frame_mask([7] * 4, 7)), reference(x), atol=1e-5, rtol=1e-5)
    assert masked.running_mean is not None
    assert masked.running_var is not None
    torch.testing.assert_close(masked.running_mean, reference.running_mean)
    # Ours keeps the biased variance: smaller by one part in the 140 values.
    torch.testing.assert_close(masked.running_var, reference.running_var, rtol=0.01, atol=0)
    for norm in (masked, reference):
        norm.eval()
    torch.testing.assert_close(masked(x, None), reference(x), rtol=0.01, atol=0.02)


def test_masked_batch_norm_does_not_count_padding() -> None:
    padded, unpadded = MaskedBatchNorm(3), MaskedBatchNorm(3)
    x = drawn(2, 3, 9, 5)
    x[:, :, 6:] = 1e3
    found = padded(x, frame_mask([6, 6], 9))[:, :, :6]
    torch.testing.assert_close(found, unpadded(x[:, :, :6], frame_mask([6, 6], 6)), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(padded.running_var, unpadded.running_var)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_masked_batch_norm_of_half_precision_keeps_exact_statistics(dtype: torch.dtype) -> None:
    # 4800 values of 20 add up to more than float16 holds, and to nothing that bfloat16 counts.
    half, single = MaskedBatchNorm(3), MaskedBatchNorm(3)
    x = (drawn(4, 3, 40, 30) + 20).to(dtype)
    found = half(x, frame_mask([40] * 4, 40))
    expected = single(x.float(), frame_mask([40] * 4, 40))
    assert found.dtype == dtype
    torch.testing.assert_close(found.float(), expected, atol=0.02, rtol=0.01)
    torch.testing.assert_close(half.running_var, single.running_var)


def test_a_batch_without_sound_teaches_batch_norm_nothing() -> None:
    norm = MaskedBatchNorm(3)
    norm(drawn(2, 3, 4, 5), frame_mask([0, 0], 4))
    torch.testing.assert_close(norm.running_mean, torch.zeros(3))


@pytest.mark.parametrize("training", [False, True])
def test_padding_does_not_change_the_encoding_of_a_mel(mel_encoder: MelEncoder, training: bool) -> None:
    mel_encoder.train(training)
    mel = drawn(2, 45, 10)
    longer = torch.cat([mel, torch.full((2, 30, 10), 1e3)], dim=1)
    lengths = torch.tensor([45, 45])
    expected, steps = mel_encoder(mel, lengths)
    found, found_steps = mel_encoder(longer, lengths)
    assert steps.tolist() == found_steps.tolist() == [6, 6]
    torch.testing.assert_close(found[:, :6], expected[:, :6], atol=1e-5, rtol=1e-5)


def test_the_mel_encoder_divides_time_by_its_strides_rounding_up(mel_encoder: MelEncoder) -> None:
    _, lengths = mel_encoder(drawn(4, 17, 10), torch.tensor([0, 1, 8, 17]))
    assert lengths.tolist() == [0, 1, 1, 3]


def test_a_stride_for_each_convolution_is_demanded() -> None:
    with pytest.raises(ValueError, match="3 conv channels, but 2 time strides"):
        MelEncoder(num_mels=10, width=6, channels=(3, 4, 5), time_strides=(2, 2))


@pytest.mark.parametrize(("kernel", "frequency_stride"), [(1, 1), (5, 3), (7, 2)])
def test_kernel_and_stride_of_the_convolutions_leave_the_lengths_alone(kernel: int, frequency_stride: int) -> None:
    torch.manual_seed(0)
    encoder = MelEncoder(10, 6, (3, 4), (3, 2), kernel=kernel, frequency_stride=frequency_stride, lstm_layers=2).eval()
    mel = drawn(1, 32, 10)
    encoded, lengths = encoder(mel, torch.tensor([17]))
    alone, _ = encoder(mel[:, :17], torch.tensor([17]))
    assert lengths.tolist() == [3]
    assert alone.shape == (1, 3, 6)
    torch.testing.assert_close(encoded[:, :3], alone, atol=1e-5, rtol=1e-5)


def test_a_block_of_the_mel_encoder_convolves_normalises_and_rectifies_before_the_lstm(mel_encoder: MelEncoder) -> None:
    mel_encoder.eval()
    mel = drawn(1, 16, 10)
    order: list[str] = []
    for name, module in mel_encoder.named_modules():
        if not list(module.children()):
            module.register_forward_hook(lambda _, __, ___, name=name: order.append(name))
    found, _ = mel_encoder(mel, torch.tensor([16]))
    blocks = [part for index in range(3) for part in (f"convolutions.{index}", f"norms.{index}")]
    assert order == ["standardise", *blocks, "flatten", "lstm"]
    x = mel[:, None]
    for convolution, norm in zip(mel_encoder.convolutions, mel_encoder.norms, strict=True):
        x = nn.functional.relu(norm(convolution(x)))
    expected, _ = mel_encoder.lstm(mel_encoder.flatten(x.transpose(1, 2).flatten(2)))
    torch.testing.assert_close(found, expected)


def test_states_are_read_over_their_own_length() -> None:
    torch.manual_seed(0)
    encoder = StateEncoder(dimension=7, width=6, steps=4, dropout=0.5).eval()
    states = drawn(1, 5, 7)
    longer = torch.cat([states, torch.full((1, 9, 7), 1e3)], dim=1)
    found = encoder(longer, torch.tensor([5]))
    assert found.shape == (1, 4, 6)
    torch.testing.assert_close(found, encoder(states, torch.tensor([5])), atol=1e-5, rtol=1e-5)


def test_input_dropout_drops_a_feature_of_the_states_in_every_step() -> None:
    torch.manual_seed(0)
    encoder = StateEncoder(dimension=50, width=50, steps=4, dropout=0.5)
    kept = encoder.dropout(torch.ones(1, 4, 50).transpose(1, 2)).transpose(1, 2)
    assert (kept == kept[:, :1]).all()
    assert 0 < int((kept[0, 0] == 0).sum()) < 50


def test_words_are_read_over_their_own_length_and_zero_beyond() -> None:
    torch.manual_seed(0)
    encoder = WordEncoder(dimension=7, width=6).eval()
    words = drawn(1, 5, 7)
    longer = torch.cat([words, torch.full((1, 4, 7), 1e3)], dim=1)
    found = encoder(longer, torch.tensor([5]))
    torch.testing.assert_close(found[:, :5], encoder(words, torch.tensor([5])), atol=1e-5, rtol=1e-5)
    assert not found[:, 5:].any()


def test_words_pass_the_lstm_before_the_convolution() -> None:
    torch.manual_seed(0)
    encoder = WordEncoder(dimension=7, width=6).eval()
    assert encoder.convolution is not None
    words = drawn(1, 5, 7)
    remembered, _ = encoder.lstm(words)
    expected = encoder.convolution(remembered.transpose(1, 2)).transpose(1, 2)
    torch.testing.assert_close(encoder(words, torch.tensor([5])), expected)


def test_without_a_convolution_words_leave_as_the_lstm_gave_them() -> None:
    torch.manual_seed(0)
    encoder = WordEncoder(dimension=7, width=6, convolution="none", lstm_layers=2).eval()
    words = drawn(1, 5, 7)
    torch.testing.assert_close(encoder(words, torch.tensor([5])), encoder.lstm(words)[0])


@pytest.mark.parametrize(("kernel", "seen"), [(1, 1), (3, 2), (5, 3)])
def test_the_first_output_of_the_convolution_sees_half_a_kernel_ahead(kernel: int, seen: int) -> None:
    torch.manual_seed(0)
    words = drawn(1, 6, 7).requires_grad_()
    WordEncoder(dimension=7, width=6, kernel=kernel)(words, torch.tensor([6]))[0, 0].sum().backward()
    assert words.grad is not None
    assert words.grad.abs().sum(2)[0].gt(0).tolist() == [True] * seen + [False] * (6 - seen)


def test_mixed_in_time_every_step_sees_every_word_and_no_padding() -> None:
    torch.manual_seed(0)
    encoder = WordEncoder(dimension=7, width=6, convolution="time_mix", steps=9)
    words = drawn(1, 12, 7).requires_grad_()
    encoded = encoder(words, torch.tensor([5]))
    assert encoded.shape == (1, 9, 6)
    for step in range(9):
        (gradient,) = torch.autograd.grad(encoded[0, step].sum(), words, retain_graph=True)
        assert gradient.abs().sum(2)[0].gt(0).tolist() == [True] * 5 + [False] * 7
    torch.testing.assert_close(encoder(words[:, :5], torch.tensor([5])), encoded)


def test_mel_statistics_are_those_of_the_frames_of_each_step() -> None:
    encoder = MelStatistics(num_mels=3, frames_per_step=8)
    encoder.standardise.fit(torch.tensor([1.0, 0.0, -1.0]), torch.tensor([2.0, 1.0, 0.5]))
    mel, lengths = drawn(2, 21, 3), [21, 10]
    found = encoder(mel, torch.tensor(lengths), drawn(2, 4, 5))
    assert found.shape == (2, 4, 6)
    for row, length in enumerate(lengths):
        x = encoder.standardise(mel[row, :length]).double()
        for step in range(4):
            frames = x[8 * step : 8 * step + 8]
            if not len(frames):
                torch.testing.assert_close(found[row, step], torch.tensor([0.0] * 3 + [1e-5**0.5] * 3))
                continue
            expected = torch.cat([frames.mean(0), (frames.var(0, correction=0) + 1e-5).sqrt()])
            torch.testing.assert_close(found[row, step].double(), expected, atol=1e-4, rtol=1e-4)


def test_a_step_is_encoded_by_itself() -> None:
    torch.manual_seed(0)
    encoder = StepEncoder(5, 6, 8, input_dropout=0.5, dropout=0.5).eval()
    states, added = drawn(1, 4, 5), drawn(1, 4, 6, seed=1)
    whole = encoder(states, added)
    torch.testing.assert_close(encoder(states[:, 2:3], added[:, 2:3]), whole[:, 2:3])
