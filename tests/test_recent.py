"""What may still be corrected: the newest segments, in bounded memory."""

from dataclasses import replace

import numpy as np
import pytest
from drawn_features import FEATURES
from test_schemas import judged

from model.bundle import Bundle
from model.features import Features
from service.recent import RecentSegments
from training.export import golden_features

pytest_plugins = ("service_fixtures",)


@pytest.fixture(scope="module")
def seen() -> Features:
    return golden_features(FEATURES)[-1]


def test_the_oldest_are_forgotten_when_the_memory_is_full(bundle: Bundle, seen: Features) -> None:
    spoken = replace(judged(probabilities=[0.5, 0.1, 0.1, 0.1, 0.1, 0.1]), features=seen)
    recent = RecentSegments(max_bytes=1 << 40, keeps_audio=False)
    recent.remember("first", [spoken], facts=bundle.facts)
    size = recent.num_bytes

    small = RecentSegments(max_bytes=2 * size, keeps_audio=False)
    for name in ("first", "second", "third"):
        small.remember(name, [spoken], facts=bundle.facts)
    assert small.find("first", "0-0") is None
    assert small.find("third", "0-0") is not None
    assert len(small) == 2
    assert small.num_bytes == 2 * size


def test_what_is_kept_is_in_half_precision_and_a_copy(bundle: Bundle, seen: Features) -> None:
    recent = RecentSegments(max_bytes=1 << 30, keeps_audio=True)
    spoken = replace(judged(probabilities=[0.1, 0.5, 0.1, 0.1, 0.1, 0.1]), features=seen)
    silent = judged(probabilities=None, status="no_speech", channel=1)
    recent.remember("one", [spoken, silent], facts=bundle.facts)
    kept = recent.find("one", "0-0")
    assert kept is not None
    assert kept.predicted == "fear"
    assert kept.features.mel is not None
    assert seen.mel is not None
    assert kept.features.mel.dtype == np.float16
    assert not np.shares_memory(kept.features.mel, seen.mel)
    assert kept.features.speaker is None
    assert kept.samples is not None
    assert kept.samples.dtype == np.int16
    assert recent.find("one", "1-0") is None


def test_a_segment_remembered_again_takes_its_place_once(bundle: Bundle, seen: Features) -> None:
    recent = RecentSegments(max_bytes=1 << 30, keeps_audio=False)
    spoken = replace(judged(probabilities=[0.5, 0.1, 0.1, 0.1, 0.1, 0.1]), features=seen)
    for _ in range(3):
        recent.remember("one", [spoken], facts=bundle.facts)
    assert len(recent) == 1
    assert recent.num_bytes == recent.find("one", "0-0").num_bytes  # type: ignore[union-attr]
