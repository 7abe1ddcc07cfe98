"""Our spans, window by window, beside those of faster-whisper, which wants the whole recording."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from faster_whisper import vad
from faster_whisper.vad import VadOptions

from model.spans import SegmentConfig, SpanFinder
from model.voice_activity import WINDOW_SAMPLES, VoiceActivity

Samples = npt.NDArray[np.float32]


def drawn_probabilities(draw: np.random.Generator, num_windows: int) -> Samples:
    """Speech and pauses of drawn lengths, with noise enough to cross both thresholds."""
    found = np.zeros(num_windows, np.float32)
    begin, is_speech = 0, False
    lengths = draw.choice([2, 5, 20, 60], size=2)
    while begin < num_windows:
        end = begin + int(draw.exponential(lengths[int(is_speech)])) + 1
        found[begin:end] = np.clip((0.9 if is_speech else 0.1) + draw.normal(0, 0.25, len(found[begin:end])), 0, 1)
        begin, is_speech = end, not is_speech
    return found


def of_the_library(
    samples: Samples, config: SegmentConfig, monkeypatch: pytest.MonkeyPatch, probabilities: Samples | None = None
) -> list[tuple[int, int]]:
    if probabilities is not None:
        monkeypatch.setattr(vad, "get_vad_model", lambda: lambda _: probabilities)
    options = VadOptions(
        threshold=config.threshold,
        min_speech_duration_ms=config.min_speech_ms,
        max_speech_duration_s=config.max_utterance_seconds,
        min_silence_duration_ms=config.min_silence_ms,
        speech_pad_ms=config.speech_pad_ms,
    )
    found: list[dict[str, Any]] = vad.get_speech_timestamps(samples, options)
    return [(span["start"], span["end"]) for span in found]


def test_drawn_probabilities_one_by_one_give_the_spans_of_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = np.random.default_rng(5)
    num_spans = 0
    for _ in range(250):
        num_samples = int(draw.integers(1, 500 * WINDOW_SAMPLES))
        probabilities = drawn_probabilities(draw, num_samples // WINDOW_SAMPLES + 1)
        config = SegmentConfig(
            min_speech_ms=int(draw.choice([0, 150, 500])),
            min_silence_ms=int(draw.choice([100, 800, 2000])),
            speech_pad_ms=int(draw.choice([0, 30, 200, 400])),
            max_utterance_seconds=float(draw.choice([3, 8, 22])),
        )
        finder = SpanFinder(config)
        found = []
        for probability in probabilities[:-1].tolist():
            found += finder.push([probability])
        found += finder.finish([float(probabilities[-1])], num_samples)
        expected = of_the_library(np.zeros(num_samples, np.float32), config, monkeypatch, probabilities)
        assert [(span.start, span.end) for span in found] == expected, config
        num_spans += len(found)
    assert num_spans > 500


def test_a_finder_goes_on_where_another_stood() -> None:
    probabilities = drawn_probabilities(np.random.default_rng(6), 4000).tolist()
    whole, first = SpanFinder(SegmentConfig()), SpanFinder(SegmentConfig())
    expected = whole.push(probabilities)
    for cut in (997, 1003, 2048):
        first = SpanFinder(SegmentConfig())
        found = first.push(probabilities[:cut])
        second = SpanFinder(SegmentConfig())
        second.go_on_from(first.to_json())
        assert found + second.push(probabilities[cut:]) == expected


def test_what_is_expected_in_a_pause_is_what_comes_when_it_goes_on() -> None:
    finder = SpanFinder(SegmentConfig(min_silence_ms=2000, speech_pad_ms=400))
    assert finder.push([0.0] * 40 + [0.9] * 60) == []
    assert finder.speaking is not None
    assert finder.expected is None
    finder.push([0.0] * 14)
    expected = finder.expected
    assert expected is not None
    assert finder.push([0.0] * 60) == [expected]
    assert finder.speaking is None


@pytest.mark.parametrize("name", ["first_in_line", "not_in_service"])
def test_real_speech_in_pieces_is_cut_as_by_the_library(
    name: str, recordings: Mapping[str, Samples], monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = np.tile(recordings[name], 4)[:-77]
    voice, finder = VoiceActivity(), SpanFinder(SegmentConfig())
    found = []
    for piece in np.array_split(samples, len(samples) // 777):
        found += finder.push(voice.push(piece).tolist())
    found += finder.finish(voice.finish().tolist(), len(samples))
    expected = of_the_library(samples, SegmentConfig(), monkeypatch)
    assert expected
    assert [(span.start, span.end) for span in found] == expected
