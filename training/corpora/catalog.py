"""The corpora by name: where their manifests lie below ``VCEMO_DATA``, who reads them as published, their licences."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from model.errors import CorpusError
from training.corpora import casia, emodb, emotiontalk, esd, ewect, iemocap, m3ed, nemo, paired, plain, ravdess, vcemo
from training.corpora.manifest import Clip, read_manifest
from training.corpora.scan import Scan


@dataclass(frozen=True, kw_only=True, slots=True)
class Corpus:
    """One corpus: its manifests below ``VCEMO_DATA``, and its licence for the model card."""

    name: str
    title: str
    manifests: tuple[str, ...]
    licence: str
    scan: Callable[[Path], Scan] | None = None
    """Reads the corpus as its authors publish it; None where there is only a manifest."""
    holds: Callable[[Clip], bool] = lambda _: True
    """Which clips of its manifests belong to it."""
    assembled: Callable[[Path], list[Clip]] | None = None
    """Makes it of other corpora below ``VCEMO_DATA``; it has no manifest of its own then."""

    def read(self, root: Path) -> list[Clip]:
        """Read every clip below ``root``.

        Raises:
            CorpusError: a manifest is missing or malformed.
        """
        if self.assembled is not None:
            return self.assembled(root)
        return [clip for manifest in self.manifests for clip in self._read(root / manifest) if self.holds(clip)]

    def _read(self, manifest: Path) -> list[Clip]:
        if manifest.suffix.lower() == ".csv":
            return list(plain.scan(manifest).clips)
        return read_manifest(manifest, corpus=self.name)


def _published(name: str, scan: Callable[[Path], Scan], *, title: str, licence: str) -> Corpus:
    return Corpus(name=name, title=title, manifests=(f"{name}/manifest.jsonl",), licence=licence, scan=scan)


CORPORA: Final = {
    corpus.name: corpus
    for corpus in (
        _published("vcemo", vcemo.scan, title="VCEMO (Mandarin, daily conversations)", licence="not published"),
        _published(
            "casia",
            casia.scan,
            title="CASIA (Mandarin, acted)",
            licence="circulated research subset, no licence stated",
        ),
        _published(
            "esd", esd.scan, title="ESD (Mandarin and English, acted)", licence="research use, signed agreement"
        ),
        _published(
            "m3ed", m3ed.scan, title="M3ED (Mandarin, television dialogues)", licence="research use, on request"
        ),
        _published(
            "emotiontalk", emotiontalk.scan, title="EmotionTalk (Mandarin, acted dialogues)", licence="CC BY-NC-SA 4.0"
        ),
        _published(
            "iemocap",
            iemocap.scan,
            title="IEMOCAP (English, acted dialogues)",
            licence="research use, signed agreement",
        ),
        _published("nemo", nemo.scan, title="nEMO (Polish, acted)", licence="CC BY-NC-SA 4.0"),
        _published("ravdess", ravdess.scan, title="RAVDESS (English, acted)", licence="CC BY-NC-SA 4.0"),
        _published("emodb", emodb.scan, title="EmoDB (German, acted)", licence="research use"),
        Corpus(
            name="spontaneous_zh",
            title="spontaneous Mandarin, no emotion label",
            manifests=("spontaneous_zh/manifest.jsonl",),
            licence="research use",
        ),
        Corpus(
            name="ewect",
            title="SMP2020-EWECT (Mandarin microblogs, text), training part",
            manifests=("ewect/virus_train.jsonl", "ewect/usual_train.jsonl", "ewect/virus_extra.jsonl"),
            licence="research use",
            holds=lambda clip: not ewect.is_held_out(clip),
        ),
        Corpus(
            name=paired.PAIRED,
            title="synthetic pairs of CASIA or nEMO sound with an EWECT post of the same emotion",
            manifests=(),
            licence="research use: those of its three parts together",
            assembled=lambda root: [pair.clip for pair in paired_corpus(root)],
        ),
        Corpus(
            name="ewect_tenth",
            title="SMP2020-EWECT (Mandarin microblogs, text), a tenth of usual_train",
            manifests=("ewect/usual_train.jsonl",),
            licence="research use",
            holds=ewect.is_held_out,
        ),
        Corpus(
            name="ewect_dev",
            title="SMP2020-EWECT (Mandarin microblogs, text), development part",
            manifests=("ewect/virus_dev.jsonl",),
            licence="research use",
        ),
    )
}


def paired_corpus(root: Path) -> list[paired.Pair]:
    """Pair the recordings and the posts below ``root`` (see :mod:`training.corpora.paired`).

    Raises:
        CorpusError: one of the corpora is missing or malformed.
    """
    sounds = [clip for name in paired.SOUNDS for clip in CORPORA[name].read(root)]
    return paired.pairs(sounds, CORPORA[paired.TEXTS].read(root))


def corpus_named(name: str) -> Corpus:
    """Return the corpus called ``name``, or the one of a manifest, if ``name`` is the path of a .jsonl or .csv file.

    Raises:
        CorpusError: there is no corpus of that name, or no such file.
    """
    if Path(name).suffix.lower() in plain.MANIFEST_SUFFIXES:
        return _of_manifest(Path(name))
    if name not in CORPORA:
        raise CorpusError(
            f"unknown corpus {name!r}; known: {', '.join(sorted(CORPORA))}, or the path of a .jsonl or .csv manifest",
            value=name,
            limit=sorted(CORPORA),
        )
    return CORPORA[name]


def _of_manifest(path: Path) -> Corpus:
    if not path.is_file():
        raise CorpusError(f"there is no manifest {path}", value=path)
    name = plain.manifest_name(path)
    return Corpus(
        name=name,
        title=f"{name} (a manifest of one's own)",
        # Absolute, so that no root is put before it.
        manifests=(os.path.abspath(path),),
        licence="not stated",
        scan=plain.scan,
    )
