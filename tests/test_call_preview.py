import asyncio
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pytest
from scenario import scenario

from model.listener import Listener
from model.segment import Utterance
from model.spans import SegmentConfig
from model.speech import Transcript
from service.budget import Budget
from service.call_preview import CallPreview, Hearing
from service.pipeline import HeardUtterance

Samples = npt.NDArray[np.float32]

CONFIG = SegmentConfig()


class Ear:
    """Writes down how long what it hears is, when it is let."""

    def __init__(self) -> None:
        self.heard: list[Utterance] = []
        self.may_answer = asyncio.Event()

    async def hear(self, utterance: Utterance, budget: Budget) -> HeardUtterance:
        self.heard.append(utterance)
        await self.may_answer.wait()
        transcript = Transcript(
            text=f"{len(utterance.samples)}",
            language="zh",
            status="ok",
            avg_logprob=-0.3,
            no_speech_probability=0.0,
            states=np.zeros((1, 2), np.float32),
            num_tokens=1,
            fell_back=False,
        )
        return HeardUtterance(utterance=utterance, transcript=transcript, features=None)


def preview_of(ear: Ear, *, has_room: bool = True, shows_text: bool = True) -> CallPreview:
    return CallPreview(
        ear.hear,
        has_room=lambda: has_room,
        budget_seconds=10,
        roles=("customer",),
        shows_text=shows_text,
        on_change=lambda: None,
    )


@pytest.fixture(scope="module")
def burst(recordings: Mapping[str, Samples]) -> Samples:
    """1.6 seconds of speech without a pause."""
    return recordings["not_in_service"][: int(1.6 * 16_000)]


def silence(seconds: float) -> Samples:
    return np.zeros(int(seconds * 16_000), np.float32)


async def heard(preview: CallPreview, listener: Listener, samples: Samples) -> list[tuple[Utterance, Hearing | None]]:
    """Push samples as they would come, and look after each piece; what ends, with what was guessed of it."""
    ended = []
    for begin in range(0, len(samples), 1600):
        ended += [(one, preview.ended(one)) for one in listener.push(samples[begin : begin + 1600, None])]
        preview.look(listener)
        await asyncio.sleep(0)
    return ended


@scenario
async def test_a_pause_that_goes_on_was_heard_when_the_utterance_ends(burst: Samples) -> None:
    ear, listener = Ear(), Listener(CONFIG, sample_rate_hz=16_000, channels=1)
    preview = preview_of(ear)
    ear.may_answer.set()
    ((utterance, hearing),) = await heard(preview, listener, np.concatenate([burst, silence(3)]))
    assert len(ear.heard) == 1
    assert hearing is not None
    assert (await hearing).transcript.text == str(len(utterance.samples))
    np.testing.assert_array_equal(ear.heard[0].samples, utterance.samples)


@scenario
async def test_a_pause_in_which_speech_goes_on_is_heard_in_vain_and_again(burst: Samples) -> None:
    ear, listener = Ear(), Listener(CONFIG, sample_rate_hz=16_000, channels=1)
    preview = preview_of(ear)
    ((utterance, hearing),) = await heard(preview, listener, np.concatenate([burst, silence(1), burst, silence(3)]))
    first, second = ear.heard
    assert len(first.samples) < len(second.samples) == len(utterance.samples)
    assert hearing is not None
    hearing.cancel()
    preview.close()


@scenario
async def test_nothing_is_guessed_while_others_wait_for_recognition(burst: Samples) -> None:
    ear, listener = Ear(), Listener(CONFIG, sample_rate_hz=16_000, channels=1)
    preview = preview_of(ear, has_room=False)
    ((_, hearing),) = await heard(preview, listener, np.concatenate([burst, silence(3)]))
    assert (ear.heard, hearing) == ([], None)


@scenario
async def test_only_the_newest_is_held_for_who_does_not_look(burst: Samples) -> None:
    ear, listener = Ear(), Listener(CONFIG, sample_rate_hz=16_000, channels=1)
    preview = preview_of(ear)
    ear.may_answer.set()
    await heard(preview, listener, np.concatenate([np.tile(burst, 4), silence(1)]))
    (shown,) = preview.partials()
    assert shown.role == "customer"
    assert shown.text is not None
    assert list(preview.partials()) == []


@scenario
async def test_no_text_is_shown_where_texts_are_withheld(burst: Samples) -> None:
    ear, listener = Ear(), Listener(CONFIG, sample_rate_hz=16_000, channels=1)
    preview = preview_of(ear, shows_text=False)
    ear.may_answer.set()
    await heard(preview, listener, np.concatenate([burst, silence(1)]))
    assert [shown.text for shown in preview.partials()] == [None]
    preview.close()
