"""A manifest that somebody brings along: JSON lines or a CSV table, with their own words for the emotions.

Columns are ``audio`` (or ``file``; relative to the manifest, or absolute) and ``emotion``, and, if known, ``key``,
``speaker``, ``sentence``, ``text``, ``language`` (``zh`` unless given), ``session`` and ``split``.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from model.errors import CorpusError
from training.corpora.scan import Collector, Scan, wrong_layout
from training.corpora.tables import read_table, read_text

MANIFEST_SUFFIXES: Final = (".jsonl", ".csv")
_LAYOUT: Final = (
    "a .jsonl or .csv file, or a folder with manifest.jsonl or manifest.csv, with columns audio and emotion"
)
SYNONYMS: Final = {
    word: emotion
    for emotion, words in {
        "angry": ("angry", "anger", "ang", "生气", "愤怒"),
        "fear": ("fear", "fearful", "afraid", "fea", "害怕", "恐惧"),
        "happy": ("happy", "happiness", "joy", "joyful", "hap", "高兴", "开心", "快乐"),
        "neutral": ("neutral", "neu", "中性", "中立"),
        "sad": ("sad", "sadness", "悲伤", "伤心", "难过"),
        "surprise": ("surprise", "surprised", "sur", "惊讶", "吃惊", "惊喜"),
    }.items()
    for word in words
}
"""Words taken for one of the six. Calm is not neutral, nor excited happy: who means that writes that."""
_SPLITS: Final = {
    "": None,
    "train": "train",
    "dev": "dev",
    "val": "dev",
    "valid": "dev",
    "validation": "dev",
    "test": "test",
}


def scan(root: Path) -> Scan:
    """Read a manifest, given itself or its folder.

    Raises:
        CorpusError: there is none, it lacks a column, a line is not a JSON object, or no row can be used.
    """
    path = next((path for path in (root, root / "manifest.jsonl", root / "manifest.csv") if path.is_file()), None)
    if path is None or path.suffix.lower() not in MANIFEST_SUFFIXES:
        raise wrong_layout(root, corpus="a manifest", layout=_LAYOUT)
    corpus = manifest_name(path)
    collector = Collector(corpus, layout=_LAYOUT, emotions=SYNONYMS)
    rows = _json_rows(path) if path.suffix.lower() == ".jsonl" else read_table(path, columns=("emotion",))
    for number, row in enumerate(rows, start=1):
        # Tables made on Windows name their files with backslashes.
        audio = (row.get("audio") or row.get("file") or "").replace("\\", "/")
        split = row.get("split", "").lower()
        if not audio:
            collector.skip(f"row {number}", "names no audio file")
        elif split not in _SPLITS:
            collector.skip(audio, f"split {split} is not train, dev or test")
        else:
            collector.add(
                str(Path(audio).with_suffix("")).lstrip("/"),
                audio=path.parent / audio,
                label=row.get("emotion", "").lower(),
                language=row.get("language") or "zh",
                speaker=row.get("speaker"),
                sentence=row.get("sentence"),
                text=row.get("text"),
                session=row.get("session"),
                split=_SPLITS[split],
                key=row.get("key"),
            )
    return collector.scan(root)


def manifest_name(path: Path) -> str:
    """Name the corpus of a manifest: by its file, or by its folder where the file is only called manifest."""
    return Path(os.path.abspath(path)).parent.name if path.stem == "manifest" else path.stem


def _json_rows(path: Path) -> Iterator[dict[str, str]]:
    for number, line in enumerate(read_text(path, legacy="gb18030").split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise CorpusError(f"{path}:{number} is not JSON: {error}", value=line[:80]) from error
        if not isinstance(row, dict):
            raise CorpusError(f"{path}:{number} does not hold an object", value=row)
        yield {name.strip().lower(): str(value).strip() for name, value in row.items() if value is not None}
