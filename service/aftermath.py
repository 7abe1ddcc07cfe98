"""What comes of judgements beside their answer: drift is counted, a candidate compared, corrections made possible."""

import asyncio
import logging
from collections.abc import Sequence

from model.bundle import Bundle
from model.errors import BundleRefused
from model.recognizer import JudgedUtterance
from service.editions import Edition, Editions
from service.feedback import Feedback
from service.logs import stack_of
from service.metrics import Metrics
from service.settings import Settings
from service.shadow import Shadow

logger = logging.getLogger(__name__)


class Aftermath:
    """Sees what was judged of every recording, job and live call."""

    def __init__(self, settings: Settings, *, editions: Editions, metrics: Metrics) -> None:
        self.feedback = Feedback(settings)
        self._settings = settings
        self._editions = editions
        self._metrics = metrics
        self._shadow: Shadow | None = None

    async def see(self, request_id: str, judged: Sequence[JudgedUtterance], *, edition: Edition) -> None:
        """Take in utterances; whatever goes wrong here, they are answered.

        request_id: or the name of the job or live call that they are segments of.
        """
        try:
            edition.drift.observe(judged)
            if edition is self._editions.current:
                self._metrics.drifted(edition.drift.divergences())
            if self._shadow is not None:
                self._shadow.offer(request_id, judged)
            await self.feedback.remember(request_id, judged, facts=edition.facts)
        except Exception as error:  # noqa: BLE001 - of nobody's answer
            logger.error("unexpected error", extra={"facts": {"request_id": request_id, "stack": stack_of(error)}})

    async def have_candidate(self, candidate: Bundle | None) -> None:
        """Compare another bundle from now on, or none.

        Raises:
            BundleRefused: it reads other features than the bundle that is served.
        """
        before, self._shadow = self._shadow, None
        if before is not None:
            await before.close()
        served = self._editions.current
        if candidate is None or served is None:
            return
        # It is shown the features that were computed for the answer.
        if (candidate.facts.features_digest, candidate.facts.labels) != (
            served.facts.features_digest,
            served.facts.labels,
        ):
            raise BundleRefused("the candidate reads other features than the bundle that is served", value="features")
        self._shadow = Shadow(
            candidate, share=self._settings.candidate_share, on_compared=self._metrics.candidate_compared
        )
        logger.info("comparing a candidate", extra={"facts": {"version": candidate.facts.version}})

    async def close(self) -> None:
        """Compare nothing more, and close the database."""
        if self._shadow is not None:
            await self._shadow.close()
        await asyncio.to_thread(self.feedback.close)
