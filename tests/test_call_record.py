from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from scenario import scenario

from model.listener import Listener
from model.spans import SegmentConfig
from model.speaker import Conversation
from service.call_format import CallFormat
from service.call_record import RESERVED, CallRecord
from service.call_sound import CallSound
from service.call_store import CallStore
from service.database import open_database
from service.live_call import CallFacts
from service.roles import Roles
from service.settings import Settings
from service.stream_messages import SummaryMessage

FORMAT = CallFormat(encoding="pcm16", sample_rate_hz=16_000, channels=1)
SUMMARY = SummaryMessage(summary=None, segments=0)


def facts(session_id: str = "5e55") -> CallFacts:
    return CallFacts(
        session_id=session_id,
        key_name="",
        started_at=datetime.now(UTC),
        format=FORMAT,
        roles=Roles(names=("customer",)),
    )


@pytest.fixture
def store(tmp_path: Path) -> CallStore:
    return CallStore(open_database(Settings(state_folder=tmp_path)), tmp_path / "live")


def test_sound_is_one_process_at_a_time_and_a_torn_frame_is_cut_off(tmp_path: Path) -> None:
    sound = CallSound(tmp_path / "a.frames", first_frame=0, frame_bytes=4)
    sound.append(b"aaaabbbb")
    with pytest.raises(BlockingIOError):
        CallSound(tmp_path / "a.frames", first_frame=0, frame_bytes=4)
    sound.append(b"c")  # the process was killed while it wrote
    sound.close()
    again = CallSound(tmp_path / "a.frames", first_frame=0, frame_bytes=4)
    assert again.read() == b"aaaabbbb"
    again.append(b"dddd")
    later = again.from_frame(1, tmp_path / "b.frames")
    assert (later.read(), again.read()) == (b"bbbbdddd", b"aaaabbbbdddd")
    for each in (later, again):
        each.delete()
    assert list(tmp_path.iterdir()) == []


@scenario
async def test_message_numbers_rise_in_the_next_process_whatever_was_sent(store: CallStore) -> None:
    sound = store.add(facts())
    record = CallRecord("5e55", store=store, sound=sound)
    conversation = Conversation()
    conversation.hear(0, mel=np.ones((3, 4), np.float32), states=np.ones((2, 5), np.float32))
    sent = [await record.number() for _ in range(RESERVED + 5)]
    await record.say([SUMMARY], conversation=conversation)
    record.append(b"\x01\x00")
    record.close()
    ((kept, sound),) = store.unfinished()
    assert Conversation.from_bytes(kept.conversation).heard[0].mel.count == 3
    assert (kept.roles, sound.read()) == (("customer",), b"\x01\x00")
    again = CallRecord("5e55", store=store, sound=sound, messages=kept.events, reserved_seq=kept.reserved_seq)
    ((seq, _),) = again.after(0)
    assert sent[-1] < seq < await again.number()
    assert again.messages() == [SUMMARY.model_copy(update={"seq": seq})]
    await again.end()
    assert store.unfinished() == []


@scenario
async def test_sound_that_is_not_needed_to_go_on_is_let_go_of(store: CallStore) -> None:
    record = CallRecord("5e55", store=store, sound=store.add(facts()))
    listener = Listener(SegmentConfig(), sample_rate_hz=16_000, channels=1)
    for _ in range(2):
        silence = np.zeros((20 * 16_000, 1), np.float32)
        record.append(silence.astype("<i2").tobytes())
        listener.push(silence)
        await record.keep_place(listener, sample_rate_hz=16_000)
    record.close()
    ((kept, sound),) = store.unfinished()
    assert kept.checkpoint_frame == 40 * 16_000
    assert len(sound.read()) < 2 * 16_000 * 2
    assert sound.first_frame * 2 + len(sound.read()) == 40 * 16_000 * 2
    await CallRecord("5e55", store=store, sound=sound).end()


@scenario
async def test_a_call_goes_on_when_it_cannot_be_kept_any_more(store: CallStore) -> None:
    sound = store.add(facts())
    record = CallRecord("5e55", store=store, sound=sound)
    sound.close()  # as if the disk were gone
    record.append(b"\x01\x00")
    assert not sound.path.exists()
    await record.say([SUMMARY])
    await record.end()
    assert len(record.after(0)) == 1


def test_sound_of_no_call_is_removed_and_ended_calls_are_forgotten(store: CallStore, tmp_path: Path) -> None:
    stray = CallSound(tmp_path / "live" / "x.0.frames", first_frame=0, frame_bytes=1)
    stray.close()
    sound = store.add(facts())
    store.end("5e55")
    sound.delete()
    assert store.unfinished() == []
    assert list((tmp_path / "live").iterdir()) == []
    store.forget_ended(before=datetime.now(UTC))
    store.add(facts()).delete()  # its name is free again
