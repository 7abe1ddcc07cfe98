"""The manifest layout: ``ROOT/manifest.jsonl`` beside an audio folder, one clip a line; or text only."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model.errors import CorpusError
from model.labels import EMOTIONS


@dataclass(frozen=True, kw_only=True, slots=True)
class Clip:
    """One labelled recording or text.

    audio is None for text corpora; emotion, speaker and sentence (the line that was read) are None where unknown.
    """

    key: str
    corpus: str
    audio: Path | None
    emotion: str | None
    speaker: str | None
    sentence: str | None
    text: str | None
    language: str
    session: str | None = None
    """What folds may be made by beside the speaker: a recording session, or a dialogue."""
    split: str | None = None
    """train, dev or test, where the corpus publishes a division."""


def read_manifest(path: Path, *, corpus: str) -> list[Clip]:
    """Read one ``.jsonl`` manifest; audio paths are relative to its folder.

    Raises:
        CorpusError: the file is missing, a line is not a JSON object, repeats a key or names a recording that
            is not there, or a label is not one of the six.
    """
    if not path.is_file():
        raise CorpusError(f"{path} does not exist; set VCEMO_DATA to the folder that holds the corpora", value=path)
    return list(_clips(path, corpus))


def _clips(path: Path, corpus: str) -> Iterator[Clip]:
    keys: set[str] = set()
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                raise CorpusError(f"{path}:{number} is not JSON: {error}", value=line[:80]) from error
            clip = _clip(row, path=path, number=number, corpus=corpus)
            if clip.key in keys:
                raise CorpusError(f"{path}:{number} has the key {clip.key!r} of an earlier line", value=clip.key)
            keys.add(clip.key)
            yield clip


def _clip(row: Any, *, path: Path, number: int, corpus: str) -> Clip:
    if not isinstance(row, dict):
        raise CorpusError(f"{path}:{number} does not hold an object", value=row)
    emotion = row.get("emotion")
    if emotion is not None and emotion not in EMOTIONS:
        raise CorpusError(
            f"{path}:{number} has emotion {emotion!r}; expected one of {', '.join(EMOTIONS)}",
            value=emotion,
            limit=EMOTIONS,
        )
    if "key" not in row:
        raise CorpusError(f"{path}:{number} has no key", value=row)
    audio = path.parent / row["audio"] if "audio" in row else None
    if audio is not None and not audio.is_file():
        raise CorpusError(f"{path}:{number} names {audio}, which does not exist", value=audio)
    return Clip(
        key=row["key"],
        corpus=corpus,
        audio=audio,
        emotion=emotion,
        speaker=row.get("speaker"),
        sentence=row.get("sentence"),
        text=row.get("text"),
        language=row.get("language", ""),
        session=row.get("session"),
        split=row.get("split"),
    )
