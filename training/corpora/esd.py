"""ESD (Zhou et al., 2022): ``<speaker>/<Emotion>/<speaker>_<number>.wav`` and ``<speaker>/<speaker>.txt``.

Speakers 0001 to 0010 read 350 Mandarin sentences in five emotions, 0011 to 0020 350 English ones, 16 kHz. The release
sorts the recordings of an emotion into train, evaluation and test; copies without these folders are read as well. That
division is of sentences: every speaker is in all three parts.

The transcripts are in GB 2312, UTF-16, UTF-8 or Latin-1, and some lines have blanks for tabs
(HLTSingapore/Emotional-Speech-Data#1), so only the folder is asked for the emotion. Fear is not among the five.
"""

import re
from pathlib import Path
from typing import Final

from training.corpora.scan import Collector, Scan, paths
from training.corpora.tables import read_text

_LAYOUT: Final = (
    "<speaker>/<Emotion>/[train|evaluation|test/]<speaker>_<number>.wav, such as 0001/Angry/0001_000351.wav"
)
_LINE: Final = re.compile(
    r"^\W*(\d{4}_\d{6})\s+(.+?)(?:\s+(?:neutral|angry|happy|sad|surprise|中立|生气|快乐|伤心|惊喜))?$", re.IGNORECASE
)
_EMOTIONS: Final = {"Angry": "angry", "Happy": "happy", "Neutral": "neutral", "Sad": "sad", "Surprise": "surprise"}
_SPLITS: Final = {"train": "train", "evaluation": "dev", "test": "test"}
_SENTENCES: Final = 350
_LAST_MANDARIN_SPEAKER: Final = 10


def scan(root: Path) -> Scan:
    """Read the corpus below ``root``; the sentence, such as ``zh-17``, is the same in all emotions and speakers.

    Raises:
        CorpusError: ``root`` does not hold it.
    """
    collector = Collector("esd", layout=_LAYOUT, emotions=_EMOTIONS)
    for folder in paths(root, "[0-9][0-9][0-9][0-9]"):
        speaker = folder.name
        language = "zh" if int(speaker) <= _LAST_MANDARIN_SPEAKER else "en"
        texts = _texts(folder / f"{speaker}.txt", language=language)
        for audio in paths(folder, "*/**/*.wav"):
            emotion, *parts = audio.relative_to(folder).parent.parts
            number = audio.stem.rpartition("_")[2]
            if not number.isdigit():
                collector.skip(audio.stem, "its name is not of the form 0001_000351")
                continue
            collector.add(
                audio.stem,
                audio=audio,
                label=emotion,
                language=language,
                speaker=speaker,
                sentence=f"{language}-{(int(number) - 1) % _SENTENCES + 1}",
                text=texts.get(audio.stem),
                split=_SPLITS.get(parts[0]) if parts else None,
            )
    return collector.scan(root)


def _texts(path: Path, *, language: str) -> dict[str, str]:
    if not path.is_file():
        return {}
    lines = read_text(path, legacy="gb18030" if language == "zh" else "cp1252").splitlines()
    matches = (_LINE.match(line.strip()) for line in lines)
    # English transcripts hold no-break spaces.
    return {match[1]: " ".join(match[2].split()) for match in matches if match}
