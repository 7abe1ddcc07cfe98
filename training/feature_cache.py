"""Corpora in, cached features out: computed once for all that decides them, in shards that survive a stop."""

import functools
import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from model.features import FeatureConfig, Features
from model.whole_file import whole_file
from training.augmentation import Change
from training.corpora.manifest import Clip
from training.mishearing import Mishearing

CLIPS_PER_SHARD: Final = 64
TEXTS_PER_SHARD: Final = 1024
DECODER_FIELDS: Final = (
    "language",
    "other_languages",
    "beam_size",
    "max_tokens_base",
    "max_tokens_per_second",
    "min_avg_logprob",
    "max_compression_ratio",
    "max_no_speech_probability",
)
"""What of SpeechConfig only Whisper's decoder is told; the states of its encoder depend on everything else."""

# Raised whenever the code, rather than its settings, gives other features: augmentation included.
_VERSION: Final = 2
_SEQUENCES: Final = ("mel", "states", "words")


@dataclass(frozen=True, kw_only=True, slots=True)
class Example:
    """One utterance of a clip, ready for the network.

    seconds is the length of the utterance's speech; zero for text. variant names the operation that changed the
    sound, or says that the text was misheard, and is empty where neither is so.
    """

    clip: Clip
    features: Features
    seconds: float
    transcript: str
    transcript_status: str
    variant: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Shard:
    """The examples of some neighbouring clips, and why others of them gave none, by key."""

    examples: Sequence[Example]
    skipped: Mapping[str, str]


def sharded(clips: Sequence[Clip]) -> Iterator[list[Clip]]:
    """Divide clips, in order, into what one shard holds: recordings only, or texts only."""
    for is_text, alike in groupby(clips, key=lambda clip: clip.audio is None):
        members = list(alike)
        size = TEXTS_PER_SHARD if is_text else CLIPS_PER_SHARD
        for start in range(0, len(members), size):
            yield members[start : start + size]


def shard_path(
    cache: Path,
    *,
    corpus: str,
    clips: Sequence[Clip],
    config: FeatureConfig,
    assets: Mapping[str, Mapping[str, str]],
    change: Change | Mishearing | None = None,
) -> Path:
    """Name the file of a shard by all that decides its content, and by nothing else.

    clips: of one kind, as :func:`sharded` divides them.
    Texts depend on the text encoders, and misheard ones on how; copies and recordings in a foreign language on the
    ear, for they get no transcript; other recordings, changed as a whole or not, on everything. Labels come from the
    manifest of the day.
    """
    are_copies = change is not None and change.of == "utterance"
    settings = config.to_json()
    del settings["ngrams"]  # they are counted whenever a shard is read
    if not config.lower_layers.layers:
        del settings["lower_layers"]
    ear = config.speech.asset
    clip_rows: list[list[str | None]]
    if all(clip.audio is None for clip in clips):
        rooms = {name: settings[name] for name in ("words", "sentence")}
        parts = {name: dict(sums) for name, sums in assets.items() if name != ear}
        clip_rows = [[clip.key, clip.text] for clip in clips]
    elif are_copies or all(clip.language != config.speech.language for clip in clips):
        rooms = {name: settings[name] for name in ("segment", "mel", "speech", "lower_layers") if name in settings}
        rooms["speech"] = {name: value for name, value in rooms["speech"].items() if name not in DECODER_FIELDS}
        parts = {name: dict(sums) for name, sums in assets.items() if name == ear}
        clip_rows = [[clip.key, _audio_sha256(clip)] for clip in clips]
    else:
        rooms = settings
        parts = {name: dict(sums) for name, sums in assets.items()}
        clip_rows = [[clip.key, _audio_sha256(clip), clip.language] for clip in clips]
    drawn = None if change is None else [change.operation, change.seed]
    document = {
        "version": _VERSION,
        "config": rooms,
        "assets": parts,
        "clips": clip_rows,
        "copies": drawn if are_copies else None,
    }
    if isinstance(change, Mishearing):
        document["misheard"] = [change.seed, change.homophones.digest]
    elif drawn and not are_copies:
        document["recording"] = drawn
    digest = hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()
    # Somebody's own manifest may be named after a path.
    folder = re.sub(r"[^\w-]+", "_", corpus).strip("_") or "corpus"
    return cache / "features" / folder / f"{digest[:24]}.npz"


def save_shard(path: Path, shard: Shard) -> None:
    """Write a shard as one file, whole or not at all; sequences are kept in half precision."""
    columns: dict[str, npt.NDArray[Any]] = {}
    for name in _SEQUENCES:
        rows = [getattr(example.features, name) for example in shard.examples]
        present = [row for row in rows if row is not None]
        columns[name] = np.concatenate(present).astype(np.float16) if present else np.zeros((0, 1), np.float16)
        columns[f"{name}_length"] = np.array([-1 if row is None else len(row) for row in rows], dtype=np.int64)
    sentences = [example.features.sentence for example in shard.examples]
    columns["sentence_present"] = np.array([sentence is not None for sentence in sentences])
    kept = [sentence for sentence in sentences if sentence is not None]
    columns["sentence"] = np.stack(kept) if kept else np.zeros((0, 1), np.float32)
    facts = {
        "examples": [[e.clip.key, e.seconds, e.transcript, e.transcript_status, e.variant] for e in shard.examples],
        "skipped": dict(shard.skipped),
    }
    columns["facts"] = np.frombuffer(json.dumps(facts).encode(), dtype=np.uint8)
    with whole_file(path) as part, part.open("wb") as file:
        np.savez(file, allow_pickle=False, **columns)


def load_shard(path: Path, clips: Sequence[Clip]) -> Shard:
    """Read what :func:`save_shard` wrote, joined with its clips again."""
    clip_of_key = {clip.key: clip for clip in clips}
    with np.load(path, allow_pickle=False) as file:
        columns = {name: file[name] for name in file.files}
    facts = json.loads(columns["facts"].tobytes())
    sequences = {name: _split(columns[name], columns[f"{name}_length"]) for name in _SEQUENCES}
    sentences = iter(columns["sentence"])
    examples = [
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
            variant=variant,
        )
        for index, (key, seconds, transcript, status, variant) in enumerate(facts["examples"])
    ]
    return Shard(examples=examples, skipped=facts["skipped"])


def without_text(example: Example) -> Example:
    """Return the example judged by its sound alone."""
    return replace(example, features=example.features.with_text_of(None))


def without_sound(example: Example) -> Example:
    """Return the example judged by its text alone."""
    return replace(example, features=example.features.without_sound())


def _audio_sha256(clip: Clip) -> str:
    assert clip.audio is not None
    facts = clip.audio.stat()
    return _sha256_of(clip.audio, facts.st_size, facts.st_mtime_ns)


@functools.cache
def _sha256_of(path: Path, _num_bytes: int, _modified_ns: int) -> str:
    """Hash a file once a process, unless it changes: every augmentation of a corpus asks again."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _split(rows: npt.NDArray[Any], lengths: npt.NDArray[Any]) -> list[npt.NDArray[Any] | None]:
    """Cut out each sequence, in the half precision it was kept in: whole corpora fit into memory, and batches widen."""
    ends = np.cumsum(np.maximum(lengths, 0))
    return [None if length < 0 else rows[end - length : end] for length, end in zip(lengths, ends, strict=True)]
