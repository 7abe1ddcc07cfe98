from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from typing import Any

import librosa
import numpy as np
import numpy.typing as npt
import pytest
from conftest import MandarinClip

from model.audio import Recording
from model.errors import TooManyUtterances
from model.segment import (
    Speech,
    Utterance,
    find_speech,
    find_speech_in_pieces,
    find_utterances,
)
from model.spans import SegmentConfig

Samples = npt.NDArray[np.float32]

# Its own, so that tuning the default changes no test.
CONFIG = SegmentConfig(min_speech_ms=150, min_silence_ms=800, speech_pad_ms=200, max_utterance_seconds=20.0)


def recording_of(*channels: Samples) -> Recording:
    longest = max(len(samples) for samples in channels)
    padded = np.stack([np.pad(samples, (0, longest - len(samples))) for samples in channels])
    return Recording(samples=padded, source_sample_rate_hz=16_000, source_channels=len(channels), clipped=False)


def found_in(recording: Recording, **changes: Any) -> list[Utterance]:
    return find_utterances(recording, config=replace(CONFIG, **changes))


def silence(seconds: float) -> Samples:
    return np.zeros(int(seconds * 16_000), dtype=np.float32)


@pytest.fixture(scope="module")
def burst(recordings: Mapping[str, Samples]) -> Samples:
    """1.6 seconds of speech without a pause."""
    return recordings["not_in_service"][: int(1.6 * 16_000)]


def test_silence_holds_no_utterance() -> None:
    assert found_in(recording_of(silence(3))) == []


def test_steady_noise_holds_no_utterance() -> None:
    noise = np.random.default_rng(0).normal(0, 0.01, 48_000).astype(np.float32)
    assert found_in(recording_of(noise)) == []


def test_a_pause_of_two_seconds_parts_two_utterances(burst: Samples) -> None:
    recording = recording_of(np.concatenate([silence(0.5), burst, silence(2), burst, silence(1.5)]))
    first, second = found_in(recording)
    assert first.start_ms == pytest.approx(500, abs=300)
    assert first.end_ms == pytest.approx(2100, abs=400)
    assert second.start_ms == pytest.approx(4100, abs=300)
    assert second.end_ms == pytest.approx(5700, abs=400)


def test_a_short_pause_does_not_part_an_utterance(burst: Samples) -> None:
    assert len(found_in(recording_of(np.concatenate([burst, silence(0.3), burst])))) == 1


def test_an_utterance_is_a_view_of_the_recording_between_its_times(burst: Samples) -> None:
    recording = recording_of(np.concatenate([silence(1), burst, silence(1)]))
    (utterance,) = found_in(recording)
    assert np.shares_memory(utterance.samples, recording.samples)
    whole, own = (array.__array_interface__["data"][0] // 4 for array in (recording.samples, utterance.samples))
    begin, end = own - whole, own - whole + len(utterance.samples)
    assert begin < utterance.start_ms * 16 < utterance.end_ms * 16 < end
    assert utterance.seconds == len(utterance.samples) / 16_000
    assert end - begin <= (utterance.end_ms - utterance.start_ms) * 16 + 2 * CONFIG.speech_pad_ms * 16


def test_an_utterance_begins_and_ends_when_somebody_speaks(mandarin_clips: Mapping[str, MandarinClip]) -> None:
    for clip in mandarin_clips.values():
        loud = librosa.effects.split(clip.samples, top_db=20, frame_length=512, hop_length=128)
        words = clip.samples[loud[0][0] : loud[-1][1]]
        noise = np.random.default_rng(0).normal(0, 1e-4, 5 * 16_000).astype(np.float32)
        noise[2 * 16_000 : 2 * 16_000 + len(words)] += words
        for length in (5.0, 2.0 + len(words) / 16_000 + 1.0):  # voice activity takes a last pause for speech
            (utterance,) = find_utterances(recording_of(noise[: round(length * 16_000)]))
            assert utterance.start_ms == pytest.approx(2000, abs=150)
            assert utterance.end_ms == pytest.approx(2000 + len(words) / 16, abs=150)


@pytest.mark.parametrize("pause_seconds", [0.5, 2.5], ids=["speech that goes on", "speech with pauses"])
def test_speech_is_found_in_pieces_as_in_the_whole(recordings: Mapping[str, Samples], pause_seconds: float) -> None:
    config = SegmentConfig(max_utterance_seconds=4.0)
    long = np.concatenate([part for one in recordings.values() for part in (one, silence(pause_seconds))] * 3)
    whole = find_speech(long, config=config)
    pieces = list(find_speech_in_pieces(long, config=config, piece_seconds=16.0))
    found = [one for piece in pieces for one in piece]
    assert len(pieces) >= 4
    assert all(one.end <= other.start for one, other in pairwise(found))
    assert covered(found) == pytest.approx(covered(whole), rel=0.03)
    if pause_seconds > 2:
        assert len(found) == len(whole)


def covered(speech: list[Speech]) -> int:
    return sum(one.end - one.start for one in speech)


def test_stereo_channels_are_kept_apart_and_answered_in_order_of_time(burst: Samples) -> None:
    left = np.concatenate([silence(3), burst])
    right = np.concatenate([burst, silence(3)])
    recording = recording_of(left, right)
    first, second = found_in(recording)
    assert (first.channel, second.channel) == (1, 0)
    assert first.end_ms < second.start_ms
    assert np.shares_memory(first.samples, recording.samples[1])
    assert np.shares_memory(second.samples, recording.samples[0])


def test_speech_that_goes_on_is_split_below_the_longest_utterance(burst: Samples) -> None:
    recording = recording_of(np.tile(burst, 15))  # 24 s
    utterances = found_in(recording)
    assert len(utterances) >= 2
    assert all(utterance.seconds <= CONFIG.max_utterance_seconds for utterance in utterances)
    assert sum(utterance.seconds for utterance in utterances) > 22


def test_a_shorter_longest_utterance_gives_more_of_them(burst: Samples) -> None:
    recording = recording_of(np.tile(burst, 4))
    utterances = found_in(recording, max_utterance_seconds=3.0)
    assert len(utterances) >= 2
    assert all(utterance.seconds <= 3.0 for utterance in utterances)


def test_too_many_utterances_are_refused_with_the_count_and_the_limit(burst: Samples) -> None:
    recording = recording_of(np.concatenate([burst, silence(1.5)] * 3))
    assert len(find_utterances(recording, config=CONFIG, max_utterances=3)) == 3
    with pytest.raises(TooManyUtterances, match="3 utterances; at most 2") as caught:
        find_utterances(recording, config=CONFIG, max_utterances=2)
    assert (caught.value.value, caught.value.limit) == (3, 2)


def test_a_burst_shorter_than_the_shortest_speech_is_dropped(burst: Samples) -> None:
    recording = recording_of(np.concatenate([silence(1), burst, silence(1)]))
    assert found_in(recording, min_speech_ms=5000) == []


def test_a_pause_of_the_default_length_ends_an_utterance(burst: Samples) -> None:
    pause = silence(SegmentConfig().min_silence_ms / 1000 + 1)
    assert len(find_utterances(recording_of(np.concatenate([burst, pause, burst])))) == 2
