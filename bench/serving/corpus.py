"""What is posted: real recordings with what is said in them, drawn and joined the same way in every run."""

import io
import random

import numpy as np
import soundfile

from bench.serving.load import Recorded
from bench.workbench import Workbench
from model.audio import SAMPLE_RATE_HZ, decode_audio
from model.features import Array
from training.corpora.manifest import Clip


def recordings(workbench: Workbench, corpus: str, *, number: int, seed: int = 0) -> list[Recorded]:
    """Draw ``number`` clips of a corpus, each once before any is drawn again."""
    clips = [clip for clip in workbench.clips(corpus) if clip.audio is not None]
    draw = random.Random(seed)  # noqa: S311 - a fixed choice of clips
    drawn: list[Clip] = []
    while len(drawn) < number:
        drawn += draw.sample(clips, min(len(clips), number - len(drawn)))
    return [_recorded(clip) for clip in drawn]


def joined(workbench: Workbench, corpus: str, *, seconds: float, pause_seconds: float = 1.0) -> Recorded:
    """Return :func:`joined_samples` as one recording."""
    return _as_wav(joined_samples(workbench, corpus, seconds=seconds, pause_seconds=pause_seconds))


def joined_samples(workbench: Workbench, corpus: str, *, seconds: float, pause_seconds: float) -> Array:
    """Join all clips of a corpus, repeated with pauses, to samples (samples,) of ``seconds``."""
    pause = np.zeros(round(pause_seconds * SAMPLE_RATE_HZ), dtype=np.float32)
    sounds = [decode_audio(clip.audio).samples[0] for clip in workbench.clips(corpus) if clip.audio is not None]
    parts: list[Array] = []
    length = 0
    while length < seconds * SAMPLE_RATE_HZ:
        for sound in sounds:
            parts += [sound, pause]
            length += len(sound) + len(pause)
    return np.concatenate(parts)[: round(seconds * SAMPLE_RATE_HZ)]


def cut(workbench: Workbench, corpus: str, *, seconds: float, number: int) -> list[Recorded]:
    """Cut ``number`` pieces of ``seconds`` out of what is spoken in a corpus, one after the other."""
    whole: list[Array] = []
    needed = round(seconds * SAMPLE_RATE_HZ)
    sounds = [decode_audio(clip.audio).samples[0] for clip in workbench.clips(corpus) if clip.audio is not None]
    while sum(map(len, whole)) < needed * number:
        whole += sounds
    samples = np.concatenate(whole)
    return [_as_wav(samples[index * needed : (index + 1) * needed]) for index in range(number)]


def _as_wav(samples: Array) -> Recorded:
    """Write samples (samples,) as 16-bit WAV."""
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, SAMPLE_RATE_HZ, format="WAV", subtype="PCM_16")
    return Recorded(name="recording.wav", audio=buffer.getvalue(), seconds=len(samples) / SAMPLE_RATE_HZ)


def _recorded(clip: Clip) -> Recorded:
    assert clip.audio is not None
    audio = clip.audio.read_bytes()
    return Recorded(
        name=clip.audio.name, audio=audio, seconds=soundfile.info(io.BytesIO(audio)).duration, text=clip.text or ""
    )
