"""A recording of a few milliseconds, for trees of corpora."""

from pathlib import Path

import numpy as np
import soundfile


def record(path: Path) -> Path:
    """Write a WAV file of 4 ms, with its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.full(64, 0.25, dtype=np.float32), 16_000)
    return path
