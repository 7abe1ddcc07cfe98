"""Alerts of one service: its rules, and whoever hears of what they find."""

from collections.abc import Sequence
from pathlib import Path

from service.alerts import AlertFile, read_alert_file
from service.metrics import Metrics
from service.schemas import Alert
from service.settings import Settings
from service.webhooks import Webhooks


class Alerting:
    """Counts alerts and hands them on."""

    def __init__(self, settings: Settings, *, metrics: Metrics) -> None:
        """Read the file that the settings name.

        Raises:
            AlertRulesInvalid: it cannot be used.
        """
        path = settings.alert_rules_file
        found = read_alert_file(Path(path)) if path else AlertFile()
        self.rules = found.rules
        self._metrics = metrics
        self._webhooks = Webhooks(found.webhooks, on_delivery=metrics.webhook_ended)

    def tell(self, alert: Alert, request_id: str) -> None:
        """Hand one on. request_id: of the recording, or the live call's session."""
        self._metrics.alert_raised(alert)
        self._webhooks.send(alert, request_id=request_id)

    def tell_all(self, alerts: Sequence[Alert], request_id: str) -> None:
        """Hand on those of a recording."""
        for alert in alerts:
            self.tell(alert, request_id)

    async def close(self, *, seconds: float) -> None:
        """Give deliveries so long to end."""
        await self._webhooks.close(seconds=seconds)
