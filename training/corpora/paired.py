"""The label-paired corpus: SYNTHETIC pairs of a real recording and a real post of the same emotion.

On CASIA and nEMO the words carry no label, on EWECT there is no sound: nothing at hand has evidence in both. Here every
recording is given one post of its emotion, and no post is given twice, so that no text is on two sides of a division.
What is said and what is written have nothing to do with each other but the label: results say how well a network joins
two sources of evidence, and nothing about how people speak.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from model.script import bare
from training.corpora.manifest import Clip

PAIRED: Final = "paired"
"""Name of the corpus, and the transcript status of its examples: nobody says these words."""
SOUNDS: Final = ("casia", "nemo")
TEXTS: Final = "ewect"
CLIPS_PER_SPEAKER: Final = 300
SESSIONS: Final = 5
_LEAST_CHARACTERS: Final = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Pair:
    """One recording, one post; ``clip`` is what both are together."""

    clip: Clip
    sound: Clip
    text: Clip


def pairs(sounds: Iterable[Clip], texts: Iterable[Clip]) -> list[Pair]:
    """Pair every recording with a post of its emotion, as long as there are any; the same for the same clips.

    At most :data:`CLIPS_PER_SPEAKER` of a speaker. Speakers are divided, with all their posts: into five sessions, and
    into train, dev and test, which take one speaker of each corpus for test, one for dev where three are left.
    """
    posts = _posts_by_emotion(texts)
    chosen = sorted(_evenly_by_speaker(sounds), key=lambda clip: _order(clip.key))
    speakers = sorted({(clip.corpus, clip.speaker or "") for clip in chosen})
    found = []
    for sound in chosen:
        waiting = posts[sound.emotion or ""]
        if not waiting:
            continue
        text = waiting.pop()
        number = speakers.index((sound.corpus, sound.speaker or ""))
        clip = replace(
            sound,
            key=f"{PAIRED}/{sound.key}+{text.key}",
            corpus=PAIRED,
            # The sentence that was read is not what is shown; the post is everybody's own.
            sentence=None,
            text=text.text,
            session=f"session{number % SESSIONS + 1}",
            split=_split(sound, speakers),
        )
        found.append(Pair(clip=clip, sound=sound, text=text))
    return sorted(found, key=lambda pair: pair.clip.key)


def _split(sound: Clip, speakers: Sequence[tuple[str, str]]) -> str:
    own = [speaker for corpus, speaker in speakers if corpus == sound.corpus]
    position = own.index(sound.speaker or "")
    return {len(own) - 1: "test", len(own) - 2: "dev"}.get(position, "train")


def _evenly_by_speaker(sounds: Iterable[Clip]) -> Iterator[Clip]:
    by_cell: dict[tuple[str, str], list[Clip]] = defaultdict(list)
    emotions = set()
    for clip in sounds:
        if clip.emotion is not None and clip.audio is not None:
            by_cell[f"{clip.corpus} {clip.speaker}", clip.emotion].append(clip)
            emotions.add(clip.emotion)
    for members in by_cell.values():
        yield from sorted(members, key=lambda clip: _order(clip.key))[: CLIPS_PER_SPEAKER // max(1, len(emotions))]


def _posts_by_emotion(texts: Iterable[Clip]) -> dict[str, list[Clip]]:
    """Sort posts by emotion, in a random order that does not change; one that was posted twice is there once."""
    posts: dict[str, list[Clip]] = defaultdict(list)
    seen = set()
    for clip in sorted(texts, key=lambda clip: _order(clip.key)):
        content = bare(clip.text or "")
        if clip.emotion is not None and len(content) >= _LEAST_CHARACTERS and content not in seen:
            seen.add(content)
            posts[clip.emotion].append(clip)
    return posts


def _order(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()
