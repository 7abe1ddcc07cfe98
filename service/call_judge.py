"""The utterances of one live call, heard and judged in the order that they ended."""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from model.errors import DeadlineExceeded, NotReady, Overloaded, StageFailed, VcemoError
from model.features import Array, Features
from model.recognizer import JudgedUtterance, heard_in
from model.segment import Utterance
from model.speaker import Conversation
from model.speech import Transcript
from service.budget import Budget
from service.call_preview import Hearing
from service.pipeline import HeardUtterance, Pipeline

logger = logging.getLogger(__name__)

_MAX_PENDING: Final = 8
"""Utterances that wait to be judged; nothing more of the call is heard before there is room."""
_RETRY_SECONDS: Final = 0.5
_NOTHING_HEARD: Final = Transcript(
    text="",
    language="",
    status="no_speech",
    avg_logprob=0.0,
    no_speech_probability=1.0,
    states=np.zeros((0, 0), np.float32),
    num_tokens=0,
    fell_back=False,
)
"""Of an utterance over which a stage failed: the call goes on without it."""


@dataclass(kw_only=True, slots=True)
class _Pending:
    utterance: Utterance
    hearing: Hearing
    ended: float
    """When its end was certain, on the monotonic clock."""


class CallJudge:
    """Judges one after the other, for each speaker is judged by what was heard before; hears many at once."""

    def __init__(
        self,
        pipeline: Pipeline,
        *,
        may_judge: Sequence[bool],
        budget_seconds: float,
        tell: Callable[[JudgedUtterance, float], Coroutine[Any, Any, None]],
    ) -> None:
        """may_judge: of each channel. tell: is told of each utterance, and how many seconds ago its end was certain."""
        self.conversation: Conversation | None = None
        self._pipeline = pipeline
        self._may_judge = may_judge
        self._budget_seconds = budget_seconds
        self._tell = tell
        self._pending: deque[_Pending] = deque()
        self._is_expecting = asyncio.Event()
        self._has_told = asyncio.Event()
        self._task = asyncio.create_task(self._judge_all())

    @property
    def is_idle(self) -> bool:
        """Whether every utterance has been told of."""
        return not self._pending

    @property
    def pending_ids(self) -> set[tuple[int, int]]:
        """Channel and start of those that have not."""
        return {(one.utterance.channel, one.utterance.start_ms) for one in self._pending}

    def expect(self, utterance: Utterance, hearing: Hearing | None) -> None:
        """Judge an utterance that has ended. hearing: where it is being heard already."""
        if hearing is None:
            hearing = asyncio.create_task(self._heard(utterance))
        self._pending.append(_Pending(utterance=utterance, hearing=hearing, ended=time.monotonic()))
        self._is_expecting.set()

    async def room(self) -> None:
        """Wait until another utterance may come."""
        await self._wait_until(lambda: len(self._pending) < _MAX_PENDING)

    async def done(self) -> None:
        """Wait until all that was expected is told.

        Raises:
            NotReady: the service is shutting down, and what is left is not judged here.
        """
        await self._wait_until(lambda: not self._pending)

    async def hear_once(self, utterance: Utterance, budget: Budget) -> HeardUtterance:
        """Have an utterance heard; raises as the pipeline does."""
        return await self._pipeline.hear(utterance, budget, is_judged=self._may_judge[utterance.channel])

    async def close(self) -> None:
        """Judge no more."""
        self._task.cancel()
        for one in self._pending:
            one.hearing.cancel()
        await asyncio.wait({self._task})

    async def _wait_until(self, is_so: Callable[[], bool]) -> None:
        while not is_so():
            if self._task.done():
                raise NotReady("the service is shutting down")
            self._has_told.clear()
            told = asyncio.ensure_future(self._has_told.wait())
            await asyncio.wait({told, self._task}, return_when=asyncio.FIRST_COMPLETED)
            told.cancel()

    async def _judge_all(self) -> None:
        while True:
            await self._is_expecting.wait()
            while self._pending:
                one = self._pending[0]
                try:
                    judged = await self._judged(one.utterance, await self._hearing_of(one))
                except NotReady:
                    return  # the pipeline closes; what is pending was kept, and is judged by the next process
                await self._tell(judged, time.monotonic() - one.ended)
                self._pending.popleft()
                self._has_told.set()
            self._is_expecting.clear()

    async def _heard(self, utterance: Utterance) -> HeardUtterance:
        """However long that takes: nobody is left out because the service is busy."""
        while True:
            try:
                return await self.hear_once(utterance, Budget(self._budget_seconds))
            except (Overloaded, DeadlineExceeded):
                await asyncio.sleep(_RETRY_SECONDS)

    async def _hearing_of(self, one: _Pending) -> HeardUtterance | None:
        try:
            try:
                return await one.hearing
            except (Overloaded, DeadlineExceeded):  # of a guess, which is made once
                one.hearing = asyncio.create_task(self._heard(one.utterance))
                return await one.hearing
        except NotReady:
            raise
        except VcemoError as error:
            logger.error("an utterance of a live call could not be heard", extra={"facts": {"code": error.code}})
            return None

    async def _classified(self, features: Features) -> Array | None:
        """However long that takes, as hearing it; None where the stage fails over it, for the call goes on."""
        while True:
            try:
                return await self._pipeline.classify(features, Budget(self._budget_seconds))
            except (Overloaded, DeadlineExceeded):
                await asyncio.sleep(_RETRY_SECONDS)
            except StageFailed as error:
                logger.error("an utterance of a live call could not be judged", extra={"facts": {"code": error.code}})
                return None

    async def _judged(self, utterance: Utterance, heard: HeardUtterance | None) -> JudgedUtterance:
        probabilities = features = None
        if heard is not None and heard.features is not None:
            features = heard.features
            if self.conversation is not None:
                features = heard_in(self.conversation, features, utterance.channel)
            probabilities = await self._classified(features)
        return JudgedUtterance(
            utterance=utterance,
            transcript=_NOTHING_HEARD if heard is None else heard.transcript,
            probabilities=probabilities,
            judged=self._may_judge[utterance.channel],
            features=features,
        )
