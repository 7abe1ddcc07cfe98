"""A corpus as it was downloaded in, a manifest with transcripts and cached features out."""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from rapidfuzz.distance import Levenshtein
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

from model.errors import CorpusError
from model.labels import EMOTIONS
from model.script import bare
from training.corpora import plain
from training.corpora.catalog import Corpus, corpus_named
from training.corpora.manifest import Clip, write_manifest
from training.corpora.scan import Scan, Skipped
from training.extraction import Extraction
from training.feature_cache import Example

MANIFEST_FILE: Final = "manifest.jsonl"
UNUSABLE: Final = "unusable"
"""asr_status of a clip in whose recording no speech was found, or that cannot be decoded."""

_EXAMPLES_OF_A_REASON: Final = 3
_NO_LABEL: Final = "no label"


@dataclass(frozen=True, kw_only=True, slots=True)
class Preparation:
    """What came of preparing a corpus.

    emotions: usable clips of each label; hours: of speech in them. statuses: usable clips by asr_status.
    skipped: what became no clip, and clips whose recording cannot be used. character_error_rate: of the
    recogniser over ``num_compared`` clips that have a transcript in its language; None where there are none.
    """

    title: str
    manifest: Path
    emotions: Mapping[str, int]
    num_speakers: int
    hours: float
    statuses: Mapping[str, int]
    skipped: tuple[Skipped, ...]
    character_error_rate: float | None
    num_compared: int


def prepare(
    corpus: Corpus,
    root: Path,
    out: Path,
    *,
    extraction: Extraction,
    limit: int | None = None,
    progress: Progress | None = None,
) -> Preparation:
    """Read the published layout below ``root``, write ``out/manifest.jsonl``, recognise every clip.

    The features are cached for training; one that was interrupted goes on where it stopped. The manifest gains
    asr_text, asr_status and seconds (of speech) for every clip. Unusable recordings stay in it: features are
    cached for neighbouring clips together. limit: keep this many clips, evenly over the corpus.

    Raises:
        CorpusError: ``root`` does not hold the corpus, or its own manifest would be overwritten.
        ValueError: ``limit`` is not positive.
    """
    if limit is not None and limit < 1:
        raise ValueError(f"limit {limit} must be at least 1")
    # Absolute: only then is audio below the manifest's folder written relative to it.
    root, manifest = Path(os.path.abspath(root)), Path(os.path.abspath(out)) / MANIFEST_FILE
    scan = _scanned(corpus, root, manifest)
    write_manifest(manifest, _evenly(scan.clips, limit))
    # As training will name and read it, so that it finds the same features.
    prepared = corpus_named(str(manifest))
    clips = prepared.read(root)
    examples: dict[str, list[Example]] = {}
    for example in extraction.examples_of(prepared.name, clips, progress=progress):
        examples.setdefault(example.clip.key, []).append(example)
    columns = {clip.key: _columns(examples.get(clip.key, [])) for clip in clips}
    write_manifest(manifest, clips, columns)
    unusable = [Skipped(item=key, reason=extraction.skipped[key]) for key in columns if key not in examples]
    usable = [clip for clip in clips if clip.key in examples]
    error_rate, num_compared = _character_error_rate(usable, columns, language=extraction.config.speech.language)
    labels = Counter(clip.emotion or _NO_LABEL for clip in usable)
    return Preparation(
        title=corpus.title,
        manifest=manifest,
        emotions={label: labels[label] for label in (*EMOTIONS, _NO_LABEL) if label in labels},
        num_speakers=len({clip.speaker for clip in usable if clip.speaker is not None}),
        hours=sum(columns[clip.key]["seconds"] for clip in usable) / 3600,
        statuses=Counter(columns[clip.key]["asr_status"] for clip in usable),
        skipped=(*scan.skipped, *unusable),
        character_error_rate=error_rate,
        num_compared=num_compared,
    )


def print_preparation(facts: Preparation, console: Console) -> None:
    """Print what was prepared, and what was skipped by reason with a few examples of each."""
    console.print(Text(facts.title, style="bold"))
    labels = Table("emotion", "clips")
    labels.columns[1].justify = "right"
    for label, count in facts.emotions.items():
        labels.add_row(label, f"{count:,}")
    labels.add_section()
    labels.add_row("together", f"{sum(facts.emotions.values()):,}")
    console.print(labels)
    console.print(f"{facts.num_speakers} speakers, {facts.hours:.2f} hours of speech", highlight=False)
    statuses = ", ".join(f"{count:,} {status}" for status, count in sorted(facts.statuses.items()))
    console.print(f"transcripts: {statuses or 'none'}", highlight=False)
    if facts.character_error_rate is not None:
        rate = f"{100 * facts.character_error_rate:.1f} % over {facts.num_compared:,} clips with a transcript"
        console.print(f"character error rate of the recogniser: {rate}", highlight=False)
    if facts.skipped:
        _print_skipped(facts.skipped, console)
    console.print(f"wrote {facts.manifest}", highlight=False, markup=False, soft_wrap=True)


def _print_skipped(skipped: Sequence[Skipped], console: Console) -> None:
    by_reason: dict[str, list[str]] = {}
    for one in skipped:
        by_reason.setdefault(one.reason, []).append(one.item)
    table = Table("skipped because", "how many", "such as")
    table.columns[1].justify = "right"
    for reason, items in sorted(by_reason.items(), key=lambda pair: -len(pair[1])):
        # As Text: a name in square brackets is no markup.
        table.add_row(Text(reason), f"{len(items):,}", Text("\n".join(items[:_EXAMPLES_OF_A_REASON])))
    console.print(table)


def _scanned(corpus: Corpus, root: Path, manifest: Path) -> Scan:
    if corpus.scan is None:
        raise CorpusError(f"{corpus.name} has no published layout that is known, only manifests", value=corpus.name)
    if corpus.scan is plain.scan and manifest in (root, root / MANIFEST_FILE) and manifest.is_file():
        raise CorpusError(f"{manifest} is what would be read and overwritten; choose another folder", value=manifest)
    return corpus.scan(root)


def _evenly(clips: Sequence[Clip], limit: int | None) -> list[Clip]:
    if limit is None or len(clips) <= limit:
        return list(clips)
    return [clips[index] for index in np.linspace(0, len(clips) - 1, limit).astype(int)]


def _columns(utterances: Sequence[Example]) -> dict[str, Any]:
    """Join the utterances of one clip; its status is ok if that of every one is."""
    if not utterances:
        return {"asr_text": "", "asr_status": UNUSABLE, "seconds": 0.0}
    statuses = [utterance.transcript_status for utterance in utterances]
    return {
        "asr_text": " ".join(utterance.transcript for utterance in utterances).strip(),
        "asr_status": next((status for status in statuses if status != "ok"), "ok"),
        "seconds": round(sum(utterance.seconds for utterance in utterances), 3),
    }


def _character_error_rate(
    clips: Sequence[Clip], columns: Mapping[str, Mapping[str, Any]], *, language: str
) -> tuple[float | None, int]:
    """Compare what was heard with what is written, and say for how many clips."""
    pairs = [
        (bare(clip.text), bare(columns[clip.key]["asr_text"]))
        for clip in clips
        if clip.text and clip.language == language
    ]
    pairs = [(written, heard) for written, heard in pairs if written]
    if not pairs:
        return None, 0
    distance = sum(Levenshtein.distance(written, heard) for written, heard in pairs)
    return distance / sum(len(written) for written, _ in pairs), len(pairs)
