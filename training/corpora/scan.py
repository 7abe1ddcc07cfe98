"""What a reader of a published corpus brings home: its usable clips, and what it left out and why."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from model.errors import CorpusError
from training.corpora.manifest import Clip


@dataclass(frozen=True, kw_only=True, slots=True)
class Skipped:
    """Something of a corpus that became no clip."""

    item: str
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Scan:
    """A corpus as it was downloaded, read once."""

    clips: tuple[Clip, ...]
    skipped: tuple[Skipped, ...]


class Collector:
    """Gathers the clips of one corpus; turns away what has no audio, no label of the six or a key seen before."""

    def __init__(self, corpus: str, *, layout: str, emotions: Mapping[str, str]) -> None:
        self._corpus = corpus
        self._layout = layout
        self._emotions = emotions
        self._clips: dict[str, Clip] = {}
        self._skipped: list[Skipped] = []

    def add(
        self,
        name: str,
        *,
        audio: Path | None,
        label: str,
        language: str,
        speaker: str | None = None,
        sentence: str | None = None,
        text: str | None = None,
        session: str | None = None,
        split: str | None = None,
        key: str | None = None,
    ) -> None:
        """Take one clip, or note why not; its key is ``corpus/name`` unless given."""
        key = key or f"{self._corpus}/{name}"
        reason = self._objection(key, audio=audio, label=label)
        if reason is not None:
            self.skip(name, reason)
            return
        self._clips[key] = Clip(
            key=key,
            corpus=self._corpus,
            audio=audio,
            emotion=self._emotions[label],
            speaker=speaker or None,
            sentence=sentence or None,
            text=text or None,
            language=language,
            session=session or None,
            split=split or None,
        )

    def skip(self, item: str, reason: str) -> None:
        """Note something that became no clip."""
        self._skipped.append(Skipped(item=item, reason=reason))

    def scan(self, root: Path) -> Scan:
        """Return what was gathered.

        Raises:
            CorpusError: not one clip was: ``root`` does not hold the corpus.
        """
        if not self._clips:
            raise wrong_layout(root, corpus=self._corpus, layout=self._layout, skipped=self._skipped)
        return Scan(clips=tuple(self._clips.values()), skipped=tuple(self._skipped))

    def _objection(self, key: str, *, audio: Path | None, label: str) -> str | None:
        if not label:
            return "no label"
        if label not in self._emotions:
            return f"label {label} is not one of the six"
        if audio is None or not audio.is_file():
            return "no audio file"
        if audio.stat().st_size == 0:
            return "the audio file is empty"
        if key in self._clips:
            return f"its key {key} is that of an earlier clip"
        return None


def paths(root: Path, pattern: str) -> Iterator[Path]:
    """Yield what matches, in order; never the ``._`` twins that macOS leaves in archives."""
    return (path for path in sorted(root.glob(pattern)) if not path.name.startswith("."))


def wrong_layout(
    root: Path, *, corpus: str, layout: str, skipped: list[Skipped] | tuple[Skipped, ...] = ()
) -> CorpusError:
    """Describe a root that does not hold the corpus: what belongs there, and what is there instead."""
    message = f"{root} does not hold {corpus}: expected {layout}; found {_content(root)}"
    if skipped:
        message += f"; {len(skipped)} left out, the first, {skipped[0].item}, because: {skipped[0].reason}"
    return CorpusError(message, value=root, limit=layout)


def _content(root: Path) -> str:
    if root.is_file():
        return "a file"
    if not root.is_dir():
        return "no such folder"
    names = sorted(path.name for path in root.iterdir())
    if not names:
        return "an empty folder"
    return ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
