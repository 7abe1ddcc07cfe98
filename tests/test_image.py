"""The Dockerfile: what it says, what it copies, what it runs; `python -m bench shows image` builds it."""

import ast
import importlib
import importlib.util
import json
import os
import re
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from deployment_files import (
    ROOT,
    image_environment,
    instructions,
    settings,
    stages_below,
    text,
)
from packaging.requirements import Requirement

from model import assets

TARGETS = ("cpu", "gpu", "training")
GPU_MACHINE = {"sys_platform": "linux", "platform_machine": "x86_64", "python_version": "3.11", "extra": ""}


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


def test_hadolint_has_nothing_to_say() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    ended = subprocess.run([hadolint, ROOT / "Dockerfile"], capture_output=True, text=True, check=False)

    assert (ended.returncode, ended.stdout) == (0, "")


@pytest.mark.parametrize("place", ["cpu image", "gpu image"])
def test_the_settings_accept_every_variable_that_the_image_sets(place: str) -> None:
    found = settings(place)

    assert found.host == "0.0.0.0"
    assert found.log_format == "json"
    assert found.device == ("cuda" if place == "gpu image" else "cpu")


def test_there_is_a_target_for_each_use_and_the_default_is_the_cpu() -> None:
    stages = [argument.rpartition(" AS ")[2] for argument in instructions("FROM")]

    assert set(TARGETS) <= set(stages)
    assert stages[-1] == "cpu"
    assert {base.partition(" ")[0] for base in instructions("FROM")} - set(stages) == {"python:3.11-slim-bookworm"}


@pytest.mark.parametrize("target", TARGETS)
def test_a_target_ends_as_a_user_without_rights_and_stops_by_a_signal(target: str) -> None:
    chain = stages_below(target)

    assert instructions("USER", stage=target) == ["10001:10001"]
    assert instructions("RUN", stage=target) == []
    assert [signal for stage in chain for signal in instructions("STOPSIGNAL", stage=stage)] == ["SIGTERM"]
    assert "useradd --uid 10001" in " ".join(instructions("RUN", stage="runtime"))


def test_labels_carry_the_version_of_the_project() -> None:
    version = tomllib.loads(text("pyproject.toml"))["project"]["version"]
    (labels,) = instructions("LABEL", stage="runtime")

    assert f'org.opencontainers.image.version="{version}"' in labels
    assert 'org.opencontainers.image.licenses="MIT"' in labels


@pytest.mark.parametrize("target", TARGETS)
def test_our_code_comes_after_all_that_changes_less(target: str) -> None:
    copied = instructions("COPY", stage=target)
    python = re.findall(r"python:(\d\.\d+)", instructions("FROM")[0])[0]

    assert copied[0] == f"--from=installed-{target} /opt/vcemo /opt/vcemo"
    assert copied[-1] == f"--from=ours /ours /opt/vcemo/lib/python{python}/site-packages"


@pytest.mark.parametrize(("status", "is_healthy"), [(200, True), (503, False)])
def test_the_image_is_healthy_when_the_service_is_ready(status: int, is_healthy: bool) -> None:
    (healthcheck,) = instructions("HEALTHCHECK", stage="serving")
    program = json.loads(healthcheck.partition(" CMD ")[2])[2]

    with _answering(status) as (port, paths):
        variables = {"PATH": os.environ["PATH"], "VCEMO_PORT": str(port)}
        ended = subprocess.run([sys.executable, "-c", program], env=variables, capture_output=True, check=False)

    assert (ended.returncode == 0) is is_healthy
    assert paths == ["/health/ready"]


def test_training_has_no_health_to_check() -> None:
    assert instructions("HEALTHCHECK", stage="training") == ["NONE"]


def test_what_the_image_copies_is_in_the_repository_and_not_ignored() -> None:
    patterns = [line for line in text(".dockerignore").splitlines() if line and not line.startswith("#")]
    allowed = [pattern[1:] for pattern in patterns if pattern.startswith("!")]
    sources = [
        source
        for argument in instructions("COPY")
        if "--from=" not in argument
        for source in [word for word in argument.split() if not word.startswith("--")][:-1]
    ]

    def is_allowed(source: str) -> bool:
        return any(fnmatch(source, pattern) or source.startswith(f"{pattern}/") for pattern in allowed)

    assert patterns[0] == "*"
    assert [source for source in sources if not (ROOT / source).exists()] == []
    assert [source for source in sources if not is_allowed(source)] == []
    assert [pattern for pattern in allowed if not list(ROOT.glob(pattern))] == []


