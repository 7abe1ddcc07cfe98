"""Recurrent layers over padded sequences: padding is neither read nor counted, in either direction."""

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence


def run(layer: nn.GRU | nn.LSTM, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """Run ``layer`` over ``x`` (batch, steps, d) of ``lengths`` (batch,), each at least one.

    Returns its outputs (batch, steps, directions * h), zero beyond each length, and the last hidden state of each
    direction side by side (batch, directions * h).
    """
    packed = pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=False)
    outputs, hidden = layer(packed)
    padded, _ = pad_packed_sequence(outputs, batch_first=True, total_length=x.shape[1])
    last = hidden[0] if isinstance(layer, nn.LSTM) else hidden
    directions = 2 if layer.bidirectional else 1
    return padded, torch.cat(list(last[-directions:]), dim=-1)
