"""The results of an archive on disk: Parquet, a file for each few recordings, each written whole."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.dataset as pds
import pyarrow.parquet as pq

from model.bundle import FACTS_FILE, sha256_of
from model.errors import CorpusError
from model.labels import sentiment
from model.recognizer import JudgedUtterance, Recognition
from model.whole_file import whole_file

RESULTS: Final = "results"
FAILED: Final = "failed"
FAILED_LIST: Final = "failed.jsonl"
_FACTS: Final = "archive.json"

_JUDGED: Final = (
    ("emotion", pa.string()),
    ("confidence", pa.float32()),
    ("probabilities", pa.map_(pa.string(), pa.float32())),
)
_SEGMENT: Final = pa.struct(
    [
        ("id", pa.string()),
        ("start_ms", pa.int64()),
        ("end_ms", pa.int64()),
        ("channel", pa.int32()),
        ("status", pa.string()),
        ("text", pa.string()),
        *_JUDGED,
    ]
)
_SCHEMA: Final = pa.schema(
    [
        ("key", pa.string()),
        ("file", pa.string()),
        ("status", pa.string()),
        *_JUDGED,
        ("sentiment", pa.float32()),
        ("text", pa.string()),
        ("language", pa.string()),
        ("duration_ms", pa.int64()),
        ("speech_ms", pa.int64()),
        ("warnings", pa.list_(pa.string())),
        ("segments", pa.list_(_SEGMENT)),
        ("bundle", pa.string()),
        ("bundle_version", pa.string()),
    ]
)
_FAILED_SCHEMA: Final = pa.schema(
    [("key", pa.string()), ("file", pa.string()), ("code", pa.string()), ("error", pa.string())]
)


def claim(out: Path, bundle: Path) -> None:
    """Mark a folder as the results of one bundle.

    Raises:
        CorpusError: it holds those of another: judgements of two cannot be told apart from calls that changed.
    """
    out.mkdir(parents=True, exist_ok=True)
    sha256, path = sha256_of(bundle / FACTS_FILE), out / _FACTS
    if path.is_file():
        found = json.loads(path.read_text(encoding="utf-8"))["bundle_sha256"]
        if found != sha256:
            raise CorpusError(f"{out} holds the results of another bundle: choose another folder", value=found)
        return
    _write(path, json.dumps({"bundle": str(bundle), "bundle_sha256": sha256}).encode())


def write_part(out: Path, *, good: Sequence[Mapping[str, Any]], failed: Sequence[Mapping[str, Any]]) -> None:
    """Write what came of some recordings; written again, it takes the place of what was there."""
    for folder, schema, rows in ((RESULTS, _SCHEMA, good), (FAILED, _FAILED_SCHEMA, failed)):
        if not rows:
            continue
        name = hashlib.sha256("\n".join(sorted(str(row["key"]) for row in rows)).encode()).hexdigest()[:24]
        sink = pa.BufferOutputStream()
        pq.write_table(pa.Table.from_pylist(list(rows), schema=schema), sink)
        _write(out / folder / f"part-{name}.parquet", sink.getvalue().to_pybytes())


def keys_of(out: Path, folder: str) -> list[str]:
    """Return the keys that have a result, or have failed, as often as they are there."""
    path = out / folder
    if not any(path.glob("*.parquet")):
        return []
    keys: list[str] = pds.dataset(path, format="parquet").to_table(columns=["key"])["key"].to_pylist()
    return keys


def forget_failed(out: Path) -> None:
    """Have no failures, so that they are tried again."""
    for path in (out / FAILED).glob("*.parquet"):
        path.unlink()


def write_failed_list(out: Path) -> list[Mapping[str, str]]:
    """Write every failure as a line of ``failed.jsonl``; return them."""
    path = out / FAILED
    rows: list[Mapping[str, str]] = []
    if any(path.glob("*.parquet")):
        rows = sorted(pds.dataset(path, format="parquet").to_table().to_pylist(), key=lambda row: row["key"])
    _write(out / FAILED_LIST, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode())
    return rows


def row_of(
    key: str, file: str, recognition: Recognition, *, labels: Sequence[str], bundle: tuple[str, str], with_text: bool
) -> dict[str, Any]:
    """Return the row of one recording. bundle: name and version."""
    probabilities = recognition.probabilities
    return {
        "key": key,
        "file": file,
        "status": recognition.status,
        "emotion": recognition.emotion,
        "confidence": recognition.confidence,
        "probabilities": None if probabilities is None else list(probabilities.items()),
        "sentiment": None if probabilities is None else sentiment(probabilities)[1],
        "text": recognition.text if with_text else None,
        "language": recognition.language,
        "duration_ms": recognition.recording.duration_ms,
        "speech_ms": recognition.speech_ms,
        "warnings": list(recognition.warnings),
        "segments": [_segment(one, labels, with_text=with_text) for one in recognition.segments],
        "bundle": bundle[0],
        "bundle_version": bundle[1],
    }


def _segment(one: JudgedUtterance, labels: Iterable[str], *, with_text: bool) -> dict[str, Any]:
    utterance = one.utterance
    found: dict[str, Any] = {"emotion": None, "confidence": None, "probabilities": None}
    if one.probabilities is not None:
        shares = dict(zip(labels, one.probabilities.tolist(), strict=True))
        best = max(shares, key=shares.__getitem__)
        found = {"emotion": best, "confidence": shares[best], "probabilities": list(shares.items())}
    return {
        "id": utterance.id,
        "start_ms": utterance.start_ms,
        "end_ms": utterance.end_ms,
        "channel": utterance.channel,
        "status": one.transcript.status,
        "text": one.transcript.text if with_text else None,
        **found,
    }


def _write(path: Path, content: bytes) -> None:
    with whole_file(path) as part:
        part.write_bytes(content)
