"""What a live call has said, and where it stands: in memory, and on disk where it is to outlive the process."""

import asyncio
import json
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from model.listener import Listener
from model.speaker import Conversation
from service.call_sound import CallSound
from service.stream_messages import AlertMessage, Message, SegmentMessage, SummaryMessage

if TYPE_CHECKING:
    from service.call_store import CallStore

logger = logging.getLogger(__name__)

RESERVED: Final = 1000
"""Message numbers kept ahead: after a restart they rise from there, whatever was sent and not kept."""
_WORTH_TRIMMING_SECONDS: Final = 30
_KINDS: Final[dict[str, type[Message]]] = {
    "segment": SegmentMessage,
    "alert": AlertMessage,
    "summary": SummaryMessage,
}


class CallRecord:
    """The messages of a call that are never lost, in order, and its sound as far back as it is needed."""

    def __init__(
        self,
        session_id: str,
        *,
        store: "CallStore | None" = None,
        sound: CallSound | None = None,
        messages: Sequence[tuple[int, str]] = (),
        reserved_seq: int = 0,
    ) -> None:
        """store, sound: None keeps everything in memory.

        messages, reserved_seq: what was said (seq, document) in another process, and up to which number it may have
        sent others besides.
        """
        self._session_id = session_id
        self._store = store
        self._sound = sound
        self._messages = list(messages)
        self._numbering = asyncio.Lock()
        self._seq = reserved_seq
        self._reserved = reserved_seq or RESERVED

    def after(self, seq: int) -> list[tuple[int, str]]:
        """Return the messages (seq, document) behind a number."""
        return [message for message in self._messages if message[0] > seq]

    def messages(self) -> list[Message]:
        """Return all of them."""
        return [_KINDS[json.loads(document)["type"]].model_validate_json(document) for _, document in self._messages]

    async def number(self) -> int:
        """Return the number of a message that is sent and not kept; all below it that are kept are there by then."""
        async with self._numbering:
            return await self._next()

    async def say(self, messages: Sequence[Message], *, conversation: Conversation | None = None) -> None:
        """Keep messages, and with them what has been heard of the speakers; only then are they there to be sent."""
        heard = conversation.to_bytes() if conversation is not None and conversation.heard else None
        async with self._numbering:
            numbered = []
            for message in messages:
                seq = await self._next()
                numbered.append((seq, message.model_copy(update={"seq": seq}).model_dump_json()))
            await self._keep(lambda store: store.add_events(self._session_id, numbered, conversation=heard))
            self._messages += numbered

    def append(self, data: bytes) -> None:
        """Keep whole frames of sound; called from a worker thread."""
        if self._sound is None:
            return
        try:
            self._sound.append(data)
        except OSError as error:
            self._give_up(error)

    async def keep_place(self, listener: Listener, *, sample_rate_hz: int) -> None:
        """Keep where the listener stands, and let go of sound that it does not need to go on from there."""
        before = self._sound
        if before is None:
            return
        first = listener.earliest_frame
        is_worth_it = first - before.first_frame > _WORTH_TRIMMING_SECONDS * sample_rate_hz
        state, frame = listener.to_json(), listener.num_frames

        def keep(store: "CallStore") -> CallSound:
            sound = store.trimmed(self._session_id, before, first_frame=first) if is_worth_it else before
            store.checkpoint(self._session_id, frame=frame, listener=state, sound=sound)
            return sound

        sound = await self._keep(keep)
        if sound is not None and sound is not before:
            self._sound = sound
            before.delete()

    async def end(self) -> None:
        """The call is over: its sound goes."""
        await self._keep(lambda store: store.end(self._session_id))
        if self._sound is not None:
            self._sound.delete()
            self._sound = None

    async def forget(self) -> None:
        """Remove what was kept."""
        await self._keep(lambda store: store.forget(self._session_id))

    def close(self) -> None:
        """Let go of the files, and leave them to another process."""
        if self._sound is not None:
            self._sound.close()
            self._sound = None

    async def _next(self) -> int:
        if self._seq + 1 >= self._reserved:
            self._reserved = self._seq + 1 + RESERVED
            await self._keep(lambda store: store.reserve(self._session_id, self._reserved))
        self._seq += 1
        return self._seq

    async def _keep(self, work: "Callable[[CallStore], Any]") -> Any:
        store = self._store
        if store is None:
            return None
        from sqlalchemy.exc import SQLAlchemyError

        try:
            return await asyncio.to_thread(work, store)
        except (SQLAlchemyError, OSError) as error:
            self._give_up(error)
            return None

    def _give_up(self, error: Exception) -> None:
        # The call matters more than that it could go on after a restart. The message may quote what was said.
        facts = {"session_id": self._session_id, "error": type(error).__name__}
        logger.error("a live call is not kept on disk any more", extra={"facts": facts})
        self._store = None
        sound, self._sound = self._sound, None
        if sound is not None:
            with suppress(OSError):
                sound.delete()
