"""Corpora in, cached features out: computed once for each FeatureConfig, by the code that serves."""

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from model.features import FeatureConfig, Features
from training.corpora.manifest import Clip

_VERSION: Final = 1
_SEQUENCES: Final = ("mel", "states", "words")


@dataclass(frozen=True, kw_only=True, slots=True)
class Example:
    """One utterance of a clip, ready for the network.

    seconds is the length of the utterance's speech; zero for text.
    """

    clip: Clip
    features: Features
    seconds: float
    transcript: str
    transcript_status: str


def cache_path(
    cache: Path,
    *,
    corpus: str,
    clips: Sequence[Clip],
    config: FeatureConfig,
    assets: Mapping[str, Mapping[str, str]],
) -> Path:
    """Name the cache file of a corpus by all that decides its content."""
    settings = config.to_json()
    parts = {name: dict(checksums) for name, checksums in assets.items()}
    if all(clip.audio is None for clip in clips):
        settings = {room: settings[room] for room in ("words", "sentence")}
        parts.pop(config.speech.asset, None)
    document = {
        "version": _VERSION,
        "config": settings,
        "assets": parts,
        "clips": [[clip.key, clip.audio.stat().st_size if clip.audio else 0, clip.text] for clip in clips],
    }
    digest = hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()
    return cache / "features" / f"{corpus}-{digest[:16]}.npz"


def save_examples(path: Path, examples: Sequence[Example]) -> None:
    """Write examples as one file, whole or not at all; sequences are kept in half precision."""
    columns: dict[str, npt.NDArray[Any]] = {}
    for name in _SEQUENCES:
        rows = [getattr(example.features, name) for example in examples]
        present = [row for row in rows if row is not None]
        columns[name] = np.concatenate(present).astype(np.float16) if present else np.zeros((0, 1), np.float16)
        columns[f"{name}_length"] = np.array([-1 if row is None else len(row) for row in rows], dtype=np.int64)
    sentences = [example.features.sentence for example in examples]
    columns["sentence_present"] = np.array([sentence is not None for sentence in sentences])
    kept = [sentence for sentence in sentences if sentence is not None]
    columns["sentence"] = np.stack(kept) if kept else np.zeros((0, 1), np.float32)
    facts = [[e.clip.key, e.seconds, e.transcript, e.transcript_status] for e in examples]
    columns["facts"] = np.frombuffer(json.dumps(facts).encode(), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".part")
    with os.fdopen(handle, "wb") as file:
        np.savez(file, allow_pickle=False, **columns)
    Path(temporary).replace(path)


def load_examples(path: Path, clips: Sequence[Clip]) -> list[Example]:
    """Read what :func:`save_examples` wrote, joined with its clips again."""
    clip_of_key = {clip.key: clip for clip in clips}
    with np.load(path, allow_pickle=False) as file:
        columns = {name: file[name] for name in file.files}
    facts = json.loads(columns["facts"].tobytes())
    sequences = {name: _split(columns[name], columns[f"{name}_length"]) for name in _SEQUENCES}
    sentences = iter(columns["sentence"])
    return [
        Example(
            clip=clip_of_key[key],
            features=Features(
                mel=sequences["mel"][index],
                states=sequences["states"][index],
                words=sequences["words"][index],
                sentence=next(sentences) if columns["sentence_present"][index] else None,
            ),
            seconds=seconds,
            transcript=transcript,
            transcript_status=status,
        )
        for index, (key, seconds, transcript, status) in enumerate(facts)
    ]


def without_text(example: Example) -> Example:
    """Return the example judged by its sound alone."""
    return replace(example, features=replace(example.features, words=None, sentence=None))


def without_sound(example: Example) -> Example:
    """Return the example judged by its text alone."""
    return replace(example, features=replace(example.features, mel=None, states=None))


def _split(rows: npt.NDArray[Any], lengths: npt.NDArray[Any]) -> list[npt.NDArray[np.float32] | None]:
    ends = np.cumsum(np.maximum(lengths, 0))
    return [
        None if length < 0 else rows[end - length : end].astype(np.float32)
        for length, end in zip(lengths, ends, strict=True)
    ]
