"""Alerts to whoever wants to hear of them: signed as Standard Webhooks (standardwebhooks.com), with retry."""

import asyncio
import json
import logging
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from standardwebhooks import Webhook
from standardwebhooks.webhooks import EmptyWebhookSecretError

from model.errors import AlertRulesInvalid
from service.alerts import WebhookTarget
from service.schemas import Alert

if TYPE_CHECKING:
    import httpx2

logger = logging.getLogger(__name__)

_MAX_WAITING: Final = 1000
"""Deliveries that are under way; who listens to nobody for so long misses the rest."""
_MAX_ATTEMPTS: Final = 8
_FIRST_WAIT_SECONDS: Final = 0.5
_LONGEST_WAIT_SECONDS: Final = 60.0
_TIMEOUT_SECONDS: Final = 10.0


class Webhooks:
    """Sends alerts in the background; nothing is imported or opened before the first."""

    def __init__(
        self,
        targets: Sequence[WebhookTarget],
        *,
        on_delivery: Callable[[str], None] = lambda _: None,
        first_wait_seconds: float = _FIRST_WAIT_SECONDS,
    ) -> None:
        """on_delivery: is told what became of each: ok, failed or dropped.

        Raises:
            AlertRulesInvalid: the file of a secret cannot be read, or holds none.
        """
        self._targets = [(target, _secret_of(target)) for target in targets]
        self._on_delivery = on_delivery
        self._first_wait_seconds = first_wait_seconds
        self._under_way: set[asyncio.Task[None]] = set()
        self._client: httpx2.AsyncClient | None = None

    def send(self, alert: Alert, *, request_id: str) -> None:
        """Tell every target that wants to know. request_id: of the recording, or the live call's session."""
        for target, secret in self._targets:
            if target.rules and alert.rule not in target.rules:
                continue
            if len(self._under_way) >= _MAX_WAITING:
                logger.warning(
                    "an alert was dropped: too many wait for their webhooks", extra={"facts": {"rule": alert.rule}}
                )
                self._on_delivery("dropped")
                continue
            task = asyncio.create_task(self._deliver(target.url, secret, alert, request_id))
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)

    async def close(self, *, seconds: float = 0.0) -> None:
        """Give what is under way so long, then let go."""
        if self._under_way:
            await asyncio.wait(self._under_way, timeout=seconds)
        for task in tuple(self._under_way):
            task.cancel()
        if self._client is not None:
            await self._client.aclose()

    async def _deliver(self, url: str, secret: str, alert: Alert, request_id: str) -> None:
        import httpx2
        from tenacity import (
            AsyncRetrying,
            RetryError,
            retry_if_exception_type,
            stop_after_attempt,
            wait_random_exponential,
        )

        if self._client is None:
            # No redirects: the signature is for whom the file names.
            self._client = httpx2.AsyncClient(timeout=_TIMEOUT_SECONDS, follow_redirects=False, trust_env=False)
        message_id, body = f"msg_{request_id}_{alert.id}", _body(alert, request_id)
        attempts = AsyncRetrying(
            stop=stop_after_attempt(_MAX_ATTEMPTS),
            wait=wait_random_exponential(multiplier=self._first_wait_seconds, max=_LONGEST_WAIT_SECONDS),
            retry=retry_if_exception_type(httpx2.HTTPError),
        )
        try:
            async for attempt in attempts:
                with attempt:
                    response = await self._client.post(url, content=body, headers=_headers(secret, message_id, body))
                    response.raise_for_status()
        except RetryError:
            self._on_delivery("failed")
            logger.warning("a webhook gave up", extra={"facts": {"rule": alert.rule, "attempts": _MAX_ATTEMPTS}})
            return
        self._on_delivery("ok")


def _body(alert: Alert, request_id: str) -> bytes:
    document: dict[str, Any] = {
        "type": "alert",
        "timestamp": datetime.now(UTC).isoformat(),
        "data": {"request_id": request_id, "alert": alert.model_dump()},
    }
    return json.dumps(document, ensure_ascii=False).encode()


def _headers(secret: str, message_id: str, body: bytes) -> dict[str, str]:
    # Signed anew for every attempt: receivers refuse what is too old.
    now = datetime.now(UTC)
    return {
        "content-type": "application/json",
        "webhook-id": message_id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(secret).sign(message_id, now, body.decode()),
    }


def _secret_of(target: WebhookTarget) -> str:
    secret = target.secret
    if target.secret_file:
        try:
            secret = Path(target.secret_file).read_text(encoding="utf-8").strip()
        except (OSError, ValueError) as error:
            raise AlertRulesInvalid(f"{target.secret_file}: the file of a webhook's secret cannot be read") from error
    try:
        Webhook(secret)
    except (ValueError, EmptyWebhookSecretError) as error:
        raise AlertRulesInvalid("the secret of a webhook is not base64 behind whsec_") from error
    return secret
