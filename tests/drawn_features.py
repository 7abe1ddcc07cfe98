"""Features, examples and networks drawn at random: what most tests of the network and its training need."""

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from model.features import FeatureConfig, Features, collate
from model.network import NetworkConfig, VcemoNetwork
from model.ngrams import Ngrams
from model.speaker import SpeakerStatistics
from training.corpora.manifest import Clip
from training.feature_cache import Example

# Networks this small gain nothing from threads, and lose much where others use the processors.
torch.set_num_threads(1)

FEATURES = FeatureConfig()
SMALL: dict[str, Any] = {"width": 16, "heads": 2, "layers": 1, "conv_channels": (4, 4, 8), "fusion_steps": 8}
PRESETS: tuple[Literal["paper"], Literal["whisper"]] = ("paper", "whisper")


def drawn_features(
    generator: np.random.Generator,
    *,
    frames: int = 60,
    steps: int = 8,
    words: int = 4,
    shift: float = 0.0,
    known_speaker: bool = False,
    config: FeatureConfig = FEATURES,
) -> Features:
    """Draw every modality; the text is left out where ``words`` is zero, the sound where ``frames`` is.

    known_speaker: whether some seconds of a voice that is louder and livelier than the others were heard.
    """

    def normal(*shape: int) -> npt.NDArray[np.float32]:
        return (generator.normal(size=shape) + shift).astype(np.float32)

    drawn = Features(
        mel=normal(frames, FEATURES.mel.num_mels) if frames else None,
        states=normal(steps, config.step_dimension) if frames else None,
        words=normal(words, FEATURES.words.dimension) if words else None,
        sentence=normal(FEATURES.sentence.dimension) if words else None,
        ngrams=drawn_ngrams(generator, number=3 * words) if words else None,
    )
    if known_speaker:
        heard = SpeakerStatistics.of(
            mel=normal(300, FEATURES.mel.num_mels) * 2 + 1, states=normal(40, config.step_dimension) * 2 + 1
        )
        return replace(drawn, speaker=heard)
    return drawn


def drawn_ngrams(generator: np.random.Generator, *, number: int) -> Ngrams:
    return Ngrams(
        buckets=generator.integers(0, FEATURES.ngrams.buckets, number),
        weights=1 + generator.random(number, dtype=np.float32),
    )


def features_of_every_kind(generator: np.random.Generator, config: FeatureConfig = FEATURES) -> list[Features]:
    """Draw several lengths, longer and shorter than the fusion's steps, each modality missing, and speakers known."""
    return [
        drawn_features(generator, frames=1, steps=1, words=1, config=config),
        drawn_features(generator, frames=37, steps=5, words=3, known_speaker=True, config=config),
        drawn_features(generator, frames=90, steps=23, words=90, config=config),
        drawn_features(generator, frames=50, steps=12, words=0, known_speaker=True, config=config),
        drawn_features(generator, frames=0, words=7, config=config),
    ]


def tensors_of(batch: list[Features]) -> dict[str, Tensor]:
    return {name: torch.from_numpy(array) for name, array in collate(batch, config=FEATURES).items()}


def small_network(preset: Literal["paper", "whisper"], *, seed: int = 0, **changes: Any) -> VcemoNetwork:
    torch.manual_seed(seed)
    return VcemoNetwork(NetworkConfig.preset_named(preset, **(SMALL | changes))).eval()


def lived_in(network: VcemoNetwork) -> VcemoNetwork:
    """Move everything away from where it was born, so that no zero hides a mistake."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        network.absent.normal_(generator=generator)
        for name, buffer in network.named_buffers():
            if buffer.is_floating_point():
                # Batch norm reads small numbers: after larger means nothing would be left above zero.
                lowest, spread = (0.0, 0.1) if name.endswith("running_mean") else (0.5, 1.0)
                buffer.copy_(torch.rand(buffer.shape, generator=generator) * spread + lowest)
    return network


def drawn_example(
    features: Features,
    *,
    key: str,
    emotion: str | None = "happy",
    speaker: str = "anna",
    corpus: str = "casia",
    seconds: float = 2.0,
    sentence: str | None = None,
) -> Example:
    clip = Clip(
        key=key,
        corpus=corpus,
        audio=Path(f"{key}.wav"),
        emotion=emotion,
        speaker=speaker,
        sentence=sentence,
        text=None,
        language="zh",
    )
    return Example(clip=clip, features=features, seconds=seconds, transcript="", transcript_status="ok")
