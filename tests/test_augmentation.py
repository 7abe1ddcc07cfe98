from collections.abc import Mapping
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
import pytest

from model.audio import SAMPLE_RATE_HZ
from training.augmentation import (
    BACKGROUND_SLOPES,
    BACKGROUND_SNR_DB,
    GAINS_DB,
    MAX_SPEED_OCTAVES,
    RT60_SECONDS,
    Operation,
    augmented,
)

OPERATIONS: tuple[Operation, ...] = get_args(Operation)
LENGTHS: Mapping[Operation, tuple[float, float]] = {
    "stretch": (1 / 1.1, 1 / 0.9),
    "speed": (2**-MAX_SPEED_OCTAVES, 2**MAX_SPEED_OCTAVES),
    "two_seconds": (0.0, 1.0),
}
"""Shortest and longest copy of the operations that do not keep the length, as shares of it."""
SEEDS = range(6)
SECONDS = np.arange(2 * SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ

Samples = npt.NDArray[np.float32]


@pytest.fixture
def speech(recordings: Mapping[str, Samples]) -> Samples:
    return recordings["first_in_line"]


def copy_of(samples: Samples, operation: Operation, seed: int = 0) -> Samples:
    return augmented(samples, operation, generator=np.random.default_rng(seed))


def first_draw(seed: int, low: float, high: float) -> float:
    return float(np.random.default_rng(seed).uniform(low, high))


def tone(hertz: float, amplitude: float = 0.3) -> Samples:
    return (amplitude * np.sin(2 * np.pi * hertz * SECONDS)).astype(np.float32)


def white(amplitude: float = 0.1) -> Samples:
    return (amplitude * np.random.default_rng(9).standard_normal(len(SECONDS))).astype(np.float32)


def power(samples: npt.NDArray[Any]) -> float:
    return float(np.mean(np.square(samples, dtype=np.float64)))


def decibels(ratio: float) -> float:
    return float(10 * np.log10(ratio))


def loudest_hertz(samples: Samples) -> float:
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples)), 8 * len(samples)))
    return float(np.argmax(spectrum) * SAMPLE_RATE_HZ / (8 * len(samples)))


def share_between(samples: Samples, low_hz: float, high_hz: float) -> float:
    spectrum = np.abs(np.fft.rfft(samples)) ** 2
    hertz = np.fft.rfftfreq(len(samples), 1 / SAMPLE_RATE_HZ)
    return float(spectrum[(hertz >= low_hz) & (hertz < high_hz)].sum() / spectrum.sum())


def slope_of(samples: npt.NDArray[Any]) -> float:
    """Exponent by which the power of noise falls with its frequency: from one octave to the seventh above it."""
    spectrum = np.abs(np.fft.rfft(samples)) ** 2
    return float(np.log2(spectrum[64:128].mean() / spectrum[64 * 128 : 128 * 128].mean()) / 7)


@pytest.mark.parametrize("seed", SEEDS)
def test_noise_lies_thirty_decibels_below_speech_and_is_white(speech: Samples, seed: int) -> None:
    added = copy_of(speech, "noise", seed) - speech
    assert decibels(power(speech) / power(added)) == pytest.approx(30, abs=0.5)
    assert share_between(added, 0, 4000) == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_tone_is_shifted_by_the_semitones_drawn_and_keeps_its_length(seed: int) -> None:
    shifted = copy_of(tone(440), "pitch", seed)
    assert len(shifted) == len(SECONDS)
    assert 12 * np.log2(loudest_hertz(shifted) / 440) == pytest.approx(first_draw(seed, -2, 2), abs=0.05)


def test_pitch_goes_up_and_down() -> None:
    shifts = [loudest_hertz(copy_of(tone(440), "pitch", seed)) - 440 for seed in SEEDS]
    assert min(shifts) < -5
    assert max(shifts) > 5


