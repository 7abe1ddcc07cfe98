"""EmoDB (Burkhardt et al., 2005): ``wav/<speaker><sentence><emotion><version>.wav``, such as ``wav/03a01Fa.wav``.

Ten German actors, ten sentences. The letter of the emotion is that of its German name; boredom and disgust are not
of the six.
"""

import re
from pathlib import Path
from typing import Final

from training.corpora.scan import Collector, Scan, paths

_LAYOUT: Final = "wav/<speaker><sentence><emotion><version>.wav, such as wav/03a01Fa.wav"
_NAME: Final = re.compile(r"(\d\d)([ab]\d\d)([A-Z])[a-z]?")
_LABELS: Final = {
    "W": "anger",  # Wut, Ärger
    "L": "boredom",  # Langeweile
    "E": "disgust",  # Ekel
    "A": "fear",  # Angst
    "F": "happiness",  # Freude
    "T": "sadness",  # Trauer
    "N": "neutral",
}
_EMOTIONS: Final = {"anger": "angry", "fear": "fear", "happiness": "happy", "sadness": "sad", "neutral": "neutral"}


def scan(root: Path) -> Scan:
    """Read the corpus below ``root``.

    Raises:
        CorpusError: ``root`` does not hold it.
    """
    collector = Collector("emodb", layout=_LAYOUT, emotions=_EMOTIONS)
    for audio in paths(root, "wav/*.wav"):
        match = _NAME.fullmatch(audio.stem)
        if match is None:
            collector.skip(audio.stem, "its name is not of the form 03a01Fa")
            continue
        speaker, sentence, letter = match.groups()
        collector.add(
            audio.stem,
            audio=audio,
            label=_LABELS.get(letter, letter),
            language="de",
            speaker=speaker,
            sentence=sentence,
        )
    return collector.scan(root)
