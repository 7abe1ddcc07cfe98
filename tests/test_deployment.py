import ast
import importlib
import importlib.util
import json
import os
import re
import shlex
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from functools import cache
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from model import assets
from service.routes import router
from service.settings import PREFIX, Settings

ROOT = Path(__file__).parents[1]


def _text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def _yaml(name: str) -> Any:
    return yaml.safe_load(_text(name))


@cache
def _dockerfile() -> list[tuple[str, str, str]]:
    """Every instruction as (stage, name, argument)."""
    lines = "\n".join(line for line in _text("Dockerfile").splitlines() if not line.startswith("#"))
    stage, instructions = "", []
    for line in lines.replace("\\\n", " ").splitlines():
        name, _, argument = line.strip().partition(" ")
        if name == "FROM":
            stage = argument.rpartition(" AS ")[2]
        if name:
            instructions.append((stage, name, argument.strip()))
    return instructions


def _arguments(name: str, *, stage: str | None = None) -> list[str]:
    return [argument for at, found, argument in _dockerfile() if found == name and stage in (None, at)]


def _image_environment(stage: str) -> dict[str, str]:
    words = [word for argument in _arguments("ENV", stage=stage) for word in shlex.split(argument)]
    return dict(word.split("=", 1) for word in words)


def _pod() -> Any:
    return _yaml("k8s/deployment.yaml")["spec"]["template"]["spec"]


def _container() -> Any:
    (container,) = _pod()["containers"]
    return container


def _environment(place: str) -> dict[str, str]:
    added: dict[str, str] = {}
    if place == "gpu image":
        added = _image_environment("gpu")
    elif place == "compose":
        added = _yaml("docker-compose.yml")["services"]["vcemo"]["environment"]
    elif place == "kubernetes":
        added = {entry["name"]: entry["value"] for entry in _container()["env"]}
    return _image_environment("runtime") | added


def _settings(place: str) -> Settings:
    ours = {name: value for name, value in _environment(place).items() if name.startswith(PREFIX)}
    return Settings.model_validate({name.removeprefix(PREFIX).lower(): value for name, value in ours.items()})


def _commands(name: str) -> list[str]:
    return re.findall(r'python"?,? "?-m"?,? "?([\w.]+)', _text(name))


def _can_be_run(module: str) -> bool:
    spec = importlib.util.find_spec(module)
    if spec is not None and spec.submodule_search_locations:
        spec = importlib.util.find_spec(f"{module}.__main__")
    return spec is not None


@contextmanager
def _answering(status: int) -> Iterator[tuple[int, list[str]]]:
    paths: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            paths.append(self.path)
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server.server_port, paths
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize("place", ["cpu image", "gpu image", "compose", "kubernetes"])
def test_the_settings_accept_every_variable_that_is_set(place: str) -> None:
    settings = _settings(place)

    assert settings.host == "0.0.0.0"
    assert settings.log_format == "json"
    assert settings.device == ("cuda" if place == "gpu image" else "cpu")


def test_every_place_speaks_of_the_same_port() -> None:
    compose, service = _yaml("docker-compose.yml")["services"], _yaml("k8s/service.yaml")
    (scrape,) = _yaml("deploy/prometheus.yml")["scrape_configs"]
    (port,) = _container()["ports"]

    spoken = {
        Settings.model_fields["port"].default,
        _settings("cpu image").port,
        int(_arguments("EXPOSE")[0]),
        int(compose["vcemo"]["ports"][0].rpartition(":")[2]),
        int(scrape["static_configs"][0]["targets"][0].rpartition(":")[2]),
        int(_yaml("k8s/deployment.yaml")["spec"]["template"]["metadata"]["annotations"]["prometheus.io/port"]),
        port["containerPort"],
    }

    assert spoken == {8000}
    assert service["spec"]["ports"][0]["targetPort"] == port["name"]
    assert scrape["static_configs"][0]["targets"][0].partition(":")[0] in compose


