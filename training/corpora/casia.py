"""CASIA as it circulates: ``<speaker>/<emotion>/<sentence>.wav``, without the texts.

Four speakers (liuchanhg, wangzhe, zhaoquanyin, ZhaoZuoxiang) read the sentences 201 to 250 in six emotions, 16 kHz.
The layout is also that of EmoBox's manifest.
"""

from pathlib import Path
from typing import Final

from model.labels import EMOTIONS
from training.corpora.scan import Collector, Scan, paths

_LAYOUT: Final = "<speaker>/<emotion>/<sentence>.wav, such as liuchanhg/angry/201.wav"


def scan(root: Path) -> Scan:
    """Read the corpus below ``root``; the sentence is the number that all emotions and speakers share.

    Raises:
        CorpusError: ``root`` does not hold it.
    """
    collector = Collector("casia", layout=_LAYOUT, emotions={emotion: emotion for emotion in EMOTIONS})
    for audio in paths(root, "*/*/*.wav"):
        speaker, label = audio.parts[-3:-1]
        collector.add(
            f"{speaker}-{label}-{audio.stem}",
            audio=audio,
            label=label,
            language="zh",
            speaker=speaker,
            sentence=audio.stem,
        )
    return collector.scan(root)
