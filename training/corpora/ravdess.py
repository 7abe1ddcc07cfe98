"""RAVDESS (Livingstone and Russo, 2018), audio only: ``Actor_<nn>/<seven numbers>.wav``.

The numbers of a name are modality, vocal channel, emotion, intensity, statement, repetition and actor. Speech is kept
and song is not; calm is left out, not counted as neutral, and so is disgust.
"""

from pathlib import Path
from typing import Final

from training.corpora.scan import Collector, Scan, paths

_LAYOUT: Final = "Actor_<nn>/03-01-<emotion>-<intensity>-<statement>-<repetition>-<actor>.wav"
_LABELS: Final = {
    "01": "neutral",
    "02": "calm",
    "03": "happy",
    "04": "sad",
    "05": "angry",
    "06": "fearful",
    "07": "disgust",
    "08": "surprised",
}
_EMOTIONS: Final = {
    "neutral": "neutral",
    "happy": "happy",
    "sad": "sad",
    "angry": "angry",
    "fearful": "fear",
    "surprised": "surprise",
}
_STATEMENTS: Final = {"01": "Kids are talking by the door", "02": "Dogs are sitting by the door"}


def scan(root: Path) -> Scan:
    """Read the corpus below ``root``; the sentence is the statement.

    Raises:
        CorpusError: ``root`` does not hold it.
    """
    collector = Collector("ravdess", layout=_LAYOUT, emotions=_EMOTIONS)
    for audio in paths(root, "Actor_*/*.wav"):
        numbers = audio.stem.split("-")
        if len(numbers) != 7:
            collector.skip(audio.stem, "its name is not of seven numbers")
            continue
        modality, channel, emotion, _, statement, _, actor = numbers
        if (modality, channel) != ("03", "01"):
            collector.skip(audio.stem, "not speech alone: modality and vocal channel are not 03-01")
            continue
        collector.add(
            audio.stem,
            audio=audio,
            label=_LABELS.get(emotion, emotion),
            language="en",
            speaker=actor,
            sentence=statement,
            text=_STATEMENTS.get(statement),
        )
    return collector.scan(root)
