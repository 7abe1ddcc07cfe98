import ast
import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import model
import service
import training

ROOT = Path(__file__).parents[1]
PACKAGES = ("service", "model", "training")
LOCKS = ("base", "dev", "image", "training", "gpu")
EXTRAS = ("training", "s3", "archive", "dev")
MAKE_TARGETS = {
    "help",
    "serve",
    "test",
    "check",
    "train-tiny",
    "bench",
    "assets",
    "lock",
    "vendor",
    "audit",
    "sbom",
} | {"clean"}
TORCH_IS_ALLOWED_IN = {
    f"model/{room}.py" for room in ("network", "attention", "encoders", "text_branch", "sound_expert", "dropout")
}


@cache
def _pyproject() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def _declared(*extras: str) -> list[Requirement]:
    project = _pyproject()["project"]
    lines = list(project["dependencies"])
    for extra in extras:
        lines += project["optional-dependencies"][extra]
    return [Requirement(line) for line in lines]


def _lock_text(name: str) -> str:
    return (ROOT / "requirements" / f"{name}.lock").read_text(encoding="utf-8")


def _pins(name: str) -> dict[str, str]:
    lines = [line for line in _lock_text(name).splitlines() if line and not line.lstrip().startswith("#")]
    pins: dict[str, str] = {}
    for requirement in map(Requirement, lines):
        (pin,) = requirement.specifier
        assert pin.operator == "==", requirement
        pins[canonicalize_name(requirement.name)] = pin.version
    return pins


def _imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.partition(".")[0]


def _run(program: str, *, cwd: Path, arguments: tuple[str, ...] = ()) -> str:
    ended = subprocess.run(
        [sys.executable, "-I", "-c", program, *arguments], cwd=cwd, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    (path,) = folder.glob("*.whl")
    return path


def test_the_three_packages_are_ours_and_share_one_root() -> None:
    roots = {Path(str(package.__file__)).parents[1] for package in (service, model, training)}

    assert roots == {ROOT}


def test_no_test_folder_shadows_a_package() -> None:
    assert not {path.name for path in (ROOT / "tests").iterdir() if path.is_dir()} & {*PACKAGES, "bench"}


def test_the_wheel_holds_every_file_of_the_three_packages(wheel: Path) -> None:
    expected = {
        str(path.relative_to(ROOT))
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.suffix in {".py", ".toml", ".html", ".css", ".js", ".svg", ".LICENSE"}
    }

    held = {name for name in ZipFile(wheel).namelist() if ".dist-info/" not in name}

    assert held >= expected
    assert {name.partition("/")[0] for name in held} == set(PACKAGES)
    assert "model/assets.toml" in held


def test_the_wheel_imports_from_an_empty_folder(wheel: Path, tmp_path: Path) -> None:
    site, empty = tmp_path / "site", tmp_path / "empty"
    ZipFile(wheel).extractall(site)
    empty.mkdir()
    program = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "import service.settings, model.asset_pins, training\n"
        "assert 'whisper-base' in model.asset_pins.read_assets()\n"
        "print(*(package.__file__ for package in (service, model, training)), sep='\\n')"
    )

    files = _run(program, cwd=empty, arguments=(str(site),)).splitlines()

    assert [Path(file).parents[1] for file in files] == [site] * 3


def test_serving_runs_where_torch_is_not_installed(tmp_path: Path) -> None:
    # None makes every import of it fail, as in an environment of requirements/base.lock.
    program = (
        "import sys; sys.modules['torch'] = sys.modules['transformers'] = None\n"
        "sys.path.insert(0, sys.argv[1])\n"
        "import service.__main__, model.recognizer, model.words, model.sentence, model.speech"
    )

    _run(program, cwd=tmp_path, arguments=(str(ROOT),))


