"""A candidate beside the bundle that is served: it judges a share of what is answered, and nobody hears of it."""

import asyncio
import logging
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from model.bundle import Bundle
from model.features import Array, Features
from model.recognizer import JudgedUtterance

logger = logging.getLogger(__name__)

_SHARE_STEPS = 10_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Agreement:
    """How a candidate judged utterances that were answered by another.

    distance: by how much probability the two differ (total variation, 0 to 1), summed over the utterances.
    """

    version: str
    agreed: int
    disagreed: int
    distance: float


class Shadow:
    """Compares one recording at a time, in a thread: what comes meanwhile is let pass, so that nothing ever waits."""

    def __init__(self, candidate: Bundle, *, share: float, on_compared: Callable[[Agreement], None]) -> None:
        """share: of the requests that are compared, chosen by their ids."""
        self.candidate = candidate
        self._share = share
        self._on_compared = on_compared
        self._comparing: asyncio.Task[None] | None = None

    def offer(self, request_id: str, judged: Sequence[JudgedUtterance]) -> None:
        """Compare utterances of an answer, if its turn has come."""
        is_chosen = zlib.crc32(request_id.encode()) % _SHARE_STEPS < self._share * _SHARE_STEPS
        if not is_chosen or (self._comparing is not None and not self._comparing.done()):
            return
        seen = [
            (one.features, one.probabilities)
            for one in judged
            if one.features is not None and one.probabilities is not None
        ]
        if seen:
            self._comparing = asyncio.create_task(self._compare(seen))

    async def close(self) -> None:
        """Compare nothing more."""
        if self._comparing is not None:
            self._comparing.cancel()
            await asyncio.wait({self._comparing})

    async def _compare(self, judged: Sequence[tuple[Features, Array]]) -> None:
        try:
            found = await asyncio.to_thread(self.candidate.predict, [features for features, _ in judged])
        except Exception as error:  # noqa: BLE001 - whatever a candidate does wrong, the answer was given
            logger.warning("the candidate failed", extra={"facts": {"error": type(error).__name__}})
            return
        answered = np.stack([probabilities for _, probabilities in judged])
        agreed = int((found.argmax(1) == answered.argmax(1)).sum())
        self._on_compared(
            Agreement(
                version=self.candidate.facts.version,
                agreed=agreed,
                disagreed=len(judged) - agreed,
                distance=float(np.abs(found - answered).sum() / 2),
            )
        )
