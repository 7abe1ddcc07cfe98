"""A recording as the sound of a live call."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
import soundfile

from model.audio import SAMPLE_RATE_HZ, decode_audio
from model.listener import LIVE_RATES_HZ
from service.call_format import CallFormat

BLOCK_SECONDS: Final = 0.1
_LOSSLESS: Final = ("PCM_16", "ULAW", "PCM_U8", "PCM_S8", "ALAW")


def read_sound(path: Path) -> tuple[CallFormat, bytes]:
    """Read a recording as 16-bit frames: at its own rate where a live call takes that, at 16 kHz otherwise.

    Raises:
        AudioError: it cannot be used.
        OSError: the path cannot be read.
    """
    try:
        info = soundfile.info(path)
        is_live = info.samplerate in LIVE_RATES_HZ and info.channels <= 2 and info.subtype in _LOSSLESS
    except soundfile.LibsndfileError:
        is_live = False
    if is_live:
        samples, rate = soundfile.read(path, dtype="int16", always_2d=True)
    else:
        rate = SAMPLE_RATE_HZ
        samples = np.clip(np.round(decode_audio(path).samples.T * 32_768), -32_768, 32_767).astype("<i2")
    return CallFormat(encoding="pcm16", sample_rate_hz=rate, channels=samples.shape[1]), samples.tobytes()


def in_real_time(sound: bytes, call_format: CallFormat) -> Iterator[bytes]:
    """Yield blocks of 100 ms, each when it would have been spoken."""
    size = round(BLOCK_SECONDS * call_format.sample_rate_hz) * call_format.frame_bytes
    began = time.monotonic()
    for number, begin in enumerate(range(0, len(sound), size), start=1):
        time.sleep(max(0.0, began + number * BLOCK_SECONDS - time.monotonic()))
        yield sound[begin : begin + size]
