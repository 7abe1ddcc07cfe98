"""k8s/: manifests are valid, and their ports, probes, variables, commands and queries exist in the code."""

import os
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from deployment_files import (
    OVERLAYS,
    ROOT,
    compose,
    config_map,
    container,
    instructions,
    pod,
    read_yaml,
    rendered,
    resources,
    settings,
    settings_of,
    text,
)

import training.__main__
from bench.shows.validators import FOREIGN_KINDS, KUBERNETES_VERSION
from service.routes import router
from service.settings import PREFIX, Settings


def _resource(kind: str, folder: str, name: str = "vcemo") -> Any:
    (found,) = [one for one in resources(folder) if one["kind"] == kind and one["metadata"]["name"] == name]
    return found


def _overlay(name: str) -> list[Any]:
    found = rendered(name)
    if found is None:
        pytest.skip("kubectl, which renders overlays, is not installed")
    return found


def _pod_of(resource: Any) -> Any:
    spec = resource["spec"]
    template = spec["jobTemplate"]["spec"]["template"] if resource["kind"] == "CronJob" else spec["template"]
    return template["spec"]


def _with_pods(found: list[Any]) -> list[Any]:
    return [one for one in found if one["kind"] in ("Deployment", "Job", "CronJob")]


@pytest.mark.parametrize("resource", resources("."), ids=lambda one: f"{one['kind']}-{one['metadata']['name']}")
def test_a_manifest_is_what_kubernetes_knows(resource: Any) -> None:
    if resource["kind"] in FOREIGN_KINDS:
        assert "." in resource["apiVersion"].partition("/")[0]
    else:
        kubernetes_validate.validate(resource, KUBERNETES_VERSION, strict=True)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_a_rendered_overlay_is_what_kubernetes_knows(overlay: str) -> None:
    found = _overlay(overlay)

    for resource in found:
        if resource["kind"] not in FOREIGN_KINDS:
            kubernetes_validate.validate(resource, KUBERNETES_VERSION, strict=True)
    assert {"Deployment", "Service", "PodDisruptionBudget", "NetworkPolicy"} <= {one["kind"] for one in found}
    assert ("ScaledObject" in {one["kind"] for one in found}) is (overlay != "kind")


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_an_overlay_serves_the_image_of_its_target_in_the_version_of_the_project(overlay: str) -> None:
    version = tomllib.loads(text("pyproject.toml"))["project"]["version"]
    images = {one["metadata"]["name"]: _pod_of(one)["containers"][0]["image"] for one in _with_pods(_overlay(overlay))}

    assert images["vcemo"] == f"vcemo:{version}{'-gpu' if overlay == 'gpu' else ''}"
    assert {image for name, image in images.items() if name != "vcemo"} <= {f"vcemo:{version}-training"}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_what_a_rendered_pod_mounts_and_reads_is_there_or_is_said_to_be_made_first(overlay: str) -> None:
    found = _overlay(overlay)
    names = {(one["kind"], one["metadata"]["name"]) for one in found}

    for resource in _with_pods(found):
        spec = _pod_of(resource)
        volumes = {volume["name"]: volume for volume in spec["volumes"]}
        assert {mount["name"] for mount in spec["containers"][0]["volumeMounts"]} == set(volumes)
        for claim in [one["persistentVolumeClaim"] for one in volumes.values() if "persistentVolumeClaim" in one]:
            assert ("PersistentVolumeClaim", claim["claimName"]) in names
        for source in spec["containers"][0].get("envFrom", []):
            assert ("ConfigMap", source["configMapRef"]["name"]) in names
        assert ("ServiceAccount", spec["serviceAccountName"]) in names


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_settings_accept_every_variable_of_an_overlay(overlay: str) -> None:
    found = _overlay(overlay)
    (deployment,) = [one for one in found if one["kind"] == "Deployment"]
    (given,) = [one["data"] for one in found if one["kind"] == "ConfigMap"]
    variables = _pod_of(deployment)["containers"][0].get("env", [])
    literal = {one["name"]: one["value"] for one in variables if "value" in one}

    accepted = settings_of(given | literal)

    assert accepted.linger_seconds > 0
    if overlay != "kind":
        assert accepted.api_keys_file == "/etc/vcemo/keys/keys.toml"
        assert given["VCEMO_BUNDLE_STORE"] == "/bundles"
        assert {one["name"].removeprefix(PREFIX).lower() for one in variables} <= set(Settings.model_fields)


