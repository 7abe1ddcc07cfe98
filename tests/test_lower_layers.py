from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from model.assets import AssetStore
from model.errors import BundleInvalid
from model.lower_layers import LowerLayers, LowerLayersConfig, load_lower_layers
from training.lower_layers import exported_lower_layers

Array = npt.NDArray[np.float32]

SECOND = 16_000
CONFIG = LowerLayersConfig(layers=(1, 2))


@pytest.fixture(scope="module")
def lower_layers(assets: AssetStore, tmp_path_factory: pytest.TempPathFactory) -> LowerLayers:
    folder = tmp_path_factory.mktemp("layers")
    path = exported_lower_layers(folder, whisper=assets.path("whisper-base"), layers=CONFIG.layers, name="whisper")
    return LowerLayers(path, config=CONFIG)


@pytest.fixture(scope="module")
def speech(recordings: Mapping[str, Array]) -> Array:
    return recordings["not_in_service"]


@pytest.mark.parametrize(("num_samples", "steps"), [(1, 1), (320, 1), (1_280, 1), (1_281, 2), (2 * SECOND, 25)])
def test_a_step_is_80_ms_of_the_utterance_and_nothing_after_it(
    lower_layers: LowerLayers, speech: Array, num_samples: int, steps: int
) -> None:
    states = lower_layers.encode(speech[:num_samples])
    assert states.shape == (steps, CONFIG.dimension)
    assert states.dtype == np.float32
    assert np.isfinite(states).all()


def test_silence_and_a_single_sample_have_states(lower_layers: LowerLayers) -> None:
    assert np.isfinite(lower_layers.encode(np.zeros(SECOND, dtype=np.float32))).all()


def test_an_utterance_longer_than_whispers_window_is_read_in_pieces(lower_layers: LowerLayers, speech: Array) -> None:
    window = 30 * SECOND
    long = np.tile(speech, -(-2 * window // len(speech)))[: window + 2 * SECOND]
    states = lower_layers.encode(long)
    assert len(states) == 375 + 25
    head = lower_layers.encode(long[:window])
    # Whisper's spectrum is scaled by the loudest moment of the whole; the rest is the same.
    assert np.corrcoef(states[:300].ravel(), head[:300].ravel())[0, 1] > 0.999


def test_threads_side_by_side_hear_the_same(lower_layers: LowerLayers, speech: Array) -> None:
    pieces = [speech[: (index + 1) * SECOND // 2] for index in range(4)]
    expected = [lower_layers.encode(piece) for piece in pieces]
    with ThreadPoolExecutor(4) as pool:
        for found, alone in zip(pool.map(lower_layers.encode, pieces), expected, strict=True):
            np.testing.assert_array_equal(found, alone)


def test_a_file_that_is_no_network_is_refused_by_its_name(tmp_path: Path) -> None:
    path = tmp_path / "lower_layers.onnx"
    path.write_bytes(b"not a network")
    with pytest.raises(BundleInvalid, match=r"lower_layers\.onnx cannot be loaded"):
        LowerLayers(path, config=CONFIG)


@pytest.mark.parametrize("changes", [{"layers": (0, 2)}, {"layers": (2, 2)}, {"states_per_step": 0}])
def test_layers_that_cannot_be_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"from 1 upwards|less than 1"):
        LowerLayersConfig(**changes)


def test_where_no_lower_layer_is_read_no_file_is_looked_for(tmp_path: Path) -> None:
    assert load_lower_layers(tmp_path / "missing.onnx", LowerLayersConfig()) is None
    with pytest.raises(BundleInvalid, match="missing"):
        load_lower_layers(tmp_path / "missing.onnx", CONFIG)
