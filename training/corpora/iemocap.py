"""IEMOCAP (Busso et al., 2008), the full release.

::

    Session1/dialog/EmoEvaluation/Ses01F_impro01.txt     [6.2901 - 8.2357]<tab>NAME<tab>neu<tab>[2.5, 2.5, 2.5]
    Session1/dialog/transcriptions/Ses01F_impro01.txt    NAME [006.2901-008.2357]: Excuse me.
    Session1/sentences/wav/Ses01F_impro01/NAME.wav       NAME is such as Ses01F_impro01_M003

The first letter of a name says whose motion was captured; the speaker is the letter before the number. Excited counts
as happy, as in the common four-class setting of 5,531 utterances, which the labels angry, happy, neutral and sad give.
"""

import re
from pathlib import Path
from typing import Final

from training.corpora.scan import Collector, Scan, paths
from training.corpora.tables import read_text

_LAYOUT: Final = "Session1 to Session5, each with dialog/EmoEvaluation/Ses*.txt and sentences/wav/<dialogue>/<name>.wav"
_EVALUATION: Final = re.compile(r"^\[[\d.]+ - [\d.]+\]\s+(\S+)\s+(\S+)\s+\[", re.MULTILINE)
_TRANSCRIPTION: Final = re.compile(r"^(Ses\S+) \[[\d.]+-[\d.]+\]:[ \t]*(.*?)\s*$", re.MULTILINE)
_NAME: Final = re.compile(r"(Ses\d\d)[FM]_(.+)_([FM])[\dX]+")
_EMOTIONS: Final = {
    "ang": "angry",
    "fea": "fear",
    "hap": "happy",
    "exc": "happy",
    "neu": "neutral",
    "sad": "sad",
    "sur": "surprise",
}
_OTHERS: Final = {"fru": "frustrated", "dis": "disgusted", "oth": "other", "xxx": "no agreement"}


def scan(root: Path) -> Scan:
    """Read the corpus below ``root``.

    session is Session1 to Session5. sentence is the scenario, such as ``impro01`` or ``script01_1``: the lines are
    not numbered, and a scenario is what recurs in every session with the same words or the same emotion.

    Raises:
        CorpusError: ``root`` does not hold it.
    """
    collector = Collector("iemocap", layout=_LAYOUT, emotions=_EMOTIONS)
    for evaluation in paths(root, "Session*/dialog/EmoEvaluation/Ses*.txt"):
        session = evaluation.parents[2]
        texts = _texts(session / "dialog" / "transcriptions" / evaluation.name)
        for name, label in _EVALUATION.findall(read_text(evaluation, legacy="cp1252")):
            match = _NAME.fullmatch(name)
            if match is None:
                collector.skip(name, "its name does not say who speaks")
                continue
            pair, scenario, speaker = match.groups()
            collector.add(
                name,
                audio=session / "sentences" / "wav" / name.rpartition("_")[0] / f"{name}.wav",
                label=f"{label} ({_OTHERS[label]})" if label in _OTHERS else label,
                language="en",
                speaker=pair + speaker,
                sentence=scenario,
                text=texts.get(name),
                session=session.name,
            )
    return collector.scan(root)


def _texts(path: Path) -> dict[str, str]:
    return dict(_TRANSCRIPTION.findall(read_text(path, legacy="cp1252"))) if path.is_file() else {}
