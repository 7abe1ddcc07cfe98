"""What the image, compose and the manifests say, read once for the tests of each."""

import re
import shlex
import shutil
import subprocess
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from service.settings import PREFIX, Settings

ROOT = Path(__file__).parents[1]
OVERLAYS = ("cpu", "gpu", "kind")


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def read_yaml(name: str) -> Any:
    return yaml.safe_load(text(name))


@cache
def dockerfile() -> list[tuple[str, str, str]]:
    """Every instruction as (stage, name, argument)."""
    lines = "\n".join(line for line in text("Dockerfile").splitlines() if not line.startswith("#"))
    stage, instructions = "", []
    for line in lines.replace("\\\n", " ").splitlines():
        name, _, argument = line.strip().partition(" ")
        if name == "FROM":
            stage = argument.rpartition(" AS ")[2]
        if name:
            instructions.append((stage, name, argument.strip()))
    return instructions


def instructions(name: str, *, stage: str | None = None) -> list[str]:
    return [argument for at, found, argument in dockerfile() if found == name and stage in (None, at)]


def stages_below(stage: str) -> list[str]:
    """The stages that a stage is built on, itself last."""
    bases = {found.rpartition(" AS ")[2]: found.partition(" ")[0] for found in instructions("FROM")}
    chain = [stage]
    while bases.get(chain[0]) in bases:
        chain.insert(0, bases[chain[0]])
    return chain


def image_environment(stage: str) -> dict[str, str]:
    words = [
        word for each in stages_below(stage) for found in instructions("ENV", stage=each) for word in shlex.split(found)
    ]
    return dict(word.split("=", 1) for word in words)


@cache
def compose() -> Any:
    return read_yaml("docker-compose.yml")["services"]


def resources(folder: str) -> list[Any]:
    """Every resource below a folder of k8s/, patches left out."""
    found: list[Any] = []
    for kustomization in sorted((ROOT / "k8s" / folder).rglob("kustomization.yaml")):
        for name in yaml.safe_load(kustomization.read_text(encoding="utf-8")).get("resources", []):
            if (kustomization.parent / name).is_file():
                found += yaml.safe_load_all((kustomization.parent / name).read_text(encoding="utf-8"))
    return found


@cache
def rendered(overlay: str) -> list[Any] | None:
    """What `kubectl kustomize` makes of an overlay; None where there is no kubectl."""
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        return None
    command = [kubectl, "kustomize", str(ROOT / "k8s" / "overlays" / overlay)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    return list(yaml.safe_load_all(ended.stdout))


def pod() -> Any:
    return read_yaml("k8s/base/deployment.yaml")["spec"]["template"]["spec"]


def container() -> Any:
    (found,) = pod()["containers"]
    return found


def config_map() -> dict[str, str]:
    lines = [line for line in text("k8s/base/settings.env").splitlines() if line and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


def interpolated(value: str) -> str:
    """A value of compose where the variable of ``${NAME:-default}`` is not set."""
    return re.sub(r"\$\{\w+:-(.*?)\}", r"\1", value)


def environment(place: str) -> dict[str, str]:
    added: dict[str, str] = {}
    if place in ("vcemo", "vcemo-gpu"):
        added = {name: interpolated(value) for name, value in compose()[place]["environment"].items()}
    elif place == "kubernetes":
        added = config_map()
    return image_environment("gpu" if "gpu" in place else "cpu") | added


def settings(place: str) -> Settings:
    return settings_of(environment(place))


def settings_of(variables: Mapping[str, str]) -> Settings:
    """Settings of variables."""
    named = {name.removeprefix(PREFIX).lower(): value for name, value in variables.items() if name.startswith(PREFIX)}
    return Settings.model_validate(named)