@pytest.mark.parametrize("seed", SEEDS)
def test_a_stretched_tone_lasts_longer_or_shorter_at_the_same_pitch(seed: int) -> None:
    stretched = copy_of(tone(440), "stretch", seed)
    assert len(SECONDS) / len(stretched) == pytest.approx(first_draw(seed, 0.9, 1.1), rel=1e-4)
    assert loudest_hertz(stretched) == pytest.approx(440, rel=0.005)


@pytest.mark.parametrize("seed", SEEDS)
def test_speed_moves_pitch_and_duration_together_by_the_octaves_drawn(seed: int) -> None:
    moved = copy_of(tone(440), "speed", seed)
    octaves = first_draw(seed, -MAX_SPEED_OCTAVES, MAX_SPEED_OCTAVES)
    assert np.log2(loudest_hertz(moved) / 440) == pytest.approx(octaves, abs=0.005)
    assert np.log2(len(SECONDS) / len(moved)) == pytest.approx(octaves, abs=0.001)
    middle = slice(4000, -4000)
    assert power(moved[middle]) == pytest.approx(power(tone(440)[middle]), rel=0.01)


def test_speed_goes_up_and_down_by_no_more_than_a_quarter_of_an_octave() -> None:
    octaves = [np.log2(len(SECONDS) / len(copy_of(tone(440), "speed", seed))) for seed in range(30)]
    assert -0.2505 < min(octaves) < -0.15
    assert 0.15 < max(octaves) < 0.2505


@pytest.mark.parametrize("seed", SEEDS)
def test_a_background_lies_as_far_below_the_sound_as_drawn_first_and_has_the_colour_drawn_next(seed: int) -> None:
    quiet = white(0.05)
    added = copy_of(quiet, "background", seed) - quiet
    draws = np.random.default_rng(seed)
    snr_db, slope = draws.uniform(*BACKGROUND_SNR_DB), draws.uniform(*BACKGROUND_SLOPES)
    assert decibels(power(quiet) / power(added)) == pytest.approx(snr_db, abs=0.01)
    assert slope_of(added) == pytest.approx(slope, abs=0.1)


def test_backgrounds_are_from_five_to_twenty_decibels_and_from_white_to_brown() -> None:
    quiet = white(0.05)
    added = [copy_of(quiet, "background", seed) - quiet for seed in range(30)]
    snrs_db = [decibels(power(quiet) / power(one)) for one in added]
    slopes = [slope_of(one) for one in added]
    assert 4.99 < min(snrs_db) < 8
    assert 17 < max(snrs_db) < 20.01
    assert -0.1 < min(slopes) < 0.4
    assert 1.6 < max(slopes) < 2.1


@pytest.mark.parametrize("seed", SEEDS)
def test_a_background_to_be_judged_under_is_always_ten_decibels_below_and_draws_its_colour(seed: int) -> None:
    quiet = white(0.05)
    added = copy_of(quiet, "background_10db", seed) - quiet
    assert decibels(power(quiet) / power(added)) == pytest.approx(10, abs=0.01)
    assert slope_of(added) == pytest.approx(first_draw(seed, *BACKGROUND_SLOPES), abs=0.1)


@pytest.mark.parametrize("num_samples", [1, 2 * SAMPLE_RATE_HZ, 2 * SAMPLE_RATE_HZ + 1])
def test_two_seconds_are_the_first_two_or_all_of_a_shorter_sound(num_samples: int) -> None:
    samples = np.resize(white(), num_samples)
    np.testing.assert_array_equal(copy_of(samples, "two_seconds"), samples[: 2 * SAMPLE_RATE_HZ])


def test_a_telephone_passes_its_band_only() -> None:
    heard = copy_of(white(), "telephone")
    assert decibels(share_between(heard, 3600, 8001)) < -45
    assert decibels(share_between(heard, 0, 150)) < -45
    assert share_between(heard, 400, 3300) > 0.9


