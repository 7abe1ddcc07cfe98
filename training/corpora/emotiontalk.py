"""EmotionTalk (Sun et al., 2025), its archive ``Audio.tar`` unpacked.

::

    Audio/json/G00009/G00009_42/G00009_42_14/G00009_42_14_024.json    emotion_result, speaker_id, content, ...
    Audio/wav/G00009/G00009_42/G00009_42_14/G00009_42_14_024.wav      group, dialogue, speaker, utterance; 44.1 kHz

The label is what the listeners of the sound alone agreed on; those of text, video and all together lie in other
archives. The authors keep the groups 1 and 12 for validation, 3 and 15 for testing. An actor may speak in several
groups: whoever must not know the speaker splits by speaker. Disgust is not one of the six.
"""

import json
import re
from pathlib import Path
from typing import Any, Final

from training.corpora.scan import Collector, Scan, paths
from training.corpora.tables import read_text

_LAYOUT: Final = "Audio/json/**/<group>_<dialogue>_<speaker>_<utterance>.json and .wav at the same place in Audio/wav"
_NAME: Final = re.compile(r"(G\d+)_\d+_(\d+)_\d+")
_MARK: Final = re.compile(r"\[[^\]]*\]")
_EMOTIONS: Final = {
    "angry": "angry",
    "fearful": "fear",
    "happy": "happy",
    "neutral": "neutral",
    "sad": "sad",
    "surprised": "surprise",
}
_SPLITS: Final = {"G00001": "dev", "G00012": "dev", "G00003": "test", "G00015": "test"}


def scan(root: Path) -> Scan:
    """Read the corpus below ``root``.

    The session is the group; texts lose their marks of overlapping, interrupted and laughed speech.

    Raises:
        CorpusError: ``root`` does not hold it.
    """
    collector = Collector("emotiontalk", layout=_LAYOUT, emotions=_EMOTIONS)
    folder = root / "Audio" / "json"
    for path in paths(folder, "**/*.json"):
        match = _NAME.fullmatch(path.stem)
        if match is None:
            collector.skip(path.stem, "its name is not of the form G00009_42_14_024")
            continue
        facts = _facts(path)
        if facts is None:
            collector.skip(path.stem, "its annotation is not a JSON object")
            continue
        group, speaker = match.groups()
        collector.add(
            path.stem,
            audio=root / "Audio" / "wav" / path.relative_to(folder).with_suffix(".wav"),
            label=str(facts.get("emotion_result") or ""),
            language="zh",
            speaker=str(facts.get("speaker_id") or speaker),
            text=_MARK.sub("", str(facts.get("content") or "")).strip(),
            session=group,
            split=_SPLITS.get(group, "train"),
        )
    return collector.scan(root)


def _facts(path: Path) -> dict[str, Any] | None:
    try:
        facts = json.loads(read_text(path, legacy="gb18030"))
    except json.JSONDecodeError:
        return None
    return facts if isinstance(facts, dict) else None
