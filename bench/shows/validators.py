"""What hadolint, promtool and the schemas of Kubernetes say of all that deploys the service."""

import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import kubernetes_validate
import yaml

from bench.deployment.prometheus import MONITORING
from bench.figures import Figure, Report
from bench.workbench import Workbench

_CHECKOUT: Final = Path(__file__).parents[2]
KUBERNETES_VERSION: Final = "1.34"
FOREIGN_KINDS: Final = {"ScaledObject", "ServiceMonitor", "PrometheusRule"}
"""Of KEDA and of Prometheus' operator; the schemas of Kubernetes do not know them."""
PROMTOOL: Final = (
    ("check", "config", "prometheus.yml"),
    ("check", "rules", "rules/vcemo.yml"),
    ("test", "rules", "rules_test.yml"),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Verdict:
    title: str
    is_good: bool
    said: str


def measure(_workbench: Workbench) -> Report:
    """Ask every validator, and print what it says."""
    hadolint = str(Path(sys.executable).with_name("hadolint"))
    verdicts = [
        _asked("hadolint Dockerfile", [hadolint, "Dockerfile"], folder=_CHECKOUT),
        *(
            _asked(f"promtool {' '.join(words)}", [_installed("promtool"), *words], folder=MONITORING)
            for words in PROMTOOL
        ),
        *(_rendered(overlay) for overlay in sorted((_CHECKOUT / "k8s" / "overlays").iterdir())),
    ]
    return Report(
        title="Validators of the Dockerfile, the monitoring and the manifests",
        figures=[Figure(name=f"{one.title}: content", value=float(one.is_good), floor=1) for one in verdicts],
        settings={
            "Kubernetes": f"schemas of {KUBERNETES_VERSION}, strict; {', '.join(sorted(FOREIGN_KINDS))} have others"
        },
        remarks=[f"{one.title}: {one.said or 'nothing to say'}" for one in verdicts],
    )


def _installed(tool: str) -> str:
    found = shutil.which(tool)
    if found is None:
        raise RuntimeError(f"{tool} not found; as root: apt-get install prometheus kubernetes-client")
    return found


def _asked(title: str, command: Sequence[str], *, folder: Path) -> _Verdict:
    ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)  # noqa: S603 - our own
    return _Verdict(title=title, is_good=ended.returncode == 0, said=" ".join((ended.stdout + ended.stderr).split()))


def _rendered(overlay: Path) -> _Verdict:
    """Render an overlay and hold each of its resources against its schema."""
    title = f"kubectl kustomize k8s/overlays/{overlay.name}, kubernetes-validate"
    command = [_installed("kubectl"), "kustomize", str(overlay)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own
    if ended.returncode:
        return _Verdict(title=title, is_good=False, said=ended.stderr)
    resources = list(yaml.safe_load_all(ended.stdout))
    known = [one for one in resources if one["kind"] not in FOREIGN_KINDS]
    wrong = [fault for one in known if (fault := _fault(one))]
    names = ", ".join(f"{one['kind']} {one['metadata']['name']}" for one in known)
    said = (
        "; ".join(wrong)
        or f"all {len(known)} resources valid, {len(resources) - len(known)} of other schemas not asked about: {names}"
    )
    return _Verdict(title=title, is_good=not wrong, said=said)


def _fault(resource: object) -> str:
    try:
        kubernetes_validate.validate(resource, KUBERNETES_VERSION, strict=True)
    except kubernetes_validate.ValidationError as error:
        return str(error)
    return ""