def test_probes_and_scrapes_ask_for_paths_that_exist() -> None:
    container = _container()
    probes = {kind: container[f"{kind}Probe"]["httpGet"] for kind in ("startup", "readiness", "liveness")}
    annotations = _yaml("k8s/deployment.yaml")["spec"]["template"]["metadata"]["annotations"]

    asked = {kind: probe["path"] for kind, probe in probes.items()} | {
        "kubernetes": annotations["prometheus.io/path"],
        "compose": _yaml("deploy/prometheus.yml")["scrape_configs"][0]["metrics_path"],
    }

    assert set(asked.values()) <= {getattr(route, "path", "") for route in router.routes}
    assert asked["liveness"] == "/health/live"
    assert asked["readiness"] == "/health/ready"
    assert asked["startup"] == "/health/startup"
    assert {probe["port"] for probe in probes.values()} == {container["ports"][0]["name"]}


@pytest.mark.parametrize(("status", "is_healthy"), [(200, True), (503, False)])
def test_the_image_is_healthy_when_the_service_is_ready(status: int, is_healthy: bool) -> None:
    (healthcheck,) = _arguments("HEALTHCHECK")
    program = json.loads(healthcheck.partition(" CMD ")[2])[2]

    with _answering(status) as (port, paths):
        environment = {"PATH": os.environ["PATH"], "VCEMO_PORT": str(port)}
        ended = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, check=False)

    assert (ended.returncode == 0) is is_healthy
    assert paths == ["/health/ready"]


@pytest.mark.parametrize("place", ["compose", "kubernetes"])
def test_a_stopped_container_is_given_the_time_to_linger_and_drain(place: str) -> None:
    settings = _settings(place)
    if place == "compose":
        grace_seconds = int(_yaml("docker-compose.yml")["services"]["vcemo"]["stop_grace_period"].removesuffix("s"))
    else:
        grace_seconds = _pod()["terminationGracePeriodSeconds"]

    assert grace_seconds >= settings.linger_seconds + settings.drain_seconds + 5
    if place == "kubernetes":
        assert settings.linger_seconds > 0


def test_kubernetes_injects_no_variables_of_its_own() -> None:
    assert _pod()["enableServiceLinks"] is False


def test_containers_have_no_more_rights_than_they_need() -> None:
    pod, container, compose = _pod(), _container(), _yaml("docker-compose.yml")["services"]
    uid = int(_arguments("USER", stage="runtime")[0].partition(":")[0])

    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] == uid > 0
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    assert container["securityContext"]["allowPrivilegeEscalation"] is False
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    for service in compose.values():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert "no-new-privileges:true" in service["security_opt"]
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])


def test_what_is_written_while_running_lies_on_a_writable_mount() -> None:
    scratch = _environment("cpu image")["NUMBA_CACHE_DIR"]

    assert scratch.startswith("/tmp/")
    state = _environment("cpu image")["VCEMO_STATE_FOLDER"]
    assert [mount["mountPath"] for mount in _container()["volumeMounts"]] == ["/tmp", state]
    compose = _yaml("docker-compose.yml")["services"]["vcemo"]
    assert compose["tmpfs"][0].startswith("/tmp")
    assert compose["volumes"] == [f"state:{state}"]


def test_the_autoscaler_and_the_service_mean_the_deployment() -> None:
    deployment = _yaml("k8s/deployment.yaml")
    target = _yaml("k8s/hpa.yaml")["spec"]["scaleTargetRef"]
    labels = deployment["spec"]["template"]["metadata"]["labels"]

    assert (target["kind"], target["name"]) == ("Deployment", deployment["metadata"]["name"])
    assert "replicas" not in deployment["spec"]
    assert _yaml("k8s/service.yaml")["spec"]["selector"].items() <= labels.items()
    assert deployment["spec"]["selector"]["matchLabels"].items() <= labels.items()


def test_kustomize_lists_every_resource() -> None:
    listed = _yaml("k8s/kustomization.yaml")["resources"]

    assert {*listed, "kustomization.yaml"} == {path.name for path in (ROOT / "k8s").glob("*.yaml")}


def test_images_carry_the_version_of_the_project() -> None:
    version = tomllib.loads(_text("pyproject.toml"))["project"]["version"]
    (image,) = _yaml("k8s/kustomization.yaml")["images"]

    assert (image["name"], image["newTag"]) == (_container()["image"], version)
    assert _yaml("docker-compose.yml")["services"]["vcemo"]["image"] == f"vcemo:{version}"


