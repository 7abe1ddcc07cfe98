"""A call whose every turn is known: real clips of two sides on a channel each, placed to the millisecond."""

import io
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import librosa
import numpy as np
import soundfile
import soxr

from bench.workbench import Workbench
from model.audio import SAMPLE_RATE_HZ, decode_audio
from model.bundle import read_facts
from model.features import Array
from training.corpora.manifest import Clip
from training.word_times import WordAligner

ROLES: Final = ("agent", "customer")

_TELEPHONE_HZ: Final = 8000
_TRIM_DB: Final = 30
_LONGEST_TURN_SECONDS: Final = 20.0
_KNOWN_MS: Final = 150
_LONGEST_CHARACTER_MS: Final = 400
_ACTED: Final = ("liuchanhg", "wangzhe")
_SPONTANEOUS: Final = 0.25
_INTERRUPTED: Final = 0.15
_NOISE: Final = 3e-4
_OWN_PAUSE_MS: Final = 2600
"""At least, between two turns of one side: what is closer is one utterance."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Turn:
    """One side speaks. emotion: as acted; None where it is spontaneous. interrupts: begun on purpose too early."""

    channel: int
    start_ms: int
    end_ms: int
    emotion: str | None
    interrupts: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Call:
    """A recording (WAV, mu-law, 8 kHz, two channels) and all that is known of it, in order of time."""

    audio: bytes
    duration_ms: int
    turns: Sequence[Turn]


def composed(workbench: Workbench, *, seconds: int = 600, seed: int = 0) -> Call:
    """Let two sides take turns, the same in every run: acted clips of one emotion, or spontaneous speech."""
    draw = random.Random(seed)  # noqa: S311 - a fixed choice of clips
    sides = [_sounds(workbench, channel, draw) for channel in range(len(ROLES))]
    duration_ms = seconds * 1000
    samples = np.random.default_rng(seed).normal(0, _NOISE, (len(ROLES), seconds * SAMPLE_RATE_HZ)).astype(np.float32)
    turns: list[Turn] = []
    free_from = [500] * len(ROLES)
    while True:
        channel = len(turns) % len(ROLES)
        sound, emotion = next(sides[channel])
        start, interrupts = _start_of(turns, free_from[channel], draw)
        end = start + len(sound) * 1000 // SAMPLE_RATE_HZ
        if end > duration_ms - 500:
            break
        turns.append(Turn(channel=channel, start_ms=start, end_ms=end, emotion=emotion, interrupts=interrupts))
        begin = start * SAMPLE_RATE_HZ // 1000
        samples[channel, begin : begin + len(sound)] += sound
        free_from[channel] = end + _OWN_PAUSE_MS
    return Call(audio=_as_telephone(samples), duration_ms=duration_ms, turns=turns)


def _start_of(turns: Sequence[Turn], free_from: int, draw: random.Random) -> tuple[int, bool]:
    """When the next turn begins, and whether it interrupts the last."""
    if not turns:
        return free_from, False
    last = turns[-1]
    early = last.end_ms - draw.randint(700, 1200)
    if draw.random() < _INTERRUPTED and early > max(free_from, last.start_ms + 1000):
        return early, True
    return max(free_from, last.end_ms + draw.randint(400, 1200)), False


def _sounds(workbench: Workbench, channel: int, draw: random.Random) -> Iterator[tuple[Array, str | None]]:
    """What one side says: clips (samples,) without the silence around them, each once before any comes again."""
    acted = [clip for clip in workbench.clips("casia") if clip.speaker == _ACTED[channel]]
    spontaneous = _with_known_times(workbench)[channel :: len(ROLES)]
    decks: dict[bool, list[Clip]] = {True: [], False: []}
    while True:
        is_spontaneous = draw.random() < _SPONTANEOUS
        if not decks[is_spontaneous]:
            whole = spontaneous if is_spontaneous else acted
            decks[is_spontaneous] = draw.sample(whole, len(whole))
        clip = decks[is_spontaneous].pop()
        assert clip.audio is not None
        yield _without_silence(decode_audio(clip.audio).samples[0]), clip.emotion


def _with_known_times(workbench: Workbench) -> list[Clip]:
    """Return the spontaneous clips of which level and transcript say alike when their speech begins and ends.

    The transcript is a person's; Whisper's attention says when its characters are said. Breath and background are loud
    as well, and neither way asks voice activity, which is what is judged.
    """
    speech = read_facts(workbench.bundle)[0].features.speech
    aligner = WordAligner(workbench.assets.path(speech.asset), config=speech)
    return [clip for clip in workbench.clips("spontaneous_zh") if _is_known(clip, aligner)]


def _is_known(clip: Clip, aligner: WordAligner) -> bool:
    assert clip.audio is not None
    samples = decode_audio(clip.audio).samples[0]
    said = re.findall(r"[\u4e00-\u9fff]", clip.text or "")
    if not said or len(samples) > _LONGEST_TURN_SECONDS * SAMPLE_RATE_HZ:
        return False
    times_ms = aligner.spans(samples, clip.text or "", said) * (len(samples) * 1000 / SAMPLE_RATE_HZ)
    # The path of the alignment begins with the sound, whenever the first character is said.
    begin_ms = max(times_ms[0][0], times_ms[0][1] - _LONGEST_CHARACTER_MS)
    loud_ms = np.array(_loud(samples)) * 1000 / SAMPLE_RATE_HZ
    return bool(np.abs(loud_ms - (begin_ms, times_ms[-1][1])).max() <= _KNOWN_MS)


def _without_silence(samples: Array) -> Array:
    begin, end = _loud(samples)
    return samples[begin:end]


def _loud(samples: Array) -> tuple[int, int]:
    """From the first to the last sample that is loud, by level alone."""
    loud = librosa.effects.split(samples, top_db=_TRIM_DB, frame_length=512, hop_length=128)
    return int(loud[0][0]), int(loud[-1][1])


def _as_telephone(samples: Array) -> bytes:
    buffer = io.BytesIO()
    narrow = soxr.resample(samples.T, SAMPLE_RATE_HZ, _TELEPHONE_HZ)
    soundfile.write(buffer, np.clip(narrow, -1, 1), _TELEPHONE_HZ, format="WAV", subtype="ULAW")
    return buffer.getvalue()