def test_parts_are_fetched_by_files_that_need_no_others_of_ours(tmp_path: Path) -> None:
    (copied,) = [found for found in instructions("COPY", stage="assets") if "--from=" not in found]
    for source in copied.split()[:-1]:
        (tmp_path / source).parent.mkdir(exist_ok=True)
        (tmp_path / source).write_text(text(source))

    command = [sys.executable, "-P", "-m", "model.assets", "list"]
    ended = subprocess.run(
        command, env={"PYTHONPATH": str(tmp_path), "VCEMO_CACHE": str(tmp_path)}, capture_output=True, check=False
    )

    assert b"whisper-base" in ended.stdout
    assert b"Error" not in ended.stderr


def test_the_gpu_lock_resolves_to_exactly_one_onnx_runtime() -> None:
    lines = [line for line in text("requirements/gpu.lock").splitlines() if line and not line.lstrip().startswith("#")]
    found = [Requirement(line) for line in lines]
    installed = [one.name for one in found if one.marker is None or one.marker.evaluate(GPU_MACHINE)]

    assert [name for name in installed if name.startswith("onnxruntime")] == ["onnxruntime-gpu"]


def test_the_gpu_image_removes_the_other_onnx_runtime_before_and_counts_them_after() -> None:
    (run,) = instructions("RUN", stage="installed-gpu")
    steps = [step.strip() for step in run.split("&&")]

    assert "pip uninstall --yes onnxruntime" in steps[0]
    assert "--no-deps --requirement /requirements/gpu.lock" in steps[1]
    assert "assert found == {'onnxruntime-gpu'}" in steps[2]


def test_the_gpu_image_finds_every_cuda_library_of_its_lock() -> None:
    names = re.findall(r"^nvidia-([\w-]+)-cu12==", text("requirements/gpu.lock"), re.MULTILINE)

    searched = image_environment("gpu")["LD_LIBRARY_PATH"].split(":")

    assert sorted(searched) == sorted(f"$CUDA/{name.replace('-', '_')}/lib" for name in names)


@pytest.mark.parametrize("target", TARGETS)
def test_every_target_keeps_the_working_folder_off_the_path(target: str) -> None:
    assert image_environment(target)["PYTHONSAFEPATH"] == "1"


def test_what_is_written_while_running_lies_below_tmp_or_in_the_state_folder() -> None:
    assert image_environment("training")["NUMBA_CACHE_DIR"].startswith("/tmp/")
    assert image_environment("cpu")["XDG_STATE_HOME"] == image_environment("training")["XDG_STATE_HOME"] == "/var/lib"
    assert "--owner=vcemo --group=vcemo /bundles /cache /var/lib/vcemo" in instructions("RUN", stage="runtime")[0]


def test_training_finds_the_baked_parts_in_its_cache_and_keeps_those_that_are_there(tmp_path: Path) -> None:
    script = tmp_path / "bin" / "start-training"
    script.parent.mkdir()
    script.write_text(text("deploy/start-training"))
    script.chmod(0o755)
    baked, cache_folder = tmp_path / "assets" / "assets", tmp_path / "cache"
    baked.mkdir(parents=True)
    (baked / "whisper").write_text("baked")
    (baked / "words").write_text("baked")
    (cache_folder / "assets").mkdir(parents=True)
    (cache_folder / "assets" / "words").write_text("newer")
    variables = {"PATH": os.environ["PATH"], "VCEMO_CACHE": str(cache_folder)}

    ended = subprocess.run([script, "echo", "ran"], env=variables, stdout=subprocess.PIPE)

    assert ended.stdout == b"ran\n"
    assert (cache_folder / "assets" / "whisper").read_text() == "baked"
    assert (cache_folder / "assets" / "words").read_text() == "newer"


@pytest.mark.parametrize("name", ["Dockerfile", "Makefile"])
def test_every_module_that_is_run_exists(name: str) -> None:
    modules = set(re.findall(r'python"?,? "?-m"?,? "?([\w.]+)', text(name)))

    assert {"service", "model.assets"} <= modules
    assert [module for module in modules if not _can_be_run(module)] == []


def test_every_import_of_the_programs_in_the_image_exists() -> None:
    programs = re.findall(r'python -c "(.+?)"', " ".join(instructions("RUN")))
    nodes = [node for program in programs for node in ast.walk(ast.parse(program.replace(";  ", "; ")))]
    imports = [node for node in nodes if isinstance(node, ast.ImportFrom) and node.module]

    assert {node.module for node in imports} >= {"model.assets", "model.recognizer"}
    for node in imports:
        module = importlib.import_module(str(node.module))
        assert [alias.name for alias in node.names if not hasattr(module, alias.name)] == []


def test_the_options_of_fetch_are_those_that_the_image_uses(capsys: pytest.CaptureFixture[str]) -> None:
    (command,) = re.findall(r"model\.assets fetch ([^&\n]+)", " ".join(instructions("RUN", stage="assets")))

    with pytest.raises(SystemExit, match="0"):
        assets.main(["fetch", "--help"])

    option, value = command.split()[:2]
    assert re.search(rf"{option} {{[^}}]*\b{value}\b", capsys.readouterr().out)
