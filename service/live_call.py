"""One live call: its sound in, messages about it out; it outlives its connections, and the process."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Final, Literal, Protocol

from model.errors import CallTooLong
from model.listener import Listener
from model.recognizer import JudgedUtterance
from model.segment import Utterance
from model.speaker import Conversation
from service.alerts import AlertRule, AlertWatch
from service.answers import segment_of
from service.budget import Budget
from service.call_format import CallFormat
from service.call_judge import CallJudge
from service.call_preview import CallPreview
from service.call_record import CallRecord
from service.editions import Edition
from service.options import Options
from service.roles import Roles
from service.schemas import Alert, CallSummary, Segment
from service.settings import Settings
from service.stream_messages import (
    AlertMessage,
    Message,
    PartialMessage,
    SegmentMessage,
    SpeakerState,
    SummaryMessage,
)
from service.summary import summary_of

State = Literal["live", "waiting", "ended"]

_CHECKPOINT_SECONDS: Final = 5.0


@dataclass(frozen=True, kw_only=True, slots=True)
class CallFacts:
    """What a client says of its call when it begins."""

    session_id: str
    key_name: str
    started_at: datetime
    format: CallFormat
    roles: Roles

    @property
    def of_channels(self) -> tuple[str | None, ...]:
        """Who speaks on each channel."""
        return self.roles.of_channels(self.format.channels)

    @property
    def may_judge(self) -> list[bool]:
        """Whether who speaks on each channel may be judged."""
        return [self.roles.may_judge(role) for role in self.of_channels]


class OnJudged(Protocol):
    """Takes in what was judged of a call, by its session's id."""

    async def __call__(self, session_id: str, judged: Sequence[JudgedUtterance], /, *, edition: Edition) -> None:
        """Take in utterances."""