@pytest.mark.parametrize(
    ("folder", "extras"),
    [("service", ()), ("model", ()), ("training", ("training", "archive")), ("bench", EXTRAS), ("tests", EXTRAS)],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_every_import_is_a_declared_dependency(folder: str, extras: tuple[str, ...]) -> None:
    distributions = packages_distributions()
    declared = {canonicalize_name(requirement.name) for requirement in _declared(*extras)}
    ours = {*PACKAGES, "bench"} | {path.stem for path in (ROOT / "tests").iterdir()}
    undeclared = set()
    for path in (ROOT / folder).rglob("*.py"):
        allowed = declared | {"torch"} if str(path.relative_to(ROOT)) in TORCH_IS_ALLOWED_IN else declared
        for name in set(_imported(path)) - sys.stdlib_module_names - ours:
            if not {canonicalize_name(found) for found in distributions.get(name, [name])} & allowed:
                undeclared.add((str(path.relative_to(ROOT)), name))

    assert undeclared == set()


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_names_no_host_and_no_path_of_a_machine(name: str) -> None:
    text = _lock_text(name)

    assert not re.search(r"://|index-url|find-links|\s@\s|\s/\w|\+cpu", text)
    assert len(_pins(name)) > 90


@pytest.mark.parametrize(
    ("name", "extras"),
    [
        ("base", ()),
        ("image", ("s3", "postgres")),
        ("training", ("training", "s3", "postgres", "archive")),
        ("dev", EXTRAS),
    ],
    ids=["base", "image", "training", "dev"],
)
def test_a_lock_satisfies_what_is_declared(name: str, extras: tuple[str, ...]) -> None:
    pins = _pins(name)

    unsatisfied = [
        str(requirement)
        for requirement in _declared(*extras)
        if not requirement.specifier.contains(pins.get(canonicalize_name(requirement.name), "0"))
    ]

    assert unsatisfied == []


def test_the_base_has_no_torch() -> None:
    assert not {"torch", "transformers", "triton"} & set(_pins("base"))


@pytest.mark.parametrize("name", ["dev", "image", "training", "gpu"])
def test_the_other_locks_agree_with_the_base(name: str) -> None:
    pins = _pins(name)
    left_out = {"onnxruntime"} if name == "gpu" else set()
    expected = {package: version for package, version in _pins("base").items() if package not in left_out}

    assert {package: pins.get(package) for package in expected} == expected


def test_images_train_and_serve_with_the_versions_that_tests_ran_with() -> None:
    tested = _pins("dev")
    # Tests keep their state in SQLite; `python -m bench shows image` sees that the driver loads.
    untested = {"psycopg", "psycopg-binary"}

    for name in ("image", "training"):
        pins = {package: pin for package, pin in _pins(name).items() if package not in untested}
        assert {package: tested.get(package) for package in pins} == pins
    assert not {"torch", "transformers", "ray"} & set(_pins("image"))


@pytest.mark.parametrize("name", ["dev", "training"])
def test_a_lock_with_torch_leaves_its_build_open(name: str) -> None:
    pins = _pins(name)

    assert pins["torch"] == "2.13.0"
    assert not [name for name in pins if name.startswith(("nvidia-", "triton", "cuda-"))]


def test_the_gpu_install_ends_with_exactly_one_onnx_runtime_of_the_base_version() -> None:
    runtimes = {name: version for name, version in _pins("gpu").items() if name.startswith("onnxruntime")}

    assert runtimes == {"onnxruntime-gpu": _pins("base")["onnxruntime"]}


def test_no_extra_puts_a_second_onnx_runtime_beside_the_first() -> None:
    extras = _pyproject()["project"]["optional-dependencies"]

    assert not [line for lines in extras.values() for line in lines if line.startswith("onnxruntime")]


def test_every_dependency_says_why_it_is_there() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    section = text.partition("\n[dependency-groups]")[0].partition("dependencies = [")[2]

    silent = [line for line in section.splitlines() if re.match(r'  "', line) and not re.search(r'",\s+# \S', line)]

    assert silent == []


def test_the_project_cannot_be_uploaded_by_accident() -> None:
    assert "Private :: Do Not Upload" in _pyproject()["project"]["classifiers"]


def test_help_lists_every_target_of_the_makefile() -> None:
    printed = subprocess.run(["make", "--no-print-directory"], cwd=ROOT, capture_output=True, text=True, check=True)
    phony = set(
        re.findall(r"^\.PHONY: (.+)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)[0].split()
    )

    listed = set(re.findall(r"^  make ([a-z-]+) +\w", printed.stdout, re.MULTILINE))

    assert listed == phony == MAKE_TARGETS


def test_the_bill_of_materials_lists_every_package_that_serving_needs(tmp_path: Path) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    source = "cyclonedx_py requirements requirements/base.lock --pyproject pyproject.toml"
    assert f"-m {source}" in makefile
    command = [sys.executable, "-W", "ignore", "-m", *source.split(), "--output-file", str(tmp_path / "sbom.json")]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr

    bill = json.loads((tmp_path / "sbom.json").read_text(encoding="utf-8"))

    assert {canonicalize_name(one["name"]): one["version"] for one in bill["components"]} == _pins("base")
    assert bill["metadata"]["component"]["name"] == "vcemo"


def test_an_audit_that_asked_nobody_does_not_end_well(tmp_path: Path) -> None:
    # The recipe as it stands, with no way out: the variables are those of the client's own HTTP library.
    nowhere = "http://127.0.0.1:9"
    variables = {**os.environ, "HTTPS_PROXY": nowhere, "https_proxy": nowhere, "NO_PROXY": "", "no_proxy": ""}
    command = [
        "make",
        "--no-print-directory",
        "--assume-old=.venv/installed-dev",
        "audit",
        "ARGS=--cache-dir=" + str(tmp_path),
    ]
    ended = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, check=False)

    assert ended.returncode != 0
    assert "nothing was audited" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_the_tiny_experiment_is_there() -> None:
    assert "training train tiny" in (ROOT / "Makefile").read_text(encoding="utf-8")
    assert (ROOT / "training" / "experiments" / "tiny.toml").is_file()


def test_ci_runs_the_same_commands_as_anyone() -> None:
    script = ROOT / ".ci" / "run"

    assert os.access(script, os.X_OK)
    assert "set -euo pipefail" in script.read_text(encoding="utf-8")
    assert re.findall(r"^make .+$", script.read_text(encoding="utf-8"), re.MULTILINE) == ["make check", "make test"]
    subprocess.run(["bash", "-n", script], check=True)
