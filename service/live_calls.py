"""Every live call of this process: who may begin one, who waits for its client, and the board that shows them."""

import asyncio
import logging
import uuid
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from model.errors import NotReady, Overloaded, SessionUnknown, VcemoError
from model.listener import Listener
from model.speaker import Conversation
from service.alerts import AlertRule
from service.board import board_of
from service.call_format import CallFormat
from service.call_record import CallRecord
from service.editions import Edition, Editions
from service.live_call import CallFacts, CallHooks, LiveCall
from service.roles import Roles
from service.settings import Settings
from service.stream_messages import Board

if TYPE_CHECKING:
    from service.call_sound import CallSound
    from service.call_store import CallStore, KeptCall

logger = logging.getLogger(__name__)

_SOUND_FILES: Final = "*.frames"


class LiveCalls:
    """Opens, keeps and ends live calls. Nothing is imported or written before the first."""

    def __init__(
        self,
        settings: Settings,
        *,
        editions: Editions,
        rules: Sequence[AlertRule] = (),
        hooks: CallHooks = CallHooks(),
    ) -> None:
        self._settings = settings
        self._editions = editions
        self._rules = rules
        self._hooks = replace(hooks, on_change=self._note_change)
        self._calls: dict[str, LiveCall] = {}
        self._expiring: dict[str, asyncio.Task[None]] = {}
        self._store: CallStore | None = None
        self._opening = asyncio.Lock()
        self._num_beginning = 0
        self._cannot_keep = not settings.keep_live_calls
        self.has_restored = False
        """Whether calls that a process before left behind go on; none is found before."""
        self.is_leaving = asyncio.Event()
        """Set when every client has to connect anew: the process ends."""
        self.version = 0
        """Rises with every change of the board."""

    @property
    def num_running(self) -> int:
        """Calls that have not ended."""
        return sum(call.state != "ended" for call in self._calls.values())

    async def begin(self, call_format: CallFormat, roles: Roles, *, key_name: str) -> LiveCall:
        """Begin a call; it waits for its client.

        Raises:
            NotReady: nothing is loaded, or the service is shutting down.
            Overloaded: there are as many as there may be.
        """
        edition = self._edition()
        taken, limit = self.num_running + self._num_beginning, self._settings.max_live_calls
        if taken >= limit:
            raise Overloaded("every place for a live call is taken", value=taken, limit=limit)
        facts = CallFacts(
            session_id=uuid.uuid4().hex,
            key_name=key_name,
            started_at=datetime.now(UTC),
            format=call_format,
            roles=roles,
        )
        self._num_beginning += 1
        try:
            record = await self._new_record(facts)
        finally:
            self._num_beginning -= 1
        call = LiveCall(
            facts, edition=edition, settings=self._settings, record=record, rules=self._rules, hooks=self._hooks
        )
        self._calls[facts.session_id] = call
        self.leave(call)
        return call

    def find(self, session_id: str, *, key_name: str) -> LiveCall:
        """Return a call for its client to go on with.

        Raises:
            NotReady: it may be among those that a process before has left behind, which do not go on yet.
            SessionUnknown: there is none of this id, or another key began it.
        """
        self._edition()
        call = self._calls.get(session_id)
        if call is None or call.facts.key_name != key_name:
            raise SessionUnknown("no live call of this id is known here, or it was over too long ago", value=session_id)
        return call

    def join(self, call: LiveCall) -> None:
        """Its client is there."""
        expiring = self._expiring.pop(call.facts.session_id, None)
        if expiring is not None:
            expiring.cancel()
        if call.state == "waiting":
            call.state = "live"
        self._note_change()

    def leave(self, call: LiveCall) -> None:
        """Its client is gone, and may come back for a while."""
        if call.state == "ended":
            self._expire(call, self._forget_later)
            return
        call.state = "waiting"
        self._note_change()
        if not self.is_leaving.is_set():
            self._expire(call, self._finish_later)

    def board(self) -> Board:
        """Return all that is known of the calls, the newest first."""
        return board_of(self._calls.values())

    async def restore(self) -> None:
        """Go on with calls that a process before left behind, where there are any."""
        if not self._cannot_keep and any(_folder(self._settings).glob(_SOUND_FILES)):
            store = await self._open_store()
            if store is not None:
                await self._restore(store)
        self.has_restored = True

    async def _restore(self, store: "CallStore") -> None:
        for kept, sound in await asyncio.to_thread(store.unfinished):
            call = self._kept_call(kept, sound, store)
            try:
                await self._go_on(call, kept, sound)
            except NotReady:  # the service stops: the next one may try
                await call.close()
                return
            except (ValueError, KeyError, TypeError, OSError, VcemoError) as error:
                # Of another version of this service, say. One that cannot go on must not keep the others from it.
                facts = {"session_id": kept.session_id, "error": type(error).__name__}
                logger.error("a live call cannot go on", extra={"facts": facts})
                await call.record.end()
                await call.close()

    async def close(self) -> None:
        """Let go of every call; what is kept of them waits for the next process, and what is not ends here."""
        self.is_leaving.set()
        tasks = list(self._expiring.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        await asyncio.gather(*(call.close() for call in self._calls.values() if call.state != "ended"))
        if self._store is not None:
            await asyncio.to_thread(self._store.close)

    def _edition(self) -> Edition:
        if not self.has_restored or self.is_leaving.is_set():
            raise NotReady("the service is not ready for live calls")
        return self._loaded()

    def _loaded(self) -> Edition:
        if self._editions.current is None:
            raise NotReady("the service is not ready for live calls")
        return self._editions.current

    async def _new_record(self, facts: CallFacts) -> CallRecord:
        store = await self._open_store()
        if store is None:
            return CallRecord(facts.session_id)
        from sqlalchemy.exc import SQLAlchemyError

        try:
            sound = await asyncio.to_thread(store.add, facts)
        except (SQLAlchemyError, OSError) as error:
            logger.error("a live call cannot be kept on disk", extra={"facts": {"error": type(error).__name__}})
            return CallRecord(facts.session_id)
        return CallRecord(facts.session_id, store=store, sound=sound)

    async def _open_store(self) -> "CallStore | None":
        async with self._opening:
            if self._store is None and not self._cannot_keep:
                self._store = await asyncio.to_thread(_opened, self._settings)
                self._cannot_keep = self._store is None
            return self._store

    def _kept_call(self, kept: "KeptCall", sound: "CallSound", store: "CallStore") -> LiveCall:
        facts = CallFacts(
            session_id=kept.session_id,
            key_name=kept.key_name,
            started_at=kept.started_at,
            format=kept.format,
            roles=Roles(names=kept.roles, unjudged=self._settings.roles().unjudged),
        )
        record = CallRecord(
            kept.session_id, store=store, sound=sound, messages=kept.events, reserved_seq=kept.reserved_seq
        )
        return LiveCall(
            facts, edition=self._loaded(), settings=self._settings, record=record, rules=self._rules, hooks=self._hooks
        )

    async def _go_on(self, call: LiveCall, kept: "KeptCall", sound: "CallSound") -> None:
        received = await asyncio.to_thread(sound.read)
        known = (kept.checkpoint_frame - sound.first_frame) * kept.format.frame_bytes
        segment, rate = call.edition.facts.features.segment, kept.format.sample_rate_hz
        if kept.checkpoint:
            listener = Listener.resumed(
                segment,
                kept.checkpoint,
                kept.format.decode(received[:known]),
                first_frame=sound.first_frame,
                sample_rate_hz=rate,
            )
        else:
            listener = Listener(segment, sample_rate_hz=rate, channels=kept.format.channels)
        conversation = Conversation.from_bytes(kept.conversation) if kept.conversation else Conversation()
        await call.go_on(listener, received[known:], conversation)
        self._calls[kept.session_id] = call
        self.leave(call)
        logger.info("a live call goes on", extra={"facts": {"session_id": kept.session_id, "ms": call.received_ms}})

    def _expire(self, call: LiveCall, later: Callable[[LiveCall], Coroutine[Any, Any, None]]) -> None:
        expiring = self._expiring.pop(call.facts.session_id, None)
        if expiring is not None:
            expiring.cancel()
        self._expiring[call.facts.session_id] = asyncio.create_task(later(call))

    async def _finish_later(self, call: LiveCall) -> None:
        await asyncio.sleep(self._settings.resume_seconds)
        with suppress(NotReady):  # the next process finishes it
            await call.finish()
            await self._forget_later(call)

    async def _forget_later(self, call: LiveCall) -> None:
        await asyncio.sleep(self._settings.ended_call_seconds)
        del self._calls[call.facts.session_id]
        self._expiring.pop(call.facts.session_id, None)
        await call.record.forget()
        self._note_change()

    def _note_change(self) -> None:
        self.version += 1


def _opened(settings: Settings) -> "CallStore | None":
    from sqlalchemy.exc import SQLAlchemyError

    from service.call_store import CallStore
    from service.database import open_database

    try:
        store = CallStore(open_database(settings), _folder(settings))
        store.forget_ended(before=datetime.now(UTC) - timedelta(seconds=settings.ended_call_seconds))
    except (SQLAlchemyError, OSError) as error:
        facts = {"error": type(error).__name__}
        logger.error("live calls are not kept on disk: the database cannot be used", extra={"facts": facts})
        return None
    return store


def _folder(settings: Settings) -> Path:
    return settings.state_folder.expanduser() / "live"
