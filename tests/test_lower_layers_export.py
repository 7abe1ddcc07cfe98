import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import pytest
import torch
from transformers import WhisperConfig
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from model.assets import AssetStore
from model.ctranslate2_weights import read_weights
from model.errors import AssetInvalid
from training.lower_layers import LowerLayersNetwork, exported_lower_layers

SIZE, HEADS, LAYERS = 16, 2, 3


@pytest.fixture(scope="module")
def encoder() -> WhisperEncoder:
    """A small Whisper of the reference implementation, drawn at random."""
    torch.manual_seed(0)
    config = WhisperConfig(
        d_model=SIZE,
        encoder_layers=LAYERS,
        encoder_attention_heads=HEADS,
        encoder_ffn_dim=32,
        num_mel_bins=80,
        max_source_positions=50,
    )
    built: WhisperEncoder = WhisperEncoder(config).eval()  # type: ignore[no-untyped-call]
    return built


def in_ctranslate2s_names(encoder: WhisperEncoder) -> Mapping[str, npt.NDArray[Any]]:
    state = {name: tensor.detach().numpy() for name, tensor in encoder.state_dict().items()}
    weights = {"encoder/position_encodings/encodings": state["embed_positions.weight"]}
    for number in (1, 2):
        weights |= {f"encoder/conv{number}/{part}": state[f"conv{number}.{part}"] for part in ("weight", "bias")}
    for layer in range(LAYERS):
        ours, theirs = f"encoder/layer_{layer}", f"layers.{layer}"
        attention = f"{theirs}.self_attn"
        joined = [state[f"{attention}.{name}_proj.weight"] for name in "qkv"]
        weights[f"{ours}/self_attention/linear_0/weight"] = np.concatenate(joined)
        # The key has no bias; CTranslate2 writes zeros for it.
        biases = [state[f"{attention}.q_proj.bias"], np.zeros(SIZE, np.float32), state[f"{attention}.v_proj.bias"]]
        weights[f"{ours}/self_attention/linear_0/bias"] = np.concatenate(biases)
        for part in ("weight", "bias"):
            weights[f"{ours}/self_attention/linear_1/{part}"] = state[f"{attention}.out_proj.{part}"]
            weights[f"{ours}/ffn/linear_0/{part}"] = state[f"{theirs}.fc1.{part}"]
            weights[f"{ours}/ffn/linear_1/{part}"] = state[f"{theirs}.fc2.{part}"]
        for part, name in (("gamma", "weight"), ("beta", "bias")):
            weights[f"{ours}/self_attention/layer_norm/{part}"] = state[f"{theirs}.self_attn_layer_norm.{name}"]
            weights[f"{ours}/ffn/layer_norm/{part}"] = state[f"{theirs}.final_layer_norm.{name}"]
    return weights


def test_the_layers_are_those_of_the_reference_implementation(encoder: WhisperEncoder) -> None:
    spectrum = torch.randn(2, 80, 100, generator=torch.Generator().manual_seed(1))
    network = LowerLayersNetwork(in_ctranslate2s_names(encoder), layers=(1, 2), heads=HEADS).eval()
    with torch.inference_mode():
        expected = encoder(spectrum, output_hidden_states=True).hidden_states
        found = network(spectrum)
    torch.testing.assert_close(found, torch.cat([expected[1], expected[2]], dim=-1), atol=1e-5, rtol=1e-4)


def test_the_exported_file_gives_what_the_weights_give_and_is_written_once(assets: AssetStore, tmp_path: Path) -> None:
    whisper = assets.path("whisper-base")
    layers = (1, 3)
    path = exported_lower_layers(tmp_path, whisper=whisper, layers=layers, name="whisper")
    before = path.stat().st_mtime_ns
    assert exported_lower_layers(tmp_path, whisper=whisper, layers=layers, name="whisper") == path
    assert path.stat().st_mtime_ns == before
    spectrum = np.random.default_rng(0).normal(0, 0.5, (1, 80, 120)).astype(np.float32)
    network = LowerLayersNetwork(read_weights(whisper / "model.bin"), layers=layers).eval()
    with torch.inference_mode():
        expected = network(torch.from_numpy(spectrum)).numpy()
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (found,) = session.run(["states"], {"spectrum": spectrum})
    assert np.abs(found - expected).max() < 1e-3 * np.abs(expected).max()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x06\x00",
        struct.pack("<IH", 6, 5) + b"Bert\0",
        struct.pack("<IH", 5, 12) + b"WhisperSpec\0",
        struct.pack("<IH", 6, 3) + b"\xff\xfe\0",
    ],
    ids=["empty", "cut", "another model", "another format", "no text"],
)
def test_what_is_no_whisper_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.bin").write_bytes(content)
    with pytest.raises(AssetInvalid, match=r"model|weights"):
        read_weights(tmp_path / "model.bin")


def test_weights_that_lack_a_layer_are_refused_by_its_name(encoder: WhisperEncoder) -> None:
    with pytest.raises(AssetInvalid, match="layer_3"):
        LowerLayersNetwork(in_ctranslate2s_names(encoder), layers=(4,), heads=HEADS)
