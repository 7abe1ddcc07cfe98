"""A JSON file that ends with the checksum of everything before it, so that not a byte of it changes unnoticed."""

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from model.errors import BundleChecksumMismatch, BundleInvalid
from model.room import room_to_write
from model.whole_file import whole_file

SEAL: Final = "seal"
"""The last field: the sha256 of the bytes before it."""

_LAST_FIELD: Final = re.compile(rb',\n "seal": "([0-9a-f]{64})"\n}\n\Z')


def write_sealed(path: Path, document: Mapping[str, Any]) -> None:
    """Write a document, of one field at least, with its seal; one that it was read with is replaced.

    Raises:
        NoRoom: it cannot be written; what was there before still is.
    """
    fields = {name: value for name, value in document.items() if name != SEAL}
    content = json.dumps(fields, indent=1, ensure_ascii=False).removesuffix("\n}").encode()
    with whole_file(path) as part, room_to_write(str(path)):
        part.write_bytes(content + f',\n "{SEAL}": "{hashlib.sha256(content).hexdigest()}"\n}}\n'.encode())


def check_seal(content: bytes, *, name: str) -> None:
    """Return if the content of the file ``name`` is, to the byte, what :func:`write_sealed` wrote.

    Raises:
        BundleInvalid: it has no seal where one is written, at its end.
        BundleChecksumMismatch: it was changed since it was sealed.
    """
    last = _LAST_FIELD.search(content)
    if last is None:
        raise BundleInvalid(f"{name} does not end with its seal; to seal it as it is: python -m model seal FOLDER")
    sealed, found = last[1].decode(), hashlib.sha256(content[: last.start()]).hexdigest()
    if found != sealed:
        raise BundleChecksumMismatch(
            f"{name} has sha256 {found} before its seal, which says {sealed}; "
            "if the change is meant: python -m model seal FOLDER",
            value=found,
            limit=sealed,
        )
