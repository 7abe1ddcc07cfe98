"""Whisper's lower encoder layers from CTranslate2's weights to ONNX (Radford et al. 2022, §2.2)."""

import os
import tempfile
import warnings
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn

from model.ctranslate2_weights import Weights, read_weights
from model.errors import AssetInvalid
from training.half_precision import keep_in_half

_HEADS: Final = 8
_MELS: Final = 80


class LowerLayersNetwork(nn.Module):
    """Spectrum (batch, mels, frames) -> states (batch, frames / 2, layers * d) of some layers, side by side."""

    def __init__(self, weights: Weights, *, layers: tuple[int, ...], heads: int = _HEADS) -> None:
        super().__init__()
        self.read = frozenset(layers)
        self.convolution1 = _filled(nn.Conv1d, weights, "encoder/conv1", padding=1)
        self.convolution2 = _filled(nn.Conv1d, weights, "encoder/conv2", padding=1, stride=2)
        self.register_buffer("positions", _tensor(weights, "encoder/position_encodings/encodings"))
        self.layers = nn.ModuleList(
            EncoderLayer(weights, f"encoder/layer_{index}", heads) for index in range(max(layers))
        )

    def forward(self, spectrum: Tensor) -> Tensor:
        """Run the layers up to the highest that is read."""
        x = nn.functional.gelu(self.convolution1(spectrum))
        x = nn.functional.gelu(self.convolution2(x)).transpose(1, 2)
        x = x + self.get_buffer("positions")[: x.shape[1]]
        found = []
        for number, layer in enumerate(self.layers, start=1):
            x = layer(x)
            if number in self.read:
                found.append(x)
        return torch.cat(found, dim=-1)


class EncoderLayer(nn.Module):
    """Self-attention and feed-forward, each behind a LayerNorm and added to what came in."""

    def __init__(self, weights: Weights, prefix: str, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm = _norm(weights, f"{prefix}/self_attention/layer_norm")
        self.query_key_value = _filled(nn.Linear, weights, f"{prefix}/self_attention/linear_0")
        self.attended = _filled(nn.Linear, weights, f"{prefix}/self_attention/linear_1")
        self.forward_norm = _norm(weights, f"{prefix}/ffn/layer_norm")
        self.wide = _filled(nn.Linear, weights, f"{prefix}/ffn/linear_0")
        self.narrow = _filled(nn.Linear, weights, f"{prefix}/ffn/linear_1")

    def forward(self, x: Tensor) -> Tensor:
        """Transform (batch, states, d)."""
        batch, states, size = x.shape
        joined = self.query_key_value(self.attention_norm(x))
        query, key, value = (
            part.reshape(batch, states, self.heads, size // self.heads).transpose(1, 2)
            for part in joined.split(size, dim=-1)
        )
        scores = (query * (size // self.heads) ** -0.5) @ key.transpose(-1, -2)
        heard = (torch.softmax(scores, dim=-1) @ value).transpose(1, 2).reshape(batch, states, size)
        x = x + self.attended(heard)
        widened: Tensor = self.narrow(nn.functional.gelu(self.wide(self.forward_norm(x))))
        return x + widened


def exported_lower_layers(directory: Path, *, whisper: Path, layers: tuple[int, ...], name: str) -> Path:
    """Return the ONNX file of these layers below ``directory``, written when it is not there yet.

    whisper: folder of a Whisper in CTranslate2's format. name: tells one Whisper's file from another's.

    Raises:
        AssetInvalid: the weights are not those of a Whisper.
    """
    path = directory / f"{name}-{'-'.join(map(str, layers))}.onnx"
    if not path.is_file():
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=directory) as folder:
            draft = Path(folder) / path.name
            _export(LowerLayersNetwork(read_weights(whisper / "model.bin"), layers=layers).eval(), draft)
            os.replace(draft, path)
    return path


def _tensor(weights: Weights, name: str) -> Tensor:
    if name not in weights:
        raise AssetInvalid(f"the weights have no {name}", value=name)
    return torch.from_numpy(weights[name].astype(np.float32))


def _filled(kind: type[nn.Conv1d] | type[nn.Linear], weights: Weights, name: str, **options: int) -> nn.Module:
    """Build a layer as large as its weights, and give it them."""
    weight = _tensor(weights, f"{name}/weight")
    layer = kind(weight.shape[1], weight.shape[0], *weight.shape[2:], **options)  # type: ignore[arg-type]
    layer.weight = nn.Parameter(weight)
    layer.bias = nn.Parameter(_tensor(weights, f"{name}/bias"))
    return layer


def _norm(weights: Weights, name: str) -> nn.LayerNorm:
    gamma = _tensor(weights, f"{name}/gamma")
    norm = nn.LayerNorm(len(gamma))
    norm.weight, norm.bias = nn.Parameter(gamma), nn.Parameter(_tensor(weights, f"{name}/beta"))
    return norm


def _export(network: LowerLayersNetwork, path: Path) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning)  # see training.export
        warnings.filterwarnings("ignore", category=torch.jit._trace.TracerWarning)
        torch.onnx.export(
            network,
            (torch.zeros(2, _MELS, 100),),
            str(path),
            input_names=["spectrum"],
            output_names=["states"],
            dynamic_axes={"spectrum": {0: "batch", 2: "frames"}, "states": {0: "batch", 1: "states"}},
            opset_version=17,
            dynamo=False,
        )
    keep_in_half(path)  # which is what the weights came in
