"""The manifest layout: ``ROOT/manifest.jsonl`` beside an audio folder, one clip a line; or text only."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
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
    try:
        return list(_clips(path, corpus))
    except UnicodeDecodeError as error:
        raise CorpusError(f"{path} is not UTF-8: {error}", value=path) from error


def write_manifest(path: Path, clips: Iterable[Clip], extra: Mapping[str, Mapping[str, Any]] | None = None) -> None:
    """Write a manifest that :func:`read_manifest` reads back, whole or not at all.

    Audio below the manifest's folder is written relative to it, other audio as an absolute path. ``extra`` holds
    further columns for the clip of a key, such as asr_text, asr_status and seconds; the reader passes over them.

    Raises:
        CorpusError: a key comes twice, or ``extra`` has a column of the clip itself or a key of no clip.
    """
    rows: dict[str, dict[str, Any]] = {}
    for clip in clips:
        if clip.key in rows:
            raise CorpusError(f"two clips have the key {clip.key!r}", value=clip.key)
        rows[clip.key] = _row(clip, folder=path.parent)
    for key, columns in (extra or {}).items():
        if key not in rows:
            raise CorpusError(f"extra columns for {key!r}, which no clip has", value=key)
        if taken := columns.keys() & {each.name for each in fields(Clip)}:
            raise CorpusError(f"extra columns for {key!r} hide its {', '.join(sorted(taken))}", value=sorted(taken))
        rows[key] |= columns
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows.values())
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    try:
        part.write_text(text, encoding="utf-8")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _row(clip: Clip, *, folder: Path) -> dict[str, Any]:
    audio = None
    if clip.audio is not None:
        absolute = clip.audio.absolute()
        inside = absolute.is_relative_to(folder.absolute())
        audio = absolute.relative_to(folder.absolute()).as_posix() if inside else str(absolute)
    row = {
        "key": clip.key,
        "audio": audio,
        "emotion": clip.emotion,
        "speaker": clip.speaker,
        "sentence": clip.sentence,
        "text": clip.text,
        "language": clip.language,
        "session": clip.session,
        "split": clip.split,
    }
    return {column: value for column, value in row.items() if value is not None}


def _clips(path: Path, corpus: str) -> Iterator[Clip]:
    keys: set[str] = set()
    with path.open(encoding="utf-8-sig") as lines:
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
    audio = path.parent / row["audio"] if row.get("audio") is not None else None
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