def test_the_image_can_be_built_for_both_targets_and_compose_builds_one_of_them() -> None:
    stages = [argument.rpartition(" AS ")[2] for argument in _arguments("FROM")]

    assert {"cpu", "gpu"} <= set(stages)
    assert stages[-1] == "cpu"
    assert _yaml("docker-compose.yml")["services"]["vcemo"]["build"]["target"] in stages
    assert {base.partition(" ")[0] for base in _arguments("FROM")} - set(stages) == {"python:3.11-slim-bookworm"}


def test_what_the_image_copies_is_in_the_repository_and_not_ignored() -> None:
    patterns = [line for line in _text(".dockerignore").splitlines() if line and not line.startswith("#")]
    allowed = [pattern[1:] for pattern in patterns if pattern.startswith("!")]
    sources = [
        source
        for argument in _arguments("COPY")
        if "--from=" not in argument
        for source in [word for word in argument.split() if not word.startswith("--")][:-1]
    ]

    assert patterns[0] == "*"
    assert [source for source in sources if not (ROOT / source).exists()] == []
    assert [source for source in sources if not any(fnmatch(source, pattern) for pattern in allowed)] == []
    assert [pattern for pattern in allowed if not list(ROOT.glob(pattern))] == []


def test_the_gpu_image_finds_every_cuda_library_of_its_lock() -> None:
    names = re.findall(r"^nvidia-([\w-]+)-cu12==", _text("requirements/gpu.lock"), re.MULTILINE)

    searched = _image_environment("gpu")["LD_LIBRARY_PATH"].split(":")

    assert sorted(searched) == sorted(f"$CUDA/{name.replace('-', '_')}/lib" for name in names)


def test_the_image_keeps_the_working_folder_off_the_path() -> None:
    assert _image_environment("python")["PYTHONSAFEPATH"] == "1"


def test_a_cache_compiled_into_the_image_fits_every_processor() -> None:
    # numba files what it compiled under the name of the processor.
    assert _image_environment("python")["NUMBA_CPU_NAME"] == "generic"


def test_the_start_script_hands_over_a_copy_of_the_cache_and_becomes_the_command(tmp_path: Path) -> None:
    script, baked = tmp_path / "bin" / "start", tmp_path / "numba-cache" / "librosa"
    script.parent.mkdir()
    script.write_text(_text("deploy/start"))
    script.chmod(0o755)
    baked.mkdir(parents=True)
    (baked / "mel.nbi").write_bytes(b"compiled")
    cache_folder = tmp_path / "scratch" / "numba-cache"
    environment = {"PATH": os.environ["PATH"], "NUMBA_CACHE_DIR": str(cache_folder)}

    with subprocess.Popen(
        [script, "sh", "-c", "echo $$"], env=environment, stdout=subprocess.PIPE, text=True
    ) as started:
        printed, _ = started.communicate()

    assert (cache_folder / "librosa" / "mel.nbi").read_bytes() == b"compiled"
    assert int(printed) == started.pid


@pytest.mark.parametrize("name", ["Dockerfile", "Makefile"])
def test_every_module_that_is_run_exists(name: str) -> None:
    modules = set(_commands(name))

    assert {"service", "model.assets"} <= modules
    assert [module for module in modules if not _can_be_run(module)] == []


def test_every_import_of_the_programs_in_the_image_exists() -> None:
    programs = re.findall(r'python -c "(.+?)"', " ".join(_arguments("RUN")))
    nodes = [node for program in programs for node in ast.walk(ast.parse(program.replace(";  ", "; ")))]
    imports = [node for node in nodes if isinstance(node, ast.ImportFrom) and node.module]

    assert {node.module for node in imports} >= {"model.assets", "model.recognizer"}
    for node in imports:
        module = importlib.import_module(str(node.module))
        assert [alias.name for alias in node.names if not hasattr(module, alias.name)] == []


def test_the_options_of_fetch_are_those_that_the_image_uses(capsys: pytest.CaptureFixture[str]) -> None:
    (command,) = re.findall(r"model\.assets fetch ([^&\n]+)", " ".join(_arguments("RUN", stage="parts")))

    with pytest.raises(SystemExit, match="0"):
        assets.main(["fetch", "--help"])

    option, value = command.split()[:2]
    assert re.search(rf"{option} {{[^}}]*\b{value}\b", capsys.readouterr().out)
