"""API keys: their hashes in a small TOML file, which is read again when it changes."""

import hashlib
import hmac
import logging
import re
import secrets
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import AwareDatetime, ConfigDict, Field, ValidationError
from pydantic.dataclasses import dataclass

from model.errors import KeysInvalid, Unauthorized
from service.toml_file import read_toml

logger = logging.getLogger(__name__)

NAME: Final = r"[a-z0-9][a-z0-9_-]{0,31}"
"""Of a key; ends up in logs and metrics."""

_PREFIX: Final = "vcemo_"
"""By which scanners for leaked secrets know one of ours."""
_KEY_BYTES: Final = 32
_CHECK_SECONDS: Final = 1.0


@dataclass(frozen=True, kw_only=True, slots=True, config=ConfigDict(extra="forbid", strict=True))
class ApiKey:
    """One caller's key: what it is recognised by, and how much it may ask."""

    name: Annotated[str, Field(pattern=f"^{NAME}$")]
    # One round of SHA-256, without salt: nobody guesses 256 random bits, however fast a guess is checked. Slow
    # hashes are for what people make up, and would give whoever sends wrong keys our processor.
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    requests_per_minute: Annotated[int, Field(ge=1, le=60_000)] | None = None
    max_concurrent: Annotated[int, Field(ge=1, le=1024)] | None = None
    expires: AwareDatetime | None = None


_FIELDS: Final = frozenset(ApiKey.__dataclass_fields__) - {"name"}


class Keyring:
    """The keys of a file; a changed file is looked for when somebody asks, at most once a second."""

    def __init__(self, path: Path, *, now: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._now = now
        # Before it is read: a change meanwhile is seen at the next look.
        self._signature = _signature(path)
        self._keys = read_keys(path)
        self._next_look = now() + _CHECK_SECONDS

    def find(self, shown: str) -> ApiKey:
        """Return the key that a caller shows.

        Raises:
            Unauthorized: it is none of ours, or has expired.
        """
        self._follow_file()
        digest = hashlib.sha256(shown.encode()).hexdigest()
        found: ApiKey | None = None
        for key in self._keys:
            # All of them, each in constant time: how long an answer takes tells nothing of what was close.
            if hmac.compare_digest(digest, key.sha256):
                found = key
        if found is None:
            raise Unauthorized("this API key is not known")
        if found.expires is not None and found.expires <= datetime.now(UTC):
            raise Unauthorized("this API key has expired")
        return found

    def _follow_file(self) -> None:
        if self._now() < self._next_look:
            return
        self._next_look = self._now() + _CHECK_SECONDS
        signature = _signature(self._path)
        if signature == self._signature:
            return
        self._signature = signature
        try:
            self._keys = read_keys(self._path)
        except KeysInvalid as error:
            facts = {"reason": error.message, "keys": len(self._keys)}
            logger.warning("the changed file of API keys is not usable, the keys before stay", extra={"facts": facts})
            return
        logger.info("API keys read again", extra={"facts": {"keys": len(self._keys)}})


def read_keys(path: Path) -> tuple[ApiKey, ...]:
    """Read a file of keys, one TOML table each, named as the key is.

    Raises:
        KeysInvalid: it cannot be read, is no such file, or holds no key. The message quotes nothing of it.
    """
    tables = read_toml(path, of="API keys", error=KeysInvalid)
    keys = tuple(
        _key_of(name, table, where=f"{path}: table {number}")
        for number, (name, table) in enumerate(tables.items(), start=1)
    )
    if not keys:
        raise KeysInvalid(f"{path}: holds no API key, so that nobody could ask; `python -m service key NAME` makes one")
    if len({key.sha256 for key in keys}) < len(keys):
        raise KeysInvalid(f"{path}: two API keys have the same sha256")
    return keys


def make_key(name: str) -> tuple[str, str]:
    """Return a new random key, and the lines of the file that let it in.

    Raises:
        ValueError: the name is not one for a key.
    """
    if not re.fullmatch(NAME, name):
        raise ValueError(f"a key's name is up to 32 of a-z, 0-9, _ and -, not {name!r}")
    secret = _PREFIX + secrets.token_urlsafe(_KEY_BYTES)
    lines = (
        f'[{name}]\nsha256 = "{hashlib.sha256(secret.encode()).hexdigest()}"\n'
        "# requests_per_minute = 120\n# max_concurrent = 4\n# expires = 2030-01-31T00:00:00Z\n"
    )
    return secret, lines


def _key_of(name: str, table: object, *, where: str) -> ApiKey:
    if not isinstance(table, Mapping):
        raise KeysInvalid(f"{where}: not a table; each key is one, such as [dashboard]")
    # Neither values nor unknown names are quoted: one may be a key that was pasted by mistake.
    if not _FIELDS.issuperset(table):
        raise KeysInvalid(f"{where}: has a field that is none of {', '.join(sorted(_FIELDS))}")
    given: dict[str, Any] = {**table, "name": name}
    try:
        return ApiKey(**given)
    except ValidationError as error:
        mistakes = [f"{mistake['loc'][0]}: {mistake['msg']}" for mistake in error.errors()]
        raise KeysInvalid(f"{where}: {'; '.join(mistakes)}") from error


def _signature(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
