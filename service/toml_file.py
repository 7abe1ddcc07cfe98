"""Small TOML files that an operator writes, some of which hold secrets."""

import re
import tomllib
from pathlib import Path
from typing import Any, Final

from model.errors import VcemoError

_MAX_BYTES: Final = 1 << 20


def read_toml(path: Path, *, of: str, error: type[VcemoError]) -> dict[str, Any]:
    """Read the tables of a file. of: what it is a file of, for people.

    Raises:
        VcemoError: it cannot be read, or is no TOML: the ``error`` that was given. The message quotes nothing of it.
    """
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise error(f"{path}: no file of {of} is that large", limit=_MAX_BYTES)
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as cause:
        raise error(f"{path}: the file of {of} cannot be read: {cause.strerror}") from cause
    except ValueError as cause:
        place = re.search(r"at line \d+, column \d+|at end of document", str(cause))
        raise error(f"{path}: not TOML {place[0] if place else 'in UTF-8'}") from cause
