"""Pre-trained audio encoders through transformers: HuBERT, WavLM, and emotion2vec once converted to data2vec."""

from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
import transformers

from model.errors import AssetMissing
from training.frames import Array, FrameConfig, averaged

FRAMES_PER_SECOND: Final = 50
_LEAST_SAMPLES: Final = 400
"""One window of the encoders' convolutions."""


class AudioEncoder:
    """A frozen encoder of waveforms: utterance in, one hidden layer's states out."""

    def __init__(self, network: Any, *, config: FrameConfig) -> None:
        """Take a ``transformers`` model that reads ``input_values`` and gives ``hidden_states``.

        Raises:
            ValueError: its states are not as long as ``config`` says, or it has no such layer.
        """
        size, layers = network.config.hidden_size, network.config.num_hidden_layers
        if size != config.encoder_dimension:
            raise ValueError(f"{config.encoder} has states of {size}, not encoder_dimension {config.encoder_dimension}")
        if not -layers - 1 <= config.layer <= layers:
            raise ValueError(f"layer {config.layer} of {config.encoder}, which has {layers}")
        self._network = network.eval()
        self._config = config

    @classmethod
    def load(cls, config: FrameConfig) -> "AudioEncoder":
        """Load ``config.encoder``, a folder or a name on the hub: ``facebook/hubert-base-ls960``, say.

        emotion2vec is published in FunASR's format: give the folder of a conversion to ``Data2VecAudioModel``.

        Raises:
            AssetMissing: it is neither there nor to be had.
        """
        try:
            network = transformers.AutoModel.from_pretrained(config.encoder)
        except (OSError, ValueError) as error:
            kind = "folder" if Path(config.encoder).exists() else "folder or hub"
            raise AssetMissing(
                f"no audio encoder {config.encoder} in that {kind}: {error}", value=config.encoder
            ) from error
        return cls(network, config=config)

    def frames(self, samples: Array) -> Array:
        """Return the states (frames, encoder_dimension) of one utterance (samples,) at 16 kHz, without padding."""
        scaled = (samples - samples.mean()) / np.sqrt(samples.var() + 1e-7)
        padded = np.pad(scaled, (0, max(0, _LEAST_SAMPLES - len(scaled)))).astype(np.float32)
        with torch.inference_mode():
            found = self._network(torch.from_numpy(padded)[None], output_hidden_states=True)
        states: npt.NDArray[np.float32] = found.hidden_states[self._config.layer][0].float().numpy()
        return averaged(states, self._config.average)