def test_the_settings_accept_every_variable_of_the_base() -> None:
    assert config_map().keys() == {"VCEMO_LINGER_SECONDS", "VCEMO_DRAIN_SECONDS"}
    assert settings("kubernetes").linger_seconds == 5


def test_every_place_speaks_of_the_same_port() -> None:
    (port,) = container()["ports"]
    (monitored,) = _resource("ServiceMonitor", "components/monitoring")["spec"]["endpoints"]
    (served,) = _resource("Service", "base")["spec"]["ports"]
    (let_in,) = _resource("NetworkPolicy", "base")["spec"]["ingress"][0]["ports"]

    assert port["containerPort"] == settings("kubernetes").port == int(instructions("EXPOSE")[0])
    assert {served["targetPort"], served["name"], monitored["port"], let_in["port"]} == {port["name"]}


def test_probes_and_scrapes_ask_for_paths_that_exist() -> None:
    probes = {kind: container()[f"{kind}Probe"]["httpGet"] for kind in ("startup", "readiness", "liveness")}
    (monitored,) = _resource("ServiceMonitor", "components/monitoring")["spec"]["endpoints"]
    (scrape,) = read_yaml("monitoring/prometheus.yml")["scrape_configs"]

    assert {kind: probe["path"] for kind, probe in probes.items()} == {
        "startup": "/health/startup",
        "readiness": "/health/ready",
        "liveness": "/health/live",
    }
    paths = {getattr(route, "path", "") for route in router.routes}
    assert {probe["path"] for probe in probes.values()} | {monitored["path"], scrape["metrics_path"]} <= paths
    assert {probe["port"] for probe in probes.values()} == {container()["ports"][0]["name"]}


def test_a_stopped_pod_is_given_the_time_to_linger_and_drain() -> None:
    found = settings("kubernetes")

    assert found.linger_seconds > 0
    assert pod()["terminationGracePeriodSeconds"] >= found.linger_seconds + found.drain_seconds + 5


