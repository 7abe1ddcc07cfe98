"""A real Prometheus on a running service: our rules, our dashboard's queries, what they return."""

import json
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
import yaml

from bench.serving.server import free_port

MONITORING: Final = Path(__file__).parents[2] / "monitoring"
SCRAPE_SECONDS: Final = 1

_START_SECONDS: Final = 30.0
_METRIC: Final = re.compile(r"\b(?:vcemo|process)_[a-z_]+")


@dataclass(frozen=True, kw_only=True, slots=True)
class Query:
    """One question of a panel, an alert or an autoscaler, as it stands in the repository."""

    title: str
    expression: str

    @property
    def metrics(self) -> set[str]:
        """Names of the metrics that it reads."""
        return set(_METRIC.findall(self.expression))

    @property
    def has_stand_in(self) -> bool:
        """True where a zero is shown for what has not happened yet."""
        return self.expression.endswith("or vector(0)")

    def runnable(self, *, window_seconds: int) -> str:
        """Fill in what Grafana would."""
        filled = self.expression.replace("$__rate_interval", f"{window_seconds}s")
        return filled.replace("$instance", ".*")


@dataclass(frozen=True, kw_only=True, slots=True)
class Prometheus:
    """A running Prometheus."""

    url: str

    def rows(self, expression: str) -> list[tuple[Mapping[str, str], float]]:
        """Ask now; return labels and value of every row that is a number.

        Raises:
            RuntimeError: it refused the expression.
        """
        found = self._get("/api/v1/query", query=expression)
        return [
            (row["metric"], float(row["value"][1]))
            for row in found["result"]
            if row["value"][1] not in ("NaN", "+Inf", "-Inf")
        ]

    def metric_names(self) -> set[str]:
        """Every name that was scraped."""
        return set(self._get("/api/v1/label/__name__/values"))

    def unhealthy_rules(self) -> list[str]:
        """Names of the rules that it cannot evaluate."""
        return [rule["name"] for rule in self._rules() if rule["health"] != "ok"]

    def firing(self) -> list[str]:
        """Names of the alerts that fire, or would if that lasted."""
        return [rule["name"] for rule in self._rules() if rule["state"] != "inactive"]

    def num_rules(self) -> int:
        """How many rules it has read."""
        return len(self._rules())

    def wait_until_evaluated(self) -> None:
        """Wait until the target was scraped and every rule evaluated.

        Raises:
            RuntimeError: not within half a minute.
        """
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline:
            if self.rows("up == 1") and all(rule["health"] != "unknown" for rule in self._rules()):
                return
            time.sleep(0.2)
        raise RuntimeError(f"Prometheus has scraped or evaluated nothing after {_START_SECONDS:.0f} s")

    def _rules(self) -> list[Any]:
        return [rule for group in self._get("/api/v1/rules")["groups"] for rule in group["rules"]]

    def _get(self, path: str, **parameters: str) -> Any:
        answer = httpx.get(self.url + path, params=parameters, timeout=30, trust_env=False)
        document = json.loads(answer.content)
        if document["status"] != "success":
            raise RuntimeError(f"{parameters}: {document['error']}")
        return document["data"]


@contextmanager
def scraping(target: str) -> Iterator[Prometheus]:
    """Run Prometheus with the repository's configuration, its discovery replaced by one address, every second.

    Raises:
        RuntimeError: it is not installed, ended, or was not ready in time.
    """
    program = shutil.which("prometheus")
    if program is None:
        raise RuntimeError("prometheus not found; as root: apt-get install prometheus (and stop its system service)")
    with tempfile.TemporaryDirectory() as folder:
        configuration = _configuration(target)
        (Path(folder) / "prometheus.yml").write_text(yaml.safe_dump(configuration))
        port = free_port()
        command = [
            program,
            f"--config.file={folder}/prometheus.yml",
            f"--storage.tsdb.path={folder}/data",
            f"--web.listen-address=127.0.0.1:{port}",
            "--log.level=warn",
        ]
        with subprocess.Popen(command) as process:  # noqa: S603 - our own command
            try:
                prometheus = Prometheus(url=f"http://127.0.0.1:{port}")
                _wait(prometheus.url, process)
                yield prometheus
            finally:
                process.terminate()


def dashboard_queries() -> list[Query]:
    """Read the questions of every panel."""
    dashboard = json.loads((MONITORING / "grafana" / "dashboards" / "vcemo.json").read_text(encoding="utf-8"))
    return [
        Query(title=f"{panel['title']} ({target['legendFormat']})", expression=target["expr"])
        for panel in dashboard["panels"]
        for target in panel.get("targets", [])
    ]


def _configuration(target: str) -> Any:
    configuration = yaml.safe_load((MONITORING / "prometheus.yml").read_text(encoding="utf-8"))
    configuration["global"] = {"scrape_interval": f"{SCRAPE_SECONDS}s", "evaluation_interval": f"{SCRAPE_SECONDS}s"}
    configuration["rule_files"] = [str(MONITORING / pattern) for pattern in configuration["rule_files"]]
    for scrape in configuration["scrape_configs"]:
        del scrape["dns_sd_configs"]
        scrape["static_configs"] = [{"targets": [target]}]
    return configuration


def _wait(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"Prometheus ended with code {process.returncode}")
        try:
            if httpx.get(f"{url}/-/ready", timeout=2, trust_env=False).status_code == httpx.codes.OK:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise RuntimeError(f"Prometheus is not ready after {_START_SECONDS:.0f} s")
