"""Not a byte of a bundle changes unnoticed."""

import json
import os
import random
import shutil
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT
from drawn_bundle import drawn_bundle
from drawn_features import small_network

from model.__main__ import main
from model.bundle import FACTS_FILE, LOWER_LAYERS_FILE, Bundle, read_facts, seal_again, sealed_files, write_facts
from model.errors import BundleChecksumMismatch, BundleError, BundleInvalid
from model.seal import SEAL
from training.export import WEIGHTS_FILE

SHIPPED = ROOT / "artifacts" / "vcemo-whisper-zh"
PLACES_IN_A_FILE = 40


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle that loads, of few bytes."""
    folder = drawn_bundle(tmp_path_factory.mktemp("drawn") / "small", small_network("whisper"))
    for name in (LOWER_LAYERS_FILE, WEIGHTS_FILE):
        (folder / name).unlink()
    write_facts(folder, document_in(folder) | {"files": sealed_files(folder)})
    Bundle.load(folder)
    return folder


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """The facts of the bundle that ships, and nothing else."""
    shutil.copy(SHIPPED / FACTS_FILE, tmp_path)
    return tmp_path


def document_in(folder: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((folder / FACTS_FILE).read_text(encoding="utf-8"))
    return document


def is_refused(folder: Path) -> bool:
    try:
        read_facts(folder)
    except BundleError:
        return True
    return False


def test_a_bit_of_any_byte_of_the_facts_is_found(copied: Path) -> None:
    read_facts(copied)
    accepted = []
    with (copied / FACTS_FILE).open("r+b", buffering=0) as file:
        for place, byte in enumerate(file.read()):
            os.pwrite(file.fileno(), bytes([byte ^ 1 << place % 8]), place)
            if not is_refused(copied):
                accepted.append(place)
            os.pwrite(file.fileno(), bytes([byte]), place)
    assert accepted == []
    read_facts(copied)


def test_a_change_that_leaves_what_the_facts_say_is_found_as_well(copied: Path) -> None:
    path, document = copied / FACTS_FILE, document_in(copied)
    sound = path.read_bytes()
    for changed in (sound.replace(b"\n", b" ", 1), sound.replace(b"\n", b"\r\n"), sound[:-1], sound + b"\n"):
        path.write_bytes(changed)
        assert document_in(copied) == document
        assert is_refused(copied)


def test_a_fact_that_is_only_told_is_sealed_like_any_other(copied: Path) -> None:
    path = copied / FACTS_FILE
    changed = path.read_text(encoding="utf-8").replace('"corpus": "casia"', '"corpus": "CASIA"', 1)
    assert changed != path.read_text(encoding="utf-8")
    path.write_text(changed, encoding="utf-8")
    with pytest.raises(BundleChecksumMismatch, match=r"bundle\.json has sha256 [0-9a-f]{64} before its seal"):
        read_facts(copied)


def test_a_bundle_of_before_the_seal_is_refused_with_the_command_that_seals_it(copied: Path) -> None:
    document = document_in(copied)
    document.pop(SEAL)
    (copied / FACTS_FILE).write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    with pytest.raises(BundleInvalid, match=r"does not end with its seal; .*python -m model seal FOLDER"):
        read_facts(copied)


def test_any_byte_of_any_other_file_is_found(small: Path) -> None:
    draw = random.Random(0)
    names = sorted(path.name for path in small.iterdir() if path.name != FACTS_FILE)
    for name in names:
        size = (small / name).stat().st_size
        with (small / name).open("r+b", buffering=0) as file:
            for place in {0, size - 1, *draw.sample(range(size), PLACES_IN_A_FILE)}:
                (byte,) = os.pread(file.fileno(), 1, place)
                os.pwrite(file.fileno(), bytes([byte ^ 1 << draw.randrange(8)]), place)
                with pytest.raises(BundleChecksumMismatch, match=f"{name} has sha256"):
                    Bundle.load(small)
                os.pwrite(file.fileno(), bytes([byte]), place)
    assert len(names) == 4
    Bundle.load(small)


def test_a_change_that_is_meant_is_sealed_by_a_command(
    small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder: Path = shutil.copytree(small, tmp_path / "bundle")
    path = folder / FACTS_FILE
    path.write_text(path.read_text(encoding="utf-8").replace('"version": "0"', '"version": "0.1"'), encoding="utf-8")
    with pytest.raises(BundleChecksumMismatch):
        Bundle.load(folder)
    assert main(["seal", str(folder)]) == 0
    assert capsys.readouterr().out == f"sealed and verified: drawn 0.1, {folder}\n"
    assert Bundle.load(folder).facts.version == "0.1"


def test_the_command_seals_no_other_change(small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder: Path = shutil.copytree(small, tmp_path / "bundle")
    sealed = (folder / FACTS_FILE).read_bytes()
    (folder / "MODEL_CARD.md").write_text("the best there is")
    assert main(["seal", str(folder)]) == 2
    assert "error: MODEL_CARD.md has sha256" in capsys.readouterr().err
    assert (folder / FACTS_FILE).read_bytes() == sealed


def test_sealing_twice_changes_nothing(small: Path) -> None:
    sealed = (small / FACTS_FILE).read_bytes()
    seal_again(small)
    assert (small / FACTS_FILE).read_bytes() == sealed
