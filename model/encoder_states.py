"""States of Whisper's encoder, fifty a second: how many a sound has, and their average into steps."""

import math
from typing import Final

import numpy as np
import numpy.typing as npt

from model.whisper_spectrum import HOP_SAMPLES

Array = npt.NDArray[np.float32]

_SAMPLES_PER_STATE: Final = 2 * HOP_SAMPLES


def num_states(num_samples: int) -> int:
    """Return how many states stand over real sound: the last may reach beyond its end."""
    return max(1, math.ceil(num_samples / _SAMPLES_PER_STATE))


def averaged(states: Array, *, states_per_step: int) -> Array:
    """Average states (states, d) into steps (steps, d); the last may hold fewer."""
    starts = np.arange(0, len(states), states_per_step)
    counts = np.diff(np.append(starts, len(states)))
    steps: Array = (np.add.reduceat(states, starts, axis=0) / counts[:, None]).astype(np.float32)
    return steps
