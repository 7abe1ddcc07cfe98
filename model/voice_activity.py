"""Speech probability of every window of 32 ms, as Silero hears it; a whole recording at once, or as it comes in."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from faster_whisper.vad import get_vad_model

from model.audio import SAMPLE_RATE_HZ

Array = npt.NDArray[np.float32]

SAMPLES_PER_MS: Final = SAMPLE_RATE_HZ // 1000
WINDOW_SAMPLES: Final = 512
_CONTEXT_SAMPLES: Final = 64
_STATE_SIZE: Final = 128
_MAX_WINDOWS: Final = 10_000
"""In one call of the network, as in faster-whisper: bounds the memory."""


@dataclass(frozen=True, kw_only=True, slots=True)
class VoiceActivityState:
    """What has to be known of the sound before, to go on.

    memory: (2, 128) of the recurrent layer; context: (64,) the end of the last window; rest: fewer samples than a
    window has.
    """

    memory: Array
    context: Array
    rest: Array


class VoiceActivity:
    """Silero over one channel at 16 kHz. In pieces of any length it hears what it hears at once."""

    def __init__(self, state: VoiceActivityState | None = None) -> None:
        self._session = get_vad_model().session
        self._state = state or VoiceActivityState(
            memory=np.zeros((2, _STATE_SIZE), np.float32),
            context=np.zeros(_CONTEXT_SAMPLES, np.float32),
            rest=np.zeros(0, np.float32),
        )

    @property
    def state(self) -> VoiceActivityState:
        """What :class:`VoiceActivity` takes to go on from here."""
        return self._state

    def push(self, samples: Array) -> Array:
        """Hear more samples (samples,); return the probabilities (windows,) of the windows that are full now."""
        samples = np.concatenate([self._state.rest, samples]) if len(self._state.rest) else samples
        num_windows = len(samples) // WINDOW_SAMPLES
        whole, rest = np.split(samples, [num_windows * WINDOW_SAMPLES])
        found = [self._run(block) for block in _blocks(whole.reshape(-1, WINDOW_SAMPLES))]
        self._state = VoiceActivityState(memory=self._state.memory, context=self._state.context, rest=rest.copy())
        return np.concatenate(found) if found else np.zeros(0, np.float32)

    def finish(self) -> Array:
        """Return the probability (1,) of the last window, filled up with silence; nothing can be pushed any more."""
        window = np.zeros(WINDOW_SAMPLES, np.float32)
        window[: len(self._state.rest)] = self._state.rest
        # faster-whisper does so, and what was trained on its cuts is served with the same.
        window[-_CONTEXT_SAMPLES:] = 0.0
        return self._run(window[None])

    def _run(self, windows: Array) -> Array:
        """Probabilities (windows,) of (windows, 512)."""
        contexts = np.concatenate([self._state.context[None], windows[:-1, -_CONTEXT_SAMPLES:]])
        memory = self._state.memory[:, None, None]
        found, h, c = self._session.run(
            None, {"input": np.concatenate([contexts, windows], axis=1), "h": memory[0], "c": memory[1]}
        )
        self._state = VoiceActivityState(
            memory=np.stack([h.reshape(-1), c.reshape(-1)]),
            context=windows[-1, -_CONTEXT_SAMPLES:].copy(),
            rest=self._state.rest,
        )
        probabilities: Array = found.reshape(-1)
        return probabilities


def _blocks(windows: Array) -> list[Array]:
    return [windows[begin : begin + _MAX_WINDOWS] for begin in range(0, len(windows), _MAX_WINDOWS)]
