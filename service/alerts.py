"""Rules over the utterances of a call, and the alerts that they raise; from a TOML file."""

from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self, TypeVar

from pydantic import ConfigDict, Field, ValidationError, model_validator
from pydantic.dataclasses import dataclass

from model.errors import AlertRulesInvalid
from service.schemas import Alert, Emotion, Segment
from service.toml_file import read_toml

_STRICT: Final = ConfigDict(extra="forbid", strict=True)
_Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")]


@dataclass(frozen=True, kw_only=True, slots=True, config=_STRICT)
class AlertRule:
    """What an alert is raised for: enough of the last utterances of one side that sound alike.

    emotion and above: judged to be that, with at least that probability. sentiment_below: or with a lower score.
    count, of: so many of the last so many utterances. cooldown_seconds: of the call, before it may be raised again.
    """

    name: _Name
    role: str = ""
    """Whom it listens to; empty: everybody who is judged, each alone."""
    emotion: Emotion | None = None
    above: Annotated[float, Field(ge=0, le=1)] = 0.5
    sentiment_below: Annotated[float, Field(ge=-1, le=1)] | None = None
    count: Annotated[int, Field(ge=1, le=100)] = 1
    of: Annotated[int, Field(ge=1, le=100)] = 1
    cooldown_seconds: Annotated[float, Field(ge=0, le=86_400, strict=False)] = 60.0
    severity: Literal["info", "warning", "critical"] = "warning"

    @model_validator(mode="after")
    def _looks_for_one_thing_that_can_be(self) -> Self:
        if (self.emotion is None) == (self.sentiment_below is None):
            raise ValueError("a rule takes one of emotion and sentiment_below")
        if self.count > self.of:
            raise ValueError(f"count ({self.count}) must not exceed of ({self.of}): it could never be raised")
        return self

    def matches(self, segment: Segment) -> bool:
        """Whether an utterance is one that it looks for."""
        if self.emotion is not None and segment.probabilities is not None:
            return segment.emotion == self.emotion and segment.probabilities[self.emotion] >= self.above
        if self.sentiment_below is not None and segment.sentiment is not None:
            return segment.sentiment.score < self.sentiment_below
        return False

    @property
    def reason(self) -> str:
        """What has been found, in words."""
        what = (
            f"{self.emotion} at {self.above:g} or more" if self.emotion else f"sentiment below {self.sentiment_below:g}"
        )
        return f"{what} in {self.count} of the last {self.of} utterances" if self.of > 1 else what


@dataclass(frozen=True, kw_only=True, slots=True, config=_STRICT)
class WebhookTarget:
    """Where alerts are sent to. rules: of which; none named: all. The secret signs them (standardwebhooks.com)."""

    url: Annotated[str, Field(pattern=r"^https?://[^\s/]+")]
    secret: Annotated[str, Field(pattern=r"^(whsec_[A-Za-z0-9+/=]{16,})?$")] = ""
    secret_file: str = ""
    rules: Annotated[tuple[str, ...], Field(strict=False)] = ()

    @model_validator(mode="after")
    def _has_one_secret(self) -> Self:
        if bool(self.secret) == bool(self.secret_file):
            raise ValueError('a webhook takes one of secret ("whsec_...") and secret_file')
        return self


@dataclass(frozen=True, kw_only=True, slots=True)
class AlertFile:
    """The rules, and where alerts go."""

    rules: tuple[AlertRule, ...] = ()
    webhooks: tuple[WebhookTarget, ...] = ()


Kind = TypeVar("Kind", AlertRule, WebhookTarget)


class AlertWatch:
    """Follows one call; utterances of each side in order of time."""

    def __init__(self, rules: Sequence[AlertRule]) -> None:
        self._rules = rules
        self._last: defaultdict[tuple[str, int], deque[tuple[str, bool]]] = defaultdict(deque)
        self._quiet_until_ms: dict[tuple[str, int], float] = {}

    def see(self, segment: Segment) -> list[Alert]:
        """Take one more utterance; return the alerts that it completes."""
        if not segment.judged or segment.status == "no_speech":
            return []
        heard = [rule for rule in self._rules if not rule.role or rule.role == segment.role]
        return [alert for rule in heard if (alert := self._apply(rule, segment)) is not None]

    def _apply(self, rule: AlertRule, segment: Segment) -> Alert | None:
        side = rule.name, segment.channel
        last = self._last[side]
        last.append((segment.id, rule.matches(segment)))
        while len(last) > rule.of:
            last.popleft()
        found = [segment_id for segment_id, matches in last if matches]
        # Completed by an utterance that matches: one that does not is no news.
        if not last[-1][1] or len(found) < rule.count or segment.end_ms < self._quiet_until_ms.get(side, 0):
            return None
        self._quiet_until_ms[side] = segment.end_ms + rule.cooldown_seconds * 1000
        who = segment.role or f"channel {segment.channel}"
        return Alert(
            id=f"{rule.name}-{segment.id}",
            rule=rule.name,
            severity=rule.severity,
            role=segment.role,
            channel=segment.channel,
            at_ms=segment.end_ms,
            segment_ids=found,
            message=f"{who}: {rule.reason}",
        )


def alerts_of(rules: Sequence[AlertRule], segments: Sequence[Segment]) -> list[Alert]:
    """Return the alerts of a recording, in order of time."""
    watch = AlertWatch(rules)
    # By their ends, as those of a live call come.
    return [alert for segment in sorted(segments, key=lambda one: one.end_ms) for alert in watch.see(segment)]


def read_alert_file(path: Path) -> AlertFile:
    """Read a file of ``[[rule]]`` and ``[[webhook]]`` tables.

    Raises:
        AlertRulesInvalid: it cannot be read, or is no such file. The message quotes no secret.
    """
    tables = read_toml(path, of="alert rules", error=AlertRulesInvalid)
    if unknown := sorted(set(tables) - {"rule", "webhook"}):
        raise AlertRulesInvalid(f"{path}: holds {unknown[0]!r}; it takes [[rule]] and [[webhook]] tables")
    rules = tuple(_read(AlertRule, table, f"{path}: rule {place}") for place, table in _tables(tables, "rule", path))
    webhooks = tuple(
        _read(WebhookTarget, table, f"{path}: webhook {place}") for place, table in _tables(tables, "webhook", path)
    )
    names = [rule.name for rule in rules]
    if len(set(names)) < len(names):
        raise AlertRulesInvalid(f"{path}: two rules have the same name")
    for webhook in webhooks:
        if strangers := set(webhook.rules) - set(names):
            raise AlertRulesInvalid(f"{path}: a webhook names the rule {min(strangers)!r}, which there is not")
    return AlertFile(rules=rules, webhooks=webhooks)


def _tables(document: Mapping[str, Any], kind: str, path: Path) -> list[tuple[int, Mapping[str, Any]]]:
    tables = document.get(kind, [])
    if not isinstance(tables, list) or not all(isinstance(table, Mapping) for table in tables):
        raise AlertRulesInvalid(f"{path}: write each {kind} as [[{kind}]]")
    return list(enumerate(tables, start=1))


def _read(kind: type[Kind], table: Mapping[str, Any], where: str) -> Kind:
    try:
        return kind(**table)
    except ValidationError as error:
        # Values are not quoted: one may be a secret.
        mistakes = [f"{'.'.join(map(str, one['loc'])) or 'table'}: {one['msg']}" for one in error.errors()]
        raise AlertRulesInvalid(f"{where}: {'; '.join(mistakes)}") from error
