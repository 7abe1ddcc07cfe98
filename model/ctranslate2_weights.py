"""The weights of a Whisper in CTranslate2's binary format: read, or written again with fewer rows."""

import mmap
import re
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from model.errors import AssetInvalid

_SPEC: Final = "WhisperSpec"
_BINARY_VERSION: Final = 6
_DTYPES: Final = (np.float32, np.int8, np.int16, np.int32, np.float16)

Weights = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Variable:
    """One array, and where its record begins and ends."""

    name: str
    array: npt.NDArray[Any]
    kind: int
    start: int
    end: int


def read_weights(path: Path) -> Weights:
    """Read a ``model.bin``: name -> array, backed by the file.

    Raises:
        AssetInvalid: it is not a Whisper in the format's version 6.
    """
    return {variable.name: variable.array for variable in _variables(_mapped(path))}


def write_with_rows(
    path: Path, target: Path, rows: npt.NDArray[np.int64], *, of: int, without: re.Pattern[str]
) -> None:
    """Write a ``model.bin`` again, its arrays of ``of`` rows with only ``rows``; what is an alias stays one.

    without: names of arrays that are left out.

    Raises:
        AssetInvalid: it is not a Whisper in the format's version 6.
    """
    raw = _mapped(path)
    variables = list(_variables(raw))
    kept = [variable for variable in variables if not without.match(variable.name)]
    with target.open("wb") as file, memoryview(raw) as whole:
        file.write(whole[: variables[0].start - 4])
        file.write(struct.pack("<I", len(kept)))
        for variable in kept:
            if variable.array.ndim and len(variable.array) == of:
                file.write(_record(variable, variable.array[rows]))
            else:
                file.write(whole[variable.start : variable.end])
        file.write(whole[variables[-1].end :])


def _mapped(path: Path) -> mmap.mmap:
    with path.open("rb") as file:
        try:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except ValueError as error:
            raise AssetInvalid(f"{path.name} is empty", value=str(path)) from error


def _variables(raw: mmap.mmap) -> Iterator[_Variable]:
    offset, count = _head(raw)
    for _ in range(count):
        start = offset
        name, offset = _text(raw, offset)
        (rank,) = struct.unpack_from("<B", raw, offset)
        shape = struct.unpack_from(f"<{rank}I", raw, offset + 1)
        kind, num_bytes = struct.unpack_from("<BI", raw, offset + 1 + 4 * rank)
        data = offset + 6 + 4 * rank
        offset = data + num_bytes
        values = np.frombuffer(raw, _DTYPES[kind], num_bytes // np.dtype(_DTYPES[kind]).itemsize, offset=data)
        yield _Variable(name=name, array=values.reshape(shape), kind=kind, start=start, end=offset)


def _head(raw: mmap.mmap) -> tuple[int, int]:
    """Return where the first variable begins, and how many there are."""
    try:
        (version,) = struct.unpack_from("<I", raw, 0)
        spec, offset = _text(raw, 4)
        _, count = struct.unpack_from("<II", raw, offset)
    except (struct.error, UnicodeDecodeError) as error:
        raise AssetInvalid("these weights are no model of CTranslate2") from error
    if (version, spec) != (_BINARY_VERSION, _SPEC):
        raise AssetInvalid(
            f"these weights are of {spec} in format {version}; {_SPEC} in format {_BINARY_VERSION} is read",
            value=[spec, version],
            limit=[_SPEC, _BINARY_VERSION],
        )
    return offset + 8, count


def _record(variable: _Variable, array: npt.NDArray[Any]) -> bytes:
    name = variable.name.encode() + b"\0"
    shape = struct.pack(f"<B{array.ndim}I", array.ndim, *array.shape)
    return (
        struct.pack("<H", len(name)) + name + shape + struct.pack("<BI", variable.kind, array.nbytes) + array.tobytes()
    )


def _text(raw: mmap.mmap, offset: int) -> tuple[str, int]:
    (length,) = struct.unpack_from("<H", raw, offset)
    return raw[offset + 2 : offset + 2 + length].rstrip(b"\0").decode(), offset + 2 + length
