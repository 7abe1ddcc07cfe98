"""nEMO (Christop, 2024) as its repository holds it: ``data.tsv`` and ``samples/<speaker>_<emotion>_<sentence>.wav``.

Nine Polish actors, up to 90 sentences in six emotions, 24 kHz. The published table pads its speakers with blanks and
is not quoted.
"""

from pathlib import Path
from typing import Final

from training.corpora.scan import Collector, Scan, wrong_layout
from training.corpora.tables import read_table

_LAYOUT: Final = "data.tsv and samples/<speaker>_<emotion>_<sentence>.wav, such as samples/EB0_anger_1.wav"
_EMOTIONS: Final = {
    "anger": "angry",
    "fear": "fear",
    "happiness": "happy",
    "neutral": "neutral",
    "sadness": "sad",
    "surprised": "surprise",
}


def scan(root: Path) -> Scan:
    """Read the corpus below ``root``; the text is the orthographic one.

    Raises:
        CorpusError: ``root`` does not hold it, or a column is missing.
    """
    table = root / "data.tsv"
    if not table.is_file():
        raise wrong_layout(root, corpus="nemo", layout=_LAYOUT)
    collector = Collector("nemo", layout=_LAYOUT, emotions=_EMOTIONS)
    columns = ("file_id", "emotion", "raw_text", "speaker_id")
    for row in read_table(table, columns=columns, delimiter="\t", quoted=False):
        name = row["file_id"].removesuffix(".wav")
        collector.add(
            name,
            audio=root / "samples" / f"{name}.wav",
            label=row["emotion"],
            language="pl",
            speaker=row["speaker_id"],
            sentence=name.rpartition("_")[2],
            text=row["raw_text"],
        )
    return collector.scan(root)
