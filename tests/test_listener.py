from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
import soundfile

from model.audio import decode_audio
from model.listener import Listener
from model.segment import Utterance, find_utterances
from model.spans import SegmentConfig

Samples = npt.NDArray[np.float32]
CONFIG = SegmentConfig(min_silence_ms=800, speech_pad_ms=200, max_utterance_seconds=6.0)
RATE_HZ = 8_000


@pytest.fixture(scope="module")
def call(recordings: Mapping[str, Samples]) -> Samples:
    """Two sides at 8 kHz who take turns: (frames, 2)."""
    agent, customer = recordings["leave_a_message"][::2], recordings["not_in_service"][::2]
    pause = np.zeros(int(1.3 * RATE_HZ), np.float32)
    left = np.concatenate([agent, pause, pause, agent[: 2 * RATE_HZ], pause])
    right = np.concatenate([pause, customer, pause, pause, customer])
    longest = max(len(left), len(right))
    return np.stack([np.pad(side, (0, longest - len(side))) for side in (left, right)], axis=1)


def in_pieces(listener: Listener, frames: Samples, *, size: int = 160) -> list[Utterance]:
    return [found for begin in range(0, len(frames), size) for found in listener.push(frames[begin : begin + size])]


def times(utterances: list[Utterance]) -> list[tuple[int, int, int]]:
    return sorted((one.channel, one.start_ms, one.end_ms) for one in utterances)


def test_a_call_in_pieces_gives_the_utterances_of_its_recording(call: Samples, tmp_path: object) -> None:
    path = f"{tmp_path}/call.wav"
    soundfile.write(path, call, RATE_HZ, subtype="FLOAT")
    with open(path, "rb") as file:
        recording = decode_audio(file.read())
    expected = find_utterances(recording, config=CONFIG)
    listener = Listener(CONFIG, sample_rate_hz=RATE_HZ, channels=2)
    found = in_pieces(listener, call) + listener.finish()
    assert len(expected) >= 4
    assert times(found) == times(expected)
    key = {(one.channel, one.start_ms): one.samples for one in expected}
    for one in found:
        np.testing.assert_allclose(one.samples, key[one.channel, one.start_ms], atol=1e-6)


@pytest.mark.parametrize("cut_seconds", [0.5, 3.21, 7.9])
def test_who_goes_on_elsewhere_hears_the_same(call: Samples, cut_seconds: float) -> None:
    alone = Listener(CONFIG, sample_rate_hz=RATE_HZ, channels=2)
    expected = in_pieces(alone, call) + alone.finish()
    cut = int(cut_seconds * RATE_HZ)
    before = Listener(CONFIG, sample_rate_hz=RATE_HZ, channels=2)
    found = in_pieces(before, call[:cut])
    first = before.earliest_frame
    after = Listener.resumed(CONFIG, before.to_json(), call[first:cut], first_frame=first, sample_rate_hz=RATE_HZ)
    assert after.num_frames == before.num_frames
    found += in_pieces(after, call[cut:], size=777) + after.finish()
    assert times(found) == times(expected)
    key = {(one.channel, one.start_ms): one.samples for one in expected}
    for one in found:
        np.testing.assert_allclose(one.samples, key[one.channel, one.start_ms], atol=1e-5)


def test_silence_and_what_is_over_are_not_kept() -> None:
    listener = Listener(CONFIG, sample_rate_hz=16_000, channels=1)
    in_pieces(listener, np.zeros((30 * 16_000, 1), np.float32), size=1600)
    assert listener.earliest_frame > 29 * 16_000


def test_what_is_expected_in_a_pause_is_the_utterance_that_comes(call: Samples) -> None:
    listener = Listener(replace(CONFIG, max_utterance_seconds=20.0), sample_rate_hz=RATE_HZ, channels=2)
    expected: dict[tuple[int, int], Samples] = {}
    found: list[Utterance] = []
    for begin in range(0, len(call), 160):
        found += listener.push(call[begin : begin + 160])
        for speaking in listener.speaking:
            if speaking.expected is not None:
                one = listener.cut(speaking.channel, speaking.expected)
                expected[one.channel, one.start_ms] = one.samples
    assert len(found) >= 2
    for one in found:
        np.testing.assert_array_equal(one.samples, expected[one.channel, one.start_ms])


def test_another_sample_rate_is_refused() -> None:
    with pytest.raises(ValueError, match="44100"):
        Listener(CONFIG, sample_rate_hz=44_100, channels=1)
