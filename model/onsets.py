"""Where a listener would say that speech begins: by its level, for voice activity takes up to 0.6 s to be sure."""

from typing import Final

import numpy as np
import numpy.typing as npt

from model.audio import SAMPLE_RATE_HZ

_FRAME: Final = SAMPLE_RATE_HZ // 100
_SOFT_DB: Final = 30.0
"""Below the loud parts of an utterance; softer sound belongs to no speech."""
_ABOVE_NOISE_DB: Final = 10.0
_SHORT_GAP_FRAMES: Final = 20
_SILENT: Final = 1e-12


def heard_between(window: npt.NDArray[np.float32], *, start: int, end: int, is_last: bool) -> tuple[int, int]:
    """Return the sample at which speech is heard to begin, and that at which it ends, counted within the window.

    window: (samples,) around one utterance. start, end: what voice activity is sure of. is_last: the channel ends with
        it, maybe in a pause, which voice activity takes for speech as well.
    """
    frames = window[: len(window) // _FRAME * _FRAME].reshape(-1, _FRAME)
    if not len(frames):
        return start, end
    levels_db = 10 * np.log10(np.mean(np.square(frames), axis=1) + _SILENT)
    loud = levels_db > max(np.quantile(levels_db, 0.9) - _SOFT_DB, np.quantile(levels_db, 0.05) + _ABOVE_NOISE_DB)
    onset = start // _FRAME
    for frame in np.flatnonzero(loud[:onset])[::-1]:
        if onset - frame > _SHORT_GAP_FRAMES:
            break
        onset = frame
    heard_end = end
    if is_last and loud.any():
        heard_end = (int(np.flatnonzero(loud)[-1]) + 1) * _FRAME
    return min(start, int(onset) * _FRAME), max(heard_end, start + _FRAME)
