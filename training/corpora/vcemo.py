"""VCEMO (VCEMO §4.1). It is not published: THE LAYOUT READ HERE IS ASSUMED.

The paper says what there is, 7,477 daily conversations of over 100 people with one of six emotions each, not how it
is stored. Assumed is the simplest that holds it::

    wav/<speaker>/<id>.wav
    labels.csv               id, speaker, emotion, text, and, if the authors' division is given, split

Emotions are the six names of the paper. Should the corpus appear in another form, this file is what changes; whoever
has it can also bring a manifest (:mod:`training.corpora.plain`).
"""

from pathlib import Path
from typing import Final

from model.labels import EMOTIONS
from training.corpora.scan import Collector, Scan, wrong_layout
from training.corpora.tables import read_table

_LAYOUT: Final = "labels.csv (id, speaker, emotion, text) and wav/<speaker>/<id>.wav; this layout is assumed"


def scan(root: Path) -> Scan:
    """Read the corpus below ``root``.

    Raises:
        CorpusError: ``root`` does not hold it, or a column is missing.
    """
    table = root / "labels.csv"
    if not table.is_file():
        raise wrong_layout(root, corpus="vcemo", layout=_LAYOUT)
    collector = Collector("vcemo", layout=_LAYOUT, emotions={emotion: emotion for emotion in EMOTIONS})
    for row in read_table(table, columns=("id", "speaker", "emotion", "text")):
        collector.add(
            row["id"],
            audio=root / "wav" / row["speaker"] / f"{row['id']}.wav",
            label=row["emotion"].lower(),
            language="zh",
            speaker=row["speaker"],
            text=row["text"],
            split=row.get("split"),
        )
    return collector.scan(root)