@pytest.mark.parametrize(
    "resource",
    _with_pods(resources(".")),
    ids=lambda one: f"{one['kind']}-{one['metadata']['name']}",
)
def test_no_pod_has_more_rights_than_it_needs(resource: Any) -> None:
    spec = _pod_of(resource)
    (inner,) = spec["containers"]

    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["runAsUser"] == int(instructions("USER", stage="cpu")[0].partition(":")[0]) > 0
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert spec["automountServiceAccountToken"] is False
    # Kubernetes would inject VCEMO_PORT=tcp://... otherwise.
    assert spec["enableServiceLinks"] is False
    assert inner["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert inner["resources"].keys() == {"requests", "limits"}
    assert "/tmp" in [mount["mountPath"] for mount in inner["volumeMounts"]]


def test_autoscalers_budget_and_services_mean_the_deployment() -> None:
    deployment = _resource("Deployment", "base")
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    hpa = _resource("HorizontalPodAutoscaler", "components/hpa")["spec"]
    keda = _resource("ScaledObject", "components/keda")["spec"]
    selectors = [
        deployment["spec"]["selector"]["matchLabels"],
        _resource("Service", "base")["spec"]["selector"],
        _resource("PodDisruptionBudget", "base")["spec"]["selector"]["matchLabels"],
        _resource("NetworkPolicy", "base")["spec"]["podSelector"]["matchLabels"],
        *(spread["labelSelector"]["matchLabels"] for spread in pod()["topologySpreadConstraints"]),
    ]

    assert hpa["scaleTargetRef"]["name"] == keda["scaleTargetRef"]["name"] == deployment["metadata"]["name"]
    assert "replicas" not in deployment["spec"]
    assert (hpa["minReplicas"], hpa["maxReplicas"]) == (keda["minReplicaCount"], keda["maxReplicaCount"])
    assert all(selector.items() <= labels.items() for selector in selectors)
    monitor = _resource("ServiceMonitor", "components/monitoring")["spec"]["selector"]["matchLabels"]
    assert monitor.items() <= _resource("Service", "base")["metadata"]["labels"].items()


def test_keda_can_fall_back_and_holds_replicas_at_the_use_of_processors_that_the_plain_autoscaler_has() -> None:
    triggers = _resource("ScaledObject", "components/keda")["spec"]["triggers"]
    thresholds = {one["metadata"]["query"]: float(one["metadata"]["threshold"]) for one in triggers}
    (plain,) = _resource("HorizontalPodAutoscaler", "components/hpa")["spec"]["metrics"]
    share = plain["resource"]["target"]["averageUtilization"] / 100
    (processors,) = [value for query, value in thresholds.items() if "process_cpu_seconds_total" in query]

    # KEDA refuses a fallback beside triggers of another kind.
    assert {one["metricType"] for one in triggers} == {"AverageValue"}
    assert processors == share * int(container()["resources"]["limits"]["cpu"])


def test_an_indexed_job_gives_torchrun_as_many_nodes_as_it_has_pods() -> None:
    job = _resource("Job", "components/retraining", "vcemo-training")
    headless = _resource("Service", "components/retraining", "vcemo-training")
    arguments = _pod_of(job)["containers"][0]["args"]
    options = dict(word.removeprefix("--").split("=", 1) for word in arguments if "=" in word)

    assert job["spec"]["completionMode"] == "Indexed"
    assert int(options["nnodes"]) == job["spec"]["completions"] == job["spec"]["parallelism"]
    assert options["master-addr"] == f"{job['metadata']['name']}-0.{headless['metadata']['name']}"
    assert headless["spec"]["clusterIP"] == "None"
    assert _pod_of(job)["subdomain"] == headless["metadata"]["name"]
    assert headless["spec"]["ports"][0]["port"] == int(options["master-port"])
    assert arguments[arguments.index("-m") + 1] == "training"


def _command_of_training(arguments: list[str]) -> list[str]:
    return arguments[arguments.index("training") + 1 :]


@pytest.mark.parametrize(
    "arguments",
    [
        *(
            _command_of_training(_pod_of(one)["containers"][0]["args"])
            for one in _with_pods(resources("components/retraining"))
        ),
        _command_of_training(compose()["retrain"]["command"]),
    ],
    ids=lambda arguments: arguments[0],
)
def test_commands_of_jobs_exist_with_their_options(arguments: list[str]) -> None:
    parsed = vars(training.__main__._parser().parse_args(arguments))
    assert {word.removeprefix("--").partition("=")[0] for word in arguments[1:] if word[0] == "-"} <= set(parsed)


@pytest.mark.parametrize("component", ["hpa", "bundles-s3", "database", "keys"])
def test_a_component_fits_the_base_on_its_own(component: str, tmp_path: Path) -> None:
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl, which renders overlays, is not installed")
    base, chosen = (
        os.path.relpath(ROOT / "k8s" / name, tmp_path.resolve()) for name in ("base", f"components/{component}")
    )
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump({"resources": [base], "components": [chosen]}))

    ended = subprocess.run(["kubectl", "kustomize", tmp_path], capture_output=True, text=True, check=False)

    assert ended.returncode == 0, ended.stderr
    for resource in yaml.safe_load_all(ended.stdout):
        kubernetes_validate.validate(resource, KUBERNETES_VERSION, strict=True)
