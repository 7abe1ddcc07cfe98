"""M3ED (Zhao et al., 2022): dialogues of Chinese television series.

::

    annotation.json (or M3ED.json)      series -> dialogue -> SpeakerInfo, Dialog -> utterance
    splitInfo/movie_list_train.txt      one series a line; likewise val and test
    modality_speech/A_<utterance>.wav   cut recordings; A or B is the speaker of the dialogue

The annotation and the split files are the authors'; the recordings are taken from any folder, named with or without
the speaker's letter. Disgust is not one of the six.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from model.errors import CorpusError
from training.corpora.scan import Collector, Scan, paths, wrong_layout
from training.corpora.tables import read_text

_LAYOUT: Final = "annotation.json (or M3ED.json), splitInfo/movie_list_*.txt and modality_speech/<A|B>_<utterance>.wav"
_EMOTIONS: Final = {
    "Anger": "angry",
    "Fear": "fear",
    "Happy": "happy",
    "Neutral": "neutral",
    "Sad": "sad",
    "Surprise": "surprise",
}
_SPLITS: Final = {"train": "train", "val": "dev", "test": "test"}


def scan(root: Path) -> Scan:
    """Read the corpus below ``root``.

    The speaker is the role within its series, and the session is the series: a role speaks in many of its dialogues.

    Raises:
        CorpusError: ``root`` does not hold it, or the annotation is not as published.
    """
    annotation = next((root / name for name in ("annotation.json", "M3ED.json") if (root / name).is_file()), None)
    if annotation is None:
        raise wrong_layout(root, corpus="m3ed", layout=_LAYOUT)
    collector = Collector("m3ed", layout=_LAYOUT, emotions=_EMOTIONS)
    recordings = {audio.stem: audio for audio in paths(root, "**/*.wav")}
    splits = _splits(root / "splitInfo")
    for utterance in _utterances(annotation):
        name = utterance.name
        collector.add(
            name,
            audio=recordings.get(f"{utterance.letter}_{name}", recordings.get(name)),
            label=utterance.label,
            language="zh",
            speaker=utterance.speaker,
            text=utterance.text,
            session=utterance.series,
            split=splits.get(utterance.series),
        )
    return collector.scan(root)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Utterance:
    """One utterance as annotated; ``letter`` is its speaker's within the dialogue."""

    series: str
    name: str
    letter: str
    speaker: str
    label: str
    text: str


def _utterances(annotation: Path) -> Iterator[_Utterance]:
    try:
        for series, dialogues in json.loads(read_text(annotation, legacy="gb18030")).items():
            for dialogue, content in dialogues.items():
                for name, facts in content["Dialog"].items():
                    letter = facts["Speaker"]
                    role = content["SpeakerInfo"].get(letter, {}).get("Name")
                    yield _Utterance(
                        series=series,
                        name=name,
                        letter=letter,
                        # A role without a name is another one in every dialogue.
                        speaker=f"{series}-{role}" if role else f"{dialogue}-{letter}",
                        label=facts["EmoAnnotation"].get("final_main_emo") or "",
                        text=facts.get("Text") or "",
                    )
    except (json.JSONDecodeError, AttributeError, KeyError, TypeError) as error:
        raise CorpusError(
            f"{annotation} is not as published (series -> dialogue -> Dialog -> utterance): {error!r}", value=annotation
        ) from error


def _splits(folder: Path) -> dict[str, str]:
    return {
        series: split
        for published, split in _SPLITS.items()
        for path in paths(folder, f"movie_list_{published}.txt")
        for series in read_text(path, legacy="gb18030").split()
    }
