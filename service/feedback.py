"""Feedback: what was judged lately, and the labels that people give it instead."""

import asyncio
import logging
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

from model.bundle import BundleFacts
from model.errors import FeedbackNotKept, LabelUnknown, SegmentUnknown
from model.recognizer import JudgedUtterance
from service.recent import RecentSegments
from service.settings import Settings

if TYPE_CHECKING:
    from service.corrections import Correction, Corrections

logger = logging.getLogger(__name__)

Result = TypeVar("Result")


class Feedback:
    """Corrections of one service; the database is opened when the first one comes."""

    def __init__(self, settings: Settings) -> None:
        self.recent = RecentSegments(max_bytes=settings.feedback_memory_bytes, keeps_audio=settings.feedback_audio)
        self._settings = settings
        self._opening = threading.Lock()
        self._corrections: Corrections | None = None

    async def remember(self, request_id: str, judged: Sequence[JudgedUtterance], *, facts: BundleFacts) -> None:
        """Keep what was judged for a while, so that it can be corrected. request_id: or a live session's id."""
        if self._settings.feedback_memory_bytes:
            # Copies up to tens of megabytes: not in the event loop.
            await asyncio.to_thread(self.recent.remember, request_id, judged, facts=facts)

    async def correct(
        self, request_id: str, segment_id: str, *, label: str, note: str, labels: tuple[str, ...]
    ) -> "Correction":
        """Keep the label that somebody gives a segment. labels: of the bundle that is served, for segments of before.

        Raises:
            SegmentUnknown: it was not judged by this process, or too long ago.
            LabelUnknown: it is no label of the bundle that judged it.
            FeedbackNotKept: the database cannot be reached.
        """
        segment = self.recent.find(request_id, segment_id)
        allowed = labels if segment is None else segment.facts.labels
        if label not in allowed:
            raise LabelUnknown(f"expected one of {', '.join(allowed)}", value=label, limit=", ".join(allowed))

        def keep(corrections: "Corrections") -> "Correction":
            amended = corrections.amend(request_id, segment_id, label=label, note=note)
            if amended is not None:
                return amended
            if segment is None:
                raise SegmentUnknown(
                    "this segment was not judged by this process, or too long ago to be remembered", value=segment_id
                )
            return corrections.add(segment, label=label, note=note)

        return await asyncio.to_thread(self._with_database, keep)

    async def given(self, request_id: str) -> "list[Correction]":
        """Return the corrections of one request, oldest first.

        Raises:
            FeedbackNotKept: the database cannot be reached.
        """
        return await asyncio.to_thread(self._with_database, lambda corrections: corrections.of(request_id))

    def close(self) -> None:
        """Close the database, where it was opened."""
        if self._corrections is not None:
            self._corrections.close()

    def _with_database(self, work: "Callable[[Corrections], Result]") -> Result:
        from sqlalchemy.exc import SQLAlchemyError

        from service.corrections import Corrections
        from service.database import open_database

        try:
            with self._opening:
                if self._corrections is None:
                    self._corrections = Corrections(open_database(self._settings))
            return work(self._corrections)
        except (SQLAlchemyError, OSError) as error:
            # Its message may quote the row.
            logger.error("the database of feedback failed", extra={"facts": {"error": type(error).__name__}})
            raise FeedbackNotKept("the database that feedback is kept in cannot be used at the moment") from error