async def _let_go(_session_id: str, _judged: Sequence[JudgedUtterance], *, edition: Edition) -> None:
    """Keep nothing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CallHooks:
    """Whom a call tells. on_label: of every utterance, with the seconds since its end was certain."""

    on_change: Callable[[], None] = lambda: None
    on_alert: Callable[[Alert, str], None] = lambda _alert, _session_id: None
    on_label: Callable[[JudgedUtterance, float], None] = lambda _judged, _seconds: None
    on_judged: OnJudged = _let_go


class CallSeat:
    """The place of the one connection that a call has. taken: by another; left: by this one."""

    def __init__(self) -> None:
        self.taken = asyncio.Event()
        self.left = asyncio.Event()


class LiveCall:
    """Hears a call, and says what was said in it and how."""

    def __init__(
        self,
        facts: CallFacts,
        *,
        edition: Edition,
        settings: Settings,
        record: CallRecord,
        rules: Sequence[AlertRule] = (),
        hooks: CallHooks = CallHooks(),
    ) -> None:
        self.facts = facts
        self.edition = edition
        self.record = record
        self.state: State = "waiting"
        self.seat: CallSeat | None = None
        self.segments: list[Segment] = []
        self.alerts: list[Alert] = []
        self.changed = asyncio.Event()
        """Set when there is something to be sent; whoever sends clears it."""
        self._settings = settings
        self._hooks = hooks
        self._watch = AlertWatch(rules)
        self._holding = ExitStack()
        self._holding.enter_context(edition.held())
        self._listener = Listener(
            edition.facts.features.segment, sample_rate_hz=facts.format.sample_rate_hz, channels=facts.format.channels
        )
        seconds = settings.request_timeout_seconds
        self._judge = CallJudge(edition.pipeline, may_judge=facts.may_judge, budget_seconds=seconds, tell=self._tell)
        self._judge.conversation = self._new_conversation()
        self._preview = CallPreview(
            self._judge.hear_once,
            has_room=lambda: edition.pipeline.has_room_to_guess,
            budget_seconds=seconds,
            roles=facts.of_channels,
            shows_text=not settings.redact_transcript,
            on_change=self.changed.set,
        )
        self._lock = asyncio.Lock()
        self._checkpoint_frame = 0
        self._finishing: asyncio.Task[None] | None = None

    @property
    def received_ms(self) -> int:
        """How much has been heard, and is kept."""
        return self.facts.format.milliseconds(self._listener.num_frames)

    @property
    def num_repeated_frames(self) -> int:
        """Frames that a client sends again who begins at :attr:`received_ms`."""
        return self._listener.num_frames - self.received_ms * self.facts.format.sample_rate_hz // 1000

    def partials(self) -> Iterator[PartialMessage]:
        """What is new of the utterances that go on."""
        return self._preview.partials()

    def speaker(self, channel: int) -> SpeakerState:
        """Sum up what was heard of a channel so far."""
        summary = self._summary([segment for segment in self.segments if segment.channel == channel])
        if summary is None:
            return SpeakerState(utterances=0, emotions=None, sentiment=None)
        role = summary.roles[channel]
        score = role.sentiment.score if role.sentiment is not None else None
        return SpeakerState(utterances=role.utterances, emotions=role.emotions, sentiment=score)

    async def settled(self) -> None:
        """Wait until nothing is being heard: a connection that broke may have left a last message."""
        async with self._lock:
            return

    async def hear(self, data: bytes) -> None:
        """Hear whole frames; returns when they are kept, and there is room for more.

        Raises:
            CallTooLong: the call has lasted as long as it may.
            StreamInvalid: these are no whole frames.
            ServingError: the service cannot hear at the moment; nothing of the data counts as received.
        """
        # Shielded: a connection that breaks meanwhile must not leave a piece heard that nobody counted.
        await asyncio.shield(asyncio.ensure_future(self._hear(data)))
        await self._judge.room()

    async def finish(self) -> None:
        """Judge what is left, and sum up; once, however often it is called.

        Raises:
            NotReady: the service is shutting down; the next process may finish it.
        """
        if self._finishing is None:
            self._finishing = asyncio.create_task(self._finish())
        await asyncio.shield(self._finishing)

    async def close(self) -> None:
        """Let go of it as it is; what was kept stays for another process."""
        if self._finishing is not None:
            self._finishing.cancel()
            await asyncio.wait({self._finishing})
        await self._let_go()
        self.record.close()

    async def go_on(self, listener: Listener, unkept: bytes, conversation: Conversation) -> None:
        """Continue where another process stood.

        listener: as it was at the last checkpoint. unkept: the frames received since: heard again, and what was said
        of them is not said again.
        """
        self._listener, self._checkpoint_frame = listener, listener.num_frames
        if self._judge.conversation is not None:
            self._judge.conversation = conversation
        for message in self.record.messages():
            if isinstance(message, SegmentMessage):
                self.segments.append(message.segment)
                self._watch.see(message.segment)
            elif isinstance(message, AlertMessage):
                self.alerts.append(message.alert)
            elif isinstance(message, SummaryMessage):  # the process ended a moment before the call had
                await self._end()
                return
        frames, step = self.facts.format.decode(unkept), self.facts.format.sample_rate_hz
        for begin in range(0, len(frames), step):
            piece = frames[begin : begin + step]
            self._expect(await self._listen(partial(self._listener.push, piece)))
            await self._judge.room()

    async def _hear(self, data: bytes) -> None:
        async with self._lock:
            frames = self.facts.format.decode(data)
            if self._finishing is not None:  # over, as the client will be told
                return
            limit = self._settings.max_call_seconds
            if self._listener.num_frames + len(frames) > limit * self.facts.format.sample_rate_hz:
                raise CallTooLong(f"the call lasts more than {limit:g} s", limit=limit)

            def hear() -> list[Utterance]:
                self.record.append(data)
                return self._listener.push(frames)

            self._expect(await self._listen(hear))
            self._preview.look(self._listener)
            await self._keep_place()

    def _listen(self, work: Callable[[], list[Utterance]]) -> "asyncio.Future[list[Utterance]]":
        budget = Budget(self._settings.request_timeout_seconds)
        return asyncio.ensure_future(self.edition.pipeline.listen(work, budget))

    def _expect(self, utterances: Sequence[Utterance]) -> None:
        if not utterances:
            return
        told = {(one.channel, one.start_ms) for one in self.segments} | self._judge.pending_ids
        for utterance in utterances:
            hearing = self._preview.ended(utterance)
            # Heard again after a restart, some have been told of already.
            if (utterance.channel, utterance.start_ms) not in told:
                self._judge.expect(utterance, hearing)

    async def _tell(self, judged: JudgedUtterance, seconds: float) -> None:
        """Keep what is to be said of an utterance, then say it."""
        segment = segment_of(
            judged,
            labels=self.edition.facts.labels,
            role=self.facts.of_channels[judged.utterance.channel],
            redact_transcript=self._settings.redact_transcript,
        )
        alerts = self._watch.see(segment)
        self.segments.append(segment)
        messages: list[Message] = [SegmentMessage(segment=segment, speaker=self.speaker(segment.channel))]
        messages += [AlertMessage(alert=alert) for alert in alerts]
        await self.record.say(messages, conversation=self._judge.conversation)
        self.alerts += alerts
        for alert in alerts:
            self._hooks.on_alert(alert, self.facts.session_id)
        self._hooks.on_label(judged, seconds)
        await self._hooks.on_judged(self.facts.session_id, [judged], edition=self.edition)
        self._has_changed()

    async def _finish(self) -> None:
        async with self._lock:
            self._expect(await self._listen(self._listener.finish))
        await self._judge.done()
        summary = self._summary(self.segments)
        await self.record.say([SummaryMessage(summary=summary, segments=len(self.segments))])
        await self._end()

    async def _end(self) -> None:
        await self.record.end()
        await self._let_go()
        self.state = "ended"
        self._has_changed()

    async def _keep_place(self) -> None:
        """Between utterances only, so that none is left out, or judged twice, by who goes on from there."""
        rate = self.facts.format.sample_rate_hz
        if self._judge.is_idle and self._listener.num_frames - self._checkpoint_frame >= _CHECKPOINT_SECONDS * rate:
            self._checkpoint_frame = self._listener.num_frames
            await self.record.keep_place(self._listener, sample_rate_hz=rate)

    def _summary(self, segments: Sequence[Segment]) -> CallSummary | None:
        roles, judged = self.facts.of_channels, self.facts.may_judge
        return summary_of(segments, duration_ms=self.received_ms, roles=roles, judged=judged)

    def _new_conversation(self) -> Conversation | None:
        if not self.edition.recognizer.bundle.adapts_to_speakers:
            return None
        return Conversation() if Options(roles=self.facts.roles).adapts(self.facts.format.channels) else None

    def _has_changed(self) -> None:
        self.changed.set()
        self._hooks.on_change()

    async def _let_go(self) -> None:
        self._preview.close()
        await self._judge.close()
        self._holding.close()
