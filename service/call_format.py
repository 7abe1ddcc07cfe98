"""How the sound of a live call is written: what a client says when it opens the stream."""

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from model.errors import StreamInvalid

Encoding = Literal["pcm16", "mulaw"]

_BYTES: Final = {"pcm16": 2, "mulaw": 1}


def _mulaw_levels() -> npt.NDArray[np.float32]:
    """Level of each of the 256 codes (ITU-T G.711)."""
    codes = ~np.arange(256, dtype=np.int32) & 0xFF
    magnitude = (((codes & 0x0F) << 3) + 0x84 << ((codes & 0x70) >> 4)) - 0x84
    levels: npt.NDArray[np.float32] = (np.where(codes & 0x80, -magnitude, magnitude) / 32_768).astype(np.float32)
    return levels


_MULAW: Final = _mulaw_levels()


@dataclass(frozen=True, kw_only=True, slots=True)
class CallFormat:
    """Frames of one sample a channel, interleaved."""

    encoding: Encoding
    sample_rate_hz: int
    channels: int

    @property
    def frame_bytes(self) -> int:
        """Bytes of one frame."""
        return _BYTES[self.encoding] * self.channels

    @property
    def second_bytes(self) -> int:
        """Bytes of one second."""
        return self.frame_bytes * self.sample_rate_hz

    def milliseconds(self, num_frames: int) -> int:
        """Length of frames, rounded down so that a client never skips what was not heard."""
        return num_frames * 1000 // self.sample_rate_hz

    def decode(self, data: bytes) -> npt.NDArray[np.float32]:
        """Return frames (frames, channels) in [-1, 1].

        Raises:
            StreamInvalid: they do not end with a frame.
        """
        if len(data) % self.frame_bytes:
            raise StreamInvalid("a binary message holds whole frames", value=len(data), limit=self.frame_bytes)
        if self.encoding == "mulaw":
            samples = _MULAW[np.frombuffer(data, np.uint8)]
        else:
            samples = np.frombuffer(data, "<i2").astype(np.float32) / np.float32(32_768)
        return samples.reshape(-1, self.channels)
