"""The lower layers of Whisper's encoder, run over an utterance at its own length, for bundles that read them.

Emotion is heard best half-way up: layers further up have turned voice into words. CTranslate2 gives the last layer
only, so the first few are run by ONNX Runtime, from the same weights, without a tail: a fraction of recognition's
work. Every utterance is run by itself, so that nothing is padded and no answer depends on batch mates.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import onnxruntime

from model.encoder_states import averaged, num_states
from model.errors import BundleInvalid
from model.whisper_spectrum import WhisperSpectrum

Array = npt.NDArray[np.float32]

_MOST_STATES: Final = 1_500
"""Whisper's positions end after 30 s; a longer utterance is read in pieces of that length."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LowerLayersConfig:
    """Which layers are read, and how often; part of the bundle."""

    layers: tuple[int, ...] = ()
    """Counted from one, of the six of Whisper base; none above the highest is run. Empty: only the last is read."""
    with_last: bool = True
    """Whether the recogniser's last layer stands before them; else they take its place."""
    layer_dimension: int = 512
    states_per_step: int = 4
    """States (50 a second) averaged into one step of the acoustic branch."""

    def __post_init__(self) -> None:
        if any(layer < 1 for layer in self.layers) or len(set(self.layers)) < len(self.layers):
            raise ValueError(f"lower layers {self.layers} are not numbers from 1 upwards, each once")
        if self.states_per_step < 1:
            raise ValueError(f"states_per_step {self.states_per_step} is less than 1")

    @property
    def dimension(self) -> int:
        """Length of a step: these layers side by side."""
        return len(self.layers) * self.layer_dimension


class LowerLayers:
    """Utterance in, states of some encoder layers out; safe to call from several threads."""

    def __init__(
        self,
        path: Path,
        *,
        config: LowerLayersConfig,
        threads: int = 1,
        providers: Sequence[str] = ("CPUExecutionProvider",),
    ) -> None:
        """Load the layers that were exported to ``path``.

        Raises:
            BundleInvalid: the file cannot be loaded.
        """
        self.config = config
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # Lengths differ from call to call; a pattern for each would only grow the arena.
        options.enable_mem_pattern = False
        # An arena would keep what half a minute of speech once took, for ever.
        options.enable_cpu_mem_arena = False
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=list(providers))
        except Exception as error:  # onnxruntime's errors share no public base class
            raise BundleInvalid(f"{path.name} cannot be loaded: {error}", value=str(path)) from error
        self._spectrum = WhisperSpectrum()

    def encode(self, samples: Array) -> Array:
        """Return the states (steps, dimension) of one utterance (samples,)."""
        total = num_states(len(samples))
        spectrum = self._spectrum(samples, 2 * total)
        pieces = [
            self._session.run(["states"], {"spectrum": spectrum[None, :, 2 * start : 2 * (start + _MOST_STATES)]})[0][0]
            for start in range(0, total, _MOST_STATES)
        ]
        return averaged(np.concatenate(pieces), states_per_step=self.config.states_per_step)


def load_lower_layers(
    path: Path, config: LowerLayersConfig, *, providers: Sequence[str] = ("CPUExecutionProvider",)
) -> LowerLayers | None:
    """Load the layers that a configuration names, if it names any.

    Raises:
        BundleInvalid: the file is missing or cannot be loaded.
    """
    return LowerLayers(path, config=config, providers=providers) if config.layers else None
