from collections.abc import Sequence
from itertools import permutations

import numpy as np
import numpy.typing as npt
from hypothesis import given
from hypothesis import strategies as st

from model.speaker import Conversation, Moments, SpeakerStatistics

Array = npt.NDArray[np.float32]


def rows(number: int, dimension: int, *, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(-7, 3, (number, dimension)).astype(np.float32)


def utterance(seed: int) -> tuple[Array, Array]:
    """Mel (frames, 3) and states (steps, 5)."""
    return rows(40 + 8 * seed, 3, seed=seed), rows(5 + seed, 5, seed=100 + seed)


def heard_in_order(seeds: Sequence[int], *, channel: int = 0) -> list[SpeakerStatistics]:
    conversation = Conversation()
    heard: list[SpeakerStatistics] = []
    for seed in seeds:
        mel, states = utterance(seed)
        heard.append(conversation.hear(channel, mel=mel, states=states))
    return heard


def assert_same(found: SpeakerStatistics, expected: SpeakerStatistics) -> None:
    for one, other in ((found.mel, expected.mel), (found.states, expected.states)):
        assert one.count == other.count
        np.testing.assert_allclose(one.mean_and_deviation, other.mean_and_deviation, rtol=1e-6)


@given(st.lists(st.integers(1, 30), min_size=1, max_size=6))
def test_moments_of_parts_add_up_to_those_of_the_whole(lengths: list[int]) -> None:
    parts = [rows(length, 4, seed=index) for index, length in enumerate(lengths)]
    total = Moments.of(parts[0])
    for part in parts[1:]:
        total = total + Moments.of(part)
    whole = np.concatenate(parts).astype(np.float64)
    assert total.count == len(whole)
    found = total.mean_and_deviation
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, [whole.mean(0), whole.std(0)], rtol=1e-5, atol=1e-5)


def test_a_band_that_never_varies_has_no_deviation_rather_than_a_root_of_less_than_nothing() -> None:
    np.testing.assert_array_equal(
        Moments.of(np.full((7, 2), 0.1, dtype=np.float32)).mean_and_deviation[1] < 1e-6, [True, True]
    )


def test_hours_of_frames_are_added_up_exactly() -> None:
    # In single precision the sum of squares would swallow the deviation.
    minute = (rows(6000, 2) / 100 - 50).astype(np.float32)
    moments = hour = Moments.of(minute)
    for _ in range(59):
        hour = hour + moments
    np.testing.assert_allclose(hour.mean_and_deviation[1], minute.astype(np.float64).std(0), rtol=1e-5)


def test_of_nothing_heard_all_statistics_are_zero() -> None:
    nothing = Moments.of(np.zeros((0, 3), dtype=np.float32))
    assert nothing.count == 0
    np.testing.assert_array_equal(nothing.mean_and_deviation, np.zeros((2, 3)))


def test_the_order_of_hearing_does_not_matter() -> None:
    first, *others = (heard_in_order(order)[-1] for order in permutations(range(3)))
    for other in others:
        assert_same(other, first)


def test_what_was_heard_includes_the_utterance_itself() -> None:
    mel, states = utterance(0)
    (heard,) = heard_in_order([0])
    assert_same(heard, SpeakerStatistics.of(mel=mel, states=states))
    assert (heard.mel.count, heard.states.count) == (40, 5)


def test_an_utterance_knows_nothing_of_later_ones() -> None:
    for number in range(1, 4):
        for short, long in zip(heard_in_order(range(number)), heard_in_order(range(4)), strict=False):
            assert_same(short, long)


def test_what_was_handed_out_does_not_change_when_more_is_heard() -> None:
    conversation = Conversation()
    mel, states = utterance(0)
    first = conversation.hear(0, mel=mel, states=states)
    before = first.mel.mean_and_deviation.copy()
    conversation.hear(0, mel=mel + 100, states=states)
    np.testing.assert_array_equal(first.mel.mean_and_deviation, before)


def test_each_channel_has_a_speaker_of_its_own() -> None:
    conversation = Conversation()
    for seed, channel in enumerate((0, 1, 0, 1)):
        mel, states = utterance(seed)
        conversation.hear(channel, mel=mel, states=states)
    assert set(conversation.heard) == {0, 1}
    assert_same(conversation.heard[0], heard_in_order([0, 2])[-1])
    assert_same(conversation.heard[1], heard_in_order([1, 3])[-1])


def test_conversations_share_nothing() -> None:
    mel, states = utterance(0)
    Conversation().hear(0, mel=mel, states=states)
    assert Conversation().heard == {}


def test_a_conversation_that_was_written_down_goes_on_to_the_bit() -> None:
    conversation, untouched = Conversation(), Conversation()
    for one in (conversation, untouched):
        for seed, channel in enumerate((0, 3, 0)):
            mel, states = utterance(seed)
            one.hear(channel, mel=mel, states=states)
    read = Conversation.from_bytes(conversation.to_bytes())
    mel, states = utterance(9)
    assert_same(read.hear(3, mel=mel, states=states), untouched.hear(3, mel=mel, states=states))
    assert_same(read.heard[0], untouched.heard[0])
    assert Conversation.from_bytes(Conversation().to_bytes()) == Conversation()
