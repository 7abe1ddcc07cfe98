"""A candidate on live traffic: what services counted of it, until there is enough to decide."""

import time
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from prometheus_client.parser import text_string_to_metric_families

from model.errors import StoreUnreachable

_TIMEOUT_SECONDS: Final = 10.0
_METRIC: Final = "vcemo_candidate_utterances"


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """What is asked of a candidate. urls: of the services, whose ``/metrics`` are read."""

    urls: Sequence[str]
    utterances: int
    least_agreement: float
    minutes: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Compared:
    """Live utterances that a candidate judged as well."""

    agreed: int
    disagreed: int

    @property
    def total(self) -> int:
        """All of them."""
        return self.agreed + self.disagreed

    @property
    def agreement(self) -> float:
        """Share of them that got the same emotion; nan where there are none."""
        return self.agreed / self.total if self.total else float("nan")


def watched(
    version: str, trial: Trial, *, on_look: Callable[[Compared], None] = lambda _: None, look_seconds: float = 2.0
) -> Compared:
    """Read the counters until enough utterances were compared, or the time is up.

    Raises:
        StoreUnreachable: a service cannot be asked.
    """
    deadline = time.monotonic() + 60 * trial.minutes
    while True:
        found = _counted(version, trial.urls)
        on_look(found)
        if found.total >= trial.utterances or time.monotonic() >= deadline:
            return found
        time.sleep(look_seconds)


def _counted(version: str, urls: Sequence[str]) -> Compared:
    counts = {"agreed": 0, "disagreed": 0}
    for url in urls:
        address = f"{url.rstrip('/')}/metrics"
        if not address.startswith(("http://", "https://")):
            raise StoreUnreachable(f"{url} is no address of a service", value=url)
        try:
            with urllib.request.urlopen(address, timeout=_TIMEOUT_SECONDS) as answer:  # noqa: S310 - checked above
                text = answer.read().decode()
        except OSError as error:
            raise StoreUnreachable(f"{address} cannot be read: {error}", value=address) from error
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if sample.name == f"{_METRIC}_total" and sample.labels["version"] == version:
                    counts[sample.labels["outcome"]] += int(sample.value)
    return Compared(**counts)
