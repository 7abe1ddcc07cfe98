"""monitoring/: every metric, label and code that rules and dashboard speak of is one that the service exposes."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import pytest
from deployment_files import ROOT, read_yaml, resources, text

from bench.shows.validators import PROMTOOL
from model import errors
from service.metrics import Metrics
from service.routes import keyed_router, router

ADDED_BY_PROMETHEUS = {"job", "instance", "le"}
ITS_OWN = {"up", "ALERTS"}
METRIC = re.compile(r"\b((?:vcemo|process)_[a-z_]+)(?:\{([^}]*)\})?")


@cache
def _exposed() -> Mapping[str, set[str]]:
    """Labels of every sample name that the service can expose."""
    registry = Metrics().registry
    found: dict[str, set[str]] = {}
    for collector, names in registry._collector_to_names.items():
        found |= {name: set(getattr(collector, "_labelnames", ())) for name in names}
    # What the collector of the process exposes it says only when asked.
    for family in registry.collect():
        found |= {sample.name: set(sample.labels) for sample in family.samples if sample.name not in found}
    return found


def _alerts() -> list[Any]:
    return [rule for group in read_yaml("monitoring/rules/vcemo.yml")["groups"] for rule in group["rules"]]


def _dashboard() -> Any:
    return json.loads(text("monitoring/grafana/dashboards/vcemo.json"))


def _expressions() -> Iterator[tuple[str, str]]:
    for rule in _alerts():
        yield rule["alert"], rule["expr"]
    for panel in _dashboard()["panels"]:
        for target in panel.get("targets", []):
            yield panel["title"], target["expr"]
    for resource in resources("components/keda"):
        for trigger in resource["spec"]["triggers"]:
            if "query" in trigger["metadata"]:
                yield "KEDA", trigger["metadata"]["query"]


@pytest.mark.parametrize(("title", "expression"), list(_expressions()))
def test_an_expression_asks_for_metrics_and_labels_that_the_service_exposes(title: str, expression: str) -> None:
    found = METRIC.findall(expression)

    assert found or set(re.findall(r"\w+", expression)) & ITS_OWN
    for name, selector in found:
        assert name in _exposed(), title
        asked = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", selector))
        assert asked <= _exposed()[name] | ADDED_BY_PROMETHEUS, title


def test_codes_and_routes_in_expressions_exist() -> None:
    text_of_all = " ".join(expression for _, expression in _expressions())
    codes = {code for pattern in re.findall(r'code!?=~?"([^"]+)"', text_of_all) for code in pattern.split("|")}
    routes = {route for pattern in re.findall(r'route=~?"([^"]+)"', text_of_all) for route in pattern.split("|")}
    known = {kind.code for kind in vars(errors).values() if isinstance(kind, type) and hasattr(kind, "code")}
    paths = {getattr(route, "path", "") for route in (*router.routes, *keyed_router.routes)}

    assert codes <= known | {"ok", "unchanged", "busy"}
    assert all(any(re.fullmatch(route, path) for path in paths) for route in routes)


def test_every_metric_of_ours_is_on_the_dashboard_or_left_out_on_purpose() -> None:
    asked = " ".join(target["expr"] for panel in _dashboard()["panels"] for target in panel.get("targets", []))
    ours = {name for name in _exposed() if name.startswith("vcemo_") and not name.endswith(("_created", "_bucket"))}
    families = {re.sub(r"_(total|sum|count)$", "", name) for name in ours}

    # One for each key, which names the callers; the others are in the log with more beside them.
    left_out = {"vcemo_key_requests"}

    assert {family for family in families if family not in asked} == left_out


def test_alerts_say_whom_to_wake_and_what_to_look_at() -> None:
    for rule in _alerts():
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert rule["annotations"].keys() == {"summary", "description"}
    assert len({rule["alert"] for rule in _alerts()}) == len(_alerts())


def test_kubernetes_has_the_same_rules() -> None:
    (rules,) = [one for one in resources("components/monitoring") if one["kind"] == "PrometheusRule"]

    assert rules["spec"]["groups"] == read_yaml("monitoring/rules/vcemo.yml")["groups"]


def test_every_panel_reads_the_provisioned_source_and_says_what_it_shows() -> None:
    (source,) = read_yaml("monitoring/grafana/provisioning/datasources/prometheus.yml")["datasources"]
    panels = [panel for panel in _dashboard()["panels"] if panel["type"] != "row"]

    assert len(panels) > 20
    assert {panel["datasource"]["uid"] for panel in panels} == {source["uid"]}
    assert all(panel["description"] and panel["targets"] for panel in panels)
    assert len({panel["id"] for panel in _dashboard()["panels"]}) == len(_dashboard()["panels"])


@pytest.mark.parametrize(
    "arguments",
    PROMTOOL,
    ids=lambda arguments: " ".join(arguments[:2]),
)
def test_promtool_accepts(arguments: tuple[str, ...]) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool (Debian's package prometheus) is not installed")
    ended = subprocess.run([promtool, *arguments], cwd=ROOT / "monitoring", capture_output=True, text=True, check=False)

    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_every_alert_has_a_case_in_which_it_fires_or_is_kept_quiet() -> None:
    tried = {
        case["alertname"]
        for test in read_yaml("monitoring/rules_test.yml")["tests"]
        for case in test["alert_rule_test"]
    }

    assert {rule["alert"] for rule in _alerts()} - tried == {
        "VcemoSlowerThanRealTime",
        "VcemoMemoryHigh",
        "VcemoDecodeWorkersLost",
        "VcemoTranscriptsUntrusted",
    }
