"""Bundles in a folder and in S3: pushed whole, pulled checked, pointed to by one file."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from moto.server import ThreadedMotoServer
from reload_fixtures import with_a_byte_flipped, with_another_golden_case
from small_bundle import small_bundle, under_version

from model.bundle import FACTS_FILE, NETWORK_FILE, Bundle
from model.bundle_store import BundleStore
from model.bundles import main
from model.errors import (
    BundleChecksumMismatch,
    BundleInvalid,
    GoldenMismatch,
    StoreUnreachable,
    VersionMissing,
    VersionTaken,
)


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """A real HTTP server that speaks S3."""
    server = ThreadedMotoServer(port=0)
    server.start()
    with pytest.MonkeyPatch.context() as patch:
        host, port = server.get_host_and_port()
        patch.setenv("AWS_ENDPOINT_URL_S3", f"http://{host}:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        import fsspec

        fsspec.filesystem("s3").mkdir("models")
        yield "s3://models"
    server.stop()


@pytest.fixture(scope="module")
def versions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("versions")
    small_bundle(folder / "drawn")
    for version in ("1.0.0", "2.0.0"):
        under_version(folder / "drawn", folder / version, version, created=f"2026-01-0{version[0]}")
    return folder


@pytest.fixture(params=["folder", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> BundleStore:
    if request.param == "folder":
        return BundleStore(str(tmp_path / "store"))
    return BundleStore(f"{request.getfixturevalue('s3')}/{tmp_path.name}")


def test_a_version_goes_the_whole_way(store: BundleStore, versions: Path, tmp_path: Path) -> None:
    assert store.pointer() is None
    _, is_new = store.push(versions / "1.0.0")
    assert is_new
    assert not store.push(versions / "1.0.0")[1]
    store.push(versions / "2.0.0")
    assert [one.facts.version for one in store.versions()] == ["1.0.0", "2.0.0"]

    store.promote("1.0.0")
    pointer = store.promote("2.0.0", expected="1.0.0")
    assert (pointer.version, [version for version, _ in pointer.before]) == ("2.0.0", ["1.0.0"])
    out = store.pull("2.0.0", tmp_path / "pulled", sha256=pointer.sha256)
    assert Bundle.load(out).facts.version == "2.0.0"
    assert store.pull("2.0.0", out) == out

    assert store.rollback().version == "1.0.0"
    with pytest.raises(VersionMissing, match="no version before"):
        store.rollback()


def test_what_two_versions_have_alike_is_kept_once(versions: Path, tmp_path: Path) -> None:
    store = BundleStore(str(tmp_path))
    first, _ = store.push(versions / "1.0.0")
    second, _ = store.push(versions / "2.0.0")
    assert len(list((tmp_path / "objects").iterdir())) == len({*first.files.values(), *second.files.values()})
    assert not list(tmp_path.rglob("*.part"))


def test_a_promotion_does_not_undo_another_one_unseen(versions: Path, tmp_path: Path) -> None:
    store = BundleStore(str(tmp_path))
    store.push(versions / "1.0.0")
    store.push(versions / "2.0.0")
    store.promote("2.0.0")
    with pytest.raises(VersionTaken, match=r"2\.0\.0 is current"):
        store.promote("1.0.0", expected="1.0.0")
    # Promoted again, it is not its own predecessor.
    assert store.promote("2.0.0").before == ()


def test_a_candidate_that_is_promoted_is_none_any_more(versions: Path, tmp_path: Path) -> None:
    store = BundleStore(str(tmp_path))
    store.push(versions / "1.0.0")
    store.push(versions / "2.0.0")
    store.promote("1.0.0")
    store.nominate("2.0.0")
    found = store.pointer("candidate")
    assert found is not None
    assert found.version == "2.0.0"
    store.promote("2.0.0")
    assert store.pointer("candidate") is None


def test_a_version_is_never_replaced(store: BundleStore, versions: Path, tmp_path: Path) -> None:
    store.push(versions / "1.0.0")
    other = under_version(versions / "drawn", tmp_path / "other", "1.0.0", created="later")
    with pytest.raises(VersionTaken, match="another 1"):
        store.push(other)


def test_only_what_proves_itself_is_pushed(versions: Path, tmp_path: Path) -> None:
    store = BundleStore(str(tmp_path / "store"))
    torn = under_version(versions / "drawn", tmp_path / "torn", "3")
    with_a_byte_flipped(torn, NETWORK_FILE)
    with pytest.raises(BundleChecksumMismatch):
        store.push(torn)
    wrong = under_version(versions / "drawn", tmp_path / "wrong", "4")
    with_another_golden_case(wrong)
    with pytest.raises(GoldenMismatch):
        store.push(wrong)
    assert store.versions() == []


def test_a_file_that_was_changed_in_the_store_is_not_pulled(store: BundleStore, versions: Path, tmp_path: Path) -> None:
    stored, _ = store.push(versions / "1.0.0")
    store._write(f"objects/{stored.files[NETWORK_FILE]}", b"something else")
    with pytest.raises(BundleChecksumMismatch):
        store.pull("1.0.0", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_facts_that_are_not_those_of_the_pointer_are_not_pulled(versions: Path, tmp_path: Path) -> None:
    store = BundleStore(str(tmp_path))
    store.push(versions / "1.0.0")
    with pytest.raises(BundleChecksumMismatch, match="the pointer says"):
        store.pull("1.0.0", tmp_path / "out", sha256="0" * 64)


def test_a_store_cannot_write_beside_the_bundle(versions: Path, tmp_path: Path) -> None:
    store = BundleStore(str(tmp_path / "store"))
    store.push(versions / "1.0.0")
    path = tmp_path / "store" / "versions" / "1.0.0.json"
    document = json.loads(path.read_text())
    document["files"]["../../beside"] = document["files"][NETWORK_FILE]
    path.write_text(json.dumps(document))
    with pytest.raises(BundleInvalid, match="beside"):
        store.pull("1.0.0", tmp_path / "out")


def test_a_folder_with_something_else_is_not_overwritten(versions: Path, tmp_path: Path) -> None:
    store = BundleStore(str(tmp_path / "store"))
    store.push(versions / "1.0.0")
    store.push(versions / "2.0.0")
    out = store.pull("1.0.0", tmp_path / "out")
    with pytest.raises(VersionTaken, match="is there already"):
        store.pull("2.0.0", out)


@pytest.mark.parametrize("version", ["..", "a/b", "", "x" * 65, "1.0.0\n"])
def test_a_version_that_is_a_path_is_refused(tmp_path: Path, version: str) -> None:
    with pytest.raises(VersionMissing):
        BundleStore(str(tmp_path)).promote(version)


def test_a_store_that_cannot_be_reached_says_so(versions: Path, tmp_path: Path) -> None:
    with pytest.raises(StoreUnreachable):
        BundleStore("carrier-pigeon://roof")
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreUnreachable):
        BundleStore(str(tmp_path / "file" / "store")).push(versions / "1.0.0")


def test_the_commands_push_list_promote_and_roll_back(
    versions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    at = ("--store", str(tmp_path / "store"))
    assert main(["push", str(versions / "1.0.0"), "--promote", *at]) == 0
    assert main(["push", str(versions / "2.0.0"), *at]) == 0
    assert main(["candidate", "2.0.0", *at]) == 0
    assert main(["list", *at]) == 0
    printed = capsys.readouterr().out
    assert "current" in printed
    assert "candidate" in printed
    assert main(["promote", "2.0.0", "--expected", "1.0.0", *at]) == 0
    assert main(["rollback", *at]) == 0
    assert "1.0.0 is current" in capsys.readouterr().out
    assert main(["pull", "--out", str(tmp_path / "out"), *at]) == 0
    assert json.loads((tmp_path / "out" / FACTS_FILE).read_text())["version"] == "1.0.0"
    shutil.rmtree(tmp_path / "store")
    assert main(["promote", "2.0.0", *at]) == 1
    assert "no version 2.0.0" in capsys.readouterr().err
