"""The corpora of ``VCEMO_DATA`` by name, and what may be done with each."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from model.errors import CorpusError
from training.corpora.manifest import Clip, read_manifest


@dataclass(frozen=True, kw_only=True, slots=True)
class Corpus:
    """One corpus: its manifests below ``VCEMO_DATA``, and its licence for the model card."""

    name: str
    title: str
    manifests: tuple[str, ...]
    licence: str

    def read(self, root: Path) -> list[Clip]:
        """Read every clip below ``root``.

        Raises:
            CorpusError: a manifest is missing or malformed.
        """
        return [clip for manifest in self.manifests for clip in read_manifest(root / manifest, corpus=self.name)]


CORPORA: Final = {
    corpus.name: corpus
    for corpus in (
        Corpus(
            name="casia",
            title="CASIA (Mandarin, acted)",
            manifests=("casia/manifest.jsonl",),
            licence="circulated research subset, no licence stated",
        ),
        Corpus(
            name="nemo",
            title="nEMO (Polish, acted)",
            manifests=("nemo/manifest.jsonl",),
            licence="CC BY-NC-SA 4.0",
        ),
        Corpus(
            name="ravdess",
            title="RAVDESS (English, acted)",
            manifests=("ravdess/manifest.jsonl",),
            licence="CC BY-NC-SA 4.0",
        ),
        Corpus(
            name="emodb", title="EmoDB (German, acted)", manifests=("emodb/manifest.jsonl",), licence="research use"
        ),
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
        ),
        Corpus(
            name="ewect_dev",
            title="SMP2020-EWECT (Mandarin microblogs, text), development part",
            manifests=("ewect/virus_dev.jsonl",),
            licence="research use",
        ),
    )
}


def corpus_named(name: str) -> Corpus:
    """Return the corpus called ``name``.

    Raises:
        CorpusError: there is none of that name.
    """
    if name not in CORPORA:
        raise CorpusError(
            f"unknown corpus {name!r}; known: {', '.join(sorted(CORPORA))}", value=name, limit=sorted(CORPORA)
        )
    return CORPORA[name]
