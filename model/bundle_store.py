"""Bundles by version in a folder or an object store, and the pointers that say which of them is in use.

::

    objects/SHA256          every file that any version has, once
    versions/VERSION.json   its bundle.json, which names and seals the others; written last
    current                 the version that is served, with those before it
    candidate               a version that is compared with it on live traffic, if there is one

A pointer is one small file that is replaced as a whole: who reads it sees the one before or the one after.
"""

import datetime
import hashlib
import json
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final, Literal

from model.bundle import FACTS_FILE, Bundle, BundleFacts, sha256_of
from model.errors import (
    BundleChecksumMismatch,
    BundleInvalid,
    StoreUnreachable,
    VcemoError,
    VersionMissing,
    VersionTaken,
)
from model.whole_file import whole_file

PointerName = Literal["current", "candidate"]

_VERSION: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_REMEMBERED: Final = 50
"""Versions before the current one that a rollback may go back to."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Pointer:
    """What a pointer says. sha256: of the version's bundle.json. before: (version, sha256), the latest last."""

    version: str
    sha256: str
    set_at: str
    before: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredVersion:
    """One version: its facts, the checksum of each file, and that of its bundle.json."""

    facts: BundleFacts
    files: dict[str, str]
    sha256: str


class BundleStore:
    """A store by its URL: a folder, ``s3://bucket/prefix``, or whatever fsspec has a driver for."""

    def __init__(self, url: str) -> None:
        """Name the store; nothing is read.

        Raises:
            StoreUnreachable: nothing is known of such URLs, or the driver is not installed.
        """
        # Here, because it takes a tenth of a second that whoever serves a folder does not need.
        import fsspec
        from fsspec.implementations.local import LocalFileSystem

        self.url = url
        with _reaching(url):
            # A listing that is remembered would hide what others push.
            self._files, self._root = fsspec.core.url_to_fs(url, use_listings_cache=False)
        self._is_local = isinstance(self._files, LocalFileSystem)

    def push(self, directory: Path) -> tuple[StoredVersion, bool]:
        """Copy a bundle that proves itself into the store; return it, and whether it is new there.

        Raises:
            BundleError: it does not verify.
            VersionTaken: the store has that version, with other contents.
            StoreUnreachable: the store cannot be written.
        """
        bundle = Bundle.load(directory)
        version = _checked(bundle.facts.version)
        document = (directory / FACTS_FILE).read_bytes()
        found = self._read(f"versions/{version}.json")
        if found is not None and found != document:
            raise VersionTaken(
                f"{self.url} has another {version}: give this bundle a version of its own", value=version
            )
        for name, sha256 in sorted(bundle.files.items()):
            with _reaching(self.url):
                if not self._files.exists(self._path(f"objects/{sha256}")):
                    self._write(f"objects/{sha256}", (directory / name).read_bytes())
        with _reaching(self.url):
            if found is None:
                self._write(f"versions/{version}.json", document)
        return _stored(document), found is None

    def pull(self, version: str, out: Path, *, sha256: str | None = None) -> Path:
        """Copy a version to the folder ``out``, whole or not at all, every file checked; return ``out``.

        sha256: of its bundle.json, as a pointer names it.

        Raises:
            VersionMissing: the store has no such version.
            BundleChecksumMismatch: a file is not what it was sealed as.
            VersionTaken: ``out`` holds something else.
            StoreUnreachable: the store cannot be read.
        """
        document = self._document(version)
        stored = _stored(document)
        if sha256 is not None and stored.sha256 != sha256:
            raise BundleChecksumMismatch(
                f"{FACTS_FILE} of {version} has sha256 {stored.sha256}, the pointer says {sha256}",
                value=stored.sha256,
                limit=sha256,
            )
        if out.exists():
            if _holds(out, document, stored.files):
                return out
            raise VersionTaken(f"{out} is there already, and is not {version} of {self.url}", value=str(out))
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as folder:
            draft = Path(folder) / "bundle"
            draft.mkdir()
            for name, expected in stored.files.items():
                self._fetch(expected, draft / name)
            (draft / FACTS_FILE).write_bytes(document)
            draft.chmod(0o755)  # as any folder, for the service may run as somebody else
            try:
                draft.rename(out)
            except OSError:
                # Somebody else has pulled it meanwhile.
                if not _holds(out, document, stored.files):
                    raise
        return out

    def versions(self) -> list[StoredVersion]:
        """Return every version, the oldest first."""
        with _reaching(self.url):
            folder = self._path("versions")
            names = self._files.ls(folder, detail=False) if self._files.exists(folder) else []
        found = [PurePosixPath(name).name.removesuffix(".json") for name in names if name.endswith(".json")]
        return sorted((_stored(self._document(name)) for name in found), key=lambda one: one.facts.created)

    def has(self, version: str) -> bool:
        """Whether the store has a version."""
        return self._read(f"versions/{_checked(version)}.json") is not None

    def pointer(self, name: PointerName = "current") -> Pointer | None:
        """Read a pointer; None where it was never set.

        Raises:
            StoreUnreachable: it cannot be read, or is no pointer.
        """
        document = self._read(name)
        if document is None:
            return None
        try:
            row = json.loads(document)
            before = tuple((str(version), str(sha256)) for version, sha256 in row.pop("before"))
            return Pointer(**row, before=before)
        except (ValueError, TypeError, KeyError) as error:
            raise StoreUnreachable(f"{self.url}/{name} is no pointer: {error}", value=name) from error

    def promote(self, version: str, *, expected: str | None = None) -> Pointer:
        """Make a version the current one, and no candidate any more.

        expected: what the current one has to be, so that nobody else's promotion is undone unseen.

        Raises:
            VersionMissing: the store has no such version.
            VersionTaken: another than ``expected`` is current.
        """
        sha256 = self._sha256_of_version(version)
        now = self.pointer()
        if expected is not None and (now is None or now.version != expected):
            found = now.version if now else "none"
            raise VersionTaken(f"{self.url}: {found} is current, not {expected}", value=found, limit=expected)
        if now is not None and (now.version, now.sha256) == (version, sha256):
            pointer = now
        else:
            before = (*now.before, (now.version, now.sha256)) if now else ()
            pointer = self._point("current", version, sha256, before[-_REMEMBERED:])
        candidate = self.pointer("candidate")
        if candidate is not None and candidate.version == version:
            self.withdraw()
        return pointer

    def rollback(self) -> Pointer:
        """Make the version before the current one.

        Raises:
            VersionMissing: there is none before.
        """
        now = self.pointer()
        if now is None or not now.before:
            raise VersionMissing(f"{self.url} has no version before the current one", value=now and now.version)
        version, sha256 = now.before[-1]
        if self._sha256_of_version(version) != sha256:
            raise VersionMissing(f"{self.url}: {version} is not what it was when it was current", value=version)
        return self._point("current", version, sha256, now.before[:-1])

    def nominate(self, version: str) -> Pointer:
        """Make a version the candidate that services compare with the current one.

        Raises:
            VersionMissing: the store has no such version.
        """
        return self._point("candidate", version, self._sha256_of_version(version), ())

    def withdraw(self) -> None:
        """Have no candidate."""
        with _reaching(self.url):
            if self._files.exists(self._path("candidate")):
                self._files.rm_file(self._path("candidate"))

    def read_record(self, name: str) -> dict[str, Any] | None:
        """Return what :meth:`write_record` kept under a name; None where nothing was."""
        document = self._read(f"records/{_checked(name)}.json")
        return None if document is None else dict(json.loads(document))

    def write_record(self, name: str, record: dict[str, Any]) -> None:
        """Keep a small document beside the bundles, such as why one was refused."""
        with _reaching(self.url):
            self._write(f"records/{_checked(name)}.json", json.dumps(record, ensure_ascii=False, indent=1).encode())

    def _sha256_of_version(self, version: str) -> str:
        return hashlib.sha256(self._document(version)).hexdigest()

    def _document(self, version: str) -> bytes:
        document = self._read(f"versions/{_checked(version)}.json")
        if document is None:
            raise VersionMissing(f"{self.url} has no version {version}", value=version)
        return document

    def _point(self, name: PointerName, version: str, sha256: str, before: tuple[tuple[str, str], ...]) -> Pointer:
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        pointer = Pointer(version=version, sha256=sha256, set_at=now, before=before)
        with _reaching(self.url):
            self._write(name, json.dumps(asdict(pointer), indent=1).encode())
        return pointer

    def _fetch(self, sha256: str, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _reaching(self.url):
            self._files.get_file(self._path(f"objects/{sha256}"), str(path))
        found = sha256_of(path)
        if found != sha256:
            raise BundleChecksumMismatch(
                f"{path.name} from {self.url} has sha256 {found}, it was sealed as {sha256}", value=found, limit=sha256
            )

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"

    def _read(self, name: str) -> bytes | None:
        with _reaching(self.url):
            try:
                return bytes(self._files.cat_file(self._path(name)))
            except FileNotFoundError:
                return None

    def _write(self, name: str, content: bytes) -> None:
        """Write a file whole or not at all: an object store does so by itself, a folder by a rename."""
        path = self._path(name)
        if not self._is_local:
            self._files.pipe_file(path, content)
            return
        with whole_file(Path(path)) as part:
            part.write_bytes(content)


def _checked(version: str) -> str:
    if not _VERSION.fullmatch(version):
        raise VersionMissing(
            f"{version!r} is no version: letters, digits, dots, dashes and underscores, 64 at most", value=version
        )
    return version


def _stored(document: bytes) -> StoredVersion:
    try:
        row = json.loads(document)
        files = {str(name): str(sha256) for name, sha256 in row["files"].items()}
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise BundleInvalid(f"{FACTS_FILE} is not a bundle's: {error}", value=str(error)) from error
    for name, sha256 in files.items():
        path = PurePosixPath(name)
        # What is read from a store names files of this machine.
        if path.is_absolute() or ".." in path.parts or "\\" in name or not re.fullmatch(r"[0-9a-f]{64}", sha256):
            raise BundleInvalid(f"{FACTS_FILE} names a file {name!r} of {sha256!r}", value=name)
    return StoredVersion(facts=BundleFacts.from_json(row), files=files, sha256=hashlib.sha256(document).hexdigest())


def _holds(folder: Path, document: bytes, files: dict[str, str]) -> bool:
    """Whether a folder is this bundle, every file checked."""
    facts = folder / FACTS_FILE
    if not facts.is_file() or facts.read_bytes() != document:
        return False
    return all((folder / name).is_file() and sha256_of(folder / name) == sha256 for name, sha256 in files.items())


@contextmanager
def _reaching(url: str) -> Iterator[None]:
    try:
        yield
    except VcemoError:
        raise
    except ImportError as error:
        raise StoreUnreachable(f"no driver for {url} is installed: {error}", value=url) from error
    except Exception as error:  # the drivers' errors share no base class
        raise StoreUnreachable(f"{url} cannot be used: {error}", value=url) from error