def test_a_telephone_keeps_level_and_time_of_its_band_and_adds_the_noise_of_eight_bits() -> None:
    heard, sent = copy_of(tone(1000), "telephone"), tone(1000)
    middle = slice(4000, -4000)
    # Mu-law of 8 bits: about 38 dB over a wide range of levels.
    assert 30 < decibels(power(sent[middle]) / power((heard - sent)[middle])) < 50
    quiet = copy_of(tone(1000, 0.003), "telephone") - tone(1000, 0.003)
    assert decibels(power(tone(1000, 0.003)[middle]) / power(quiet[middle])) > 15


@pytest.mark.parametrize("seed", SEEDS)
def test_a_clap_dies_away_within_the_reverberation_time_drawn(seed: int) -> None:
    clap = np.zeros(SAMPLE_RATE_HZ, dtype=np.float32)
    clap[0] = 1.0
    # Schroeder's backward integration; the slope between -5 and -25 dB, made to 60 dB.
    remaining = np.cumsum(np.square(copy_of(clap, "reverberation", seed), dtype=np.float64)[::-1])[::-1]
    curve = 10 * np.log10(remaining / remaining[0] + 1e-12)
    falling = np.flatnonzero((curve < -5) & (curve > -25))
    slope = np.polyfit(falling / SAMPLE_RATE_HZ, curve[falling], 1)[0]
    assert -60 / slope == pytest.approx(first_draw(seed, *RT60_SECONDS), rel=0.1)


def test_reverberation_keeps_length_and_level_and_goes_on_after_the_sound() -> None:
    stopped = tone(500)
    stopped[16_000:] = 0
    wet = copy_of(stopped, "reverberation")
    assert len(wet) == len(stopped)
    assert power(wet) == pytest.approx(power(stopped), rel=0.01)
    assert power(wet[16_000:17_000]) > 1e-4


@pytest.mark.parametrize("seed", SEEDS)
def test_gain_is_the_decibels_drawn(seed: int) -> None:
    quiet = white(0.05)
    change = decibels(power(copy_of(quiet, "gain", seed)) / power(quiet))
    assert change == pytest.approx(first_draw(seed, *GAINS_DB), abs=0.01)


def test_gain_clips_at_full_scale() -> None:
    seed = next(seed for seed in range(50) if first_draw(seed, *GAINS_DB) > 3)
    loud = copy_of(tone(440, 0.95), "gain", seed)
    assert np.abs(loud).max() == 1.0
    assert np.mean(np.abs(loud) == 1.0) > 0.2


@pytest.mark.parametrize("operation", OPERATIONS)
def test_real_speech_stays_speech_of_about_its_level(speech: Samples, operation: Operation) -> None:
    before = speech.copy()
    changed = copy_of(speech, operation)
    np.testing.assert_array_equal(speech, before)
    assert changed.dtype == np.float32
    assert np.isfinite(changed).all()
    assert np.abs(changed).max() <= 1.0
    assert not np.array_equal(changed, speech)
    assert abs(decibels(power(changed) / power(speech))) < 13
    shortest, longest = LENGTHS.get(operation, (1.0, 1.0))
    assert shortest - 1e-4 <= len(changed) / len(speech) <= longest + 1e-4


@pytest.mark.parametrize("operation", OPERATIONS)
def test_the_same_seed_gives_the_same_copy_and_another_seed_another(speech: Samples, operation: Operation) -> None:
    one, again, other = (copy_of(speech, operation, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert np.array_equal(one, other) == (operation in {"telephone", "two_seconds"})


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("num_samples", [0, 1, 99, 1025, 16_001])
def test_silence_stays_silent_and_any_length_is_taken(operation: Operation, num_samples: int) -> None:
    silent = copy_of(np.zeros(num_samples, dtype=np.float32), operation)
    assert not silent.any()
    changed = copy_of(np.full(num_samples, 0.5, dtype=np.float32), operation)
    assert np.isfinite(changed).all()
    shortest, longest = LENGTHS.get(operation, (1.0, 1.0))
    assert len(changed) == len(silent)
    assert np.floor(shortest * num_samples) <= len(changed) <= np.ceil(longest * num_samples)
