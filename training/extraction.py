"""Clips in, examples out: the front end of the service run over a corpus, in batches."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from rich.progress import Progress

from model.acoustic import log_mel
from model.audio import decode_audio
from model.errors import AudioError
from model.features import FeatureConfig, FeatureExtractor, Features
from model.segment import Utterance, find_utterances
from model.speech import SpeechRecognizer
from training.corpora.catalog import corpus_named
from training.corpora.manifest import Clip
from training.feature_cache import Example, cache_path, load_examples, save_examples

_BATCH_SIZE = 8


class Extraction:
    """Computes or recalls the features of whole corpora."""

    def __init__(
        self,
        *,
        config: FeatureConfig,
        load_speech: Callable[[], SpeechRecognizer],
        load_features: Callable[[], FeatureExtractor],
        assets: Mapping[str, Mapping[str, str]],
        data: Path,
        cache: Path,
    ) -> None:
        self.config = config
        # Loaded when first needed: a run whose features are all cached needs neither.
        self._load_speech = load_speech
        self._load_features = load_features
        self._assets = assets
        self._data = data
        self._cache = cache
        self.skipped: dict[str, str] = {}

    @cached_property
    def _speech(self) -> SpeechRecognizer:
        return self._load_speech()

    @cached_property
    def _features(self) -> FeatureExtractor:
        return self._load_features()

    def examples(self, corpus: str, *, progress: Progress | None = None) -> list[Example]:
        """Return every utterance of a corpus, from the cache where it is known.

        Raises:
            CorpusError: the corpus is missing or malformed.
        """
        clips = corpus_named(corpus).read(self._data)
        path = cache_path(self._cache, corpus=corpus, clips=clips, config=self.config, assets=self._assets)
        if not path.is_file():
            save_examples(path, self._extract(corpus, clips, progress))
        return load_examples(path, clips)

    def _extract(self, corpus: str, clips: Sequence[Clip], progress: Progress | None) -> list[Example]:
        task = progress.add_task(f"features of {corpus}", total=len(clips)) if progress else None
        examples: list[Example] = []
        for start in range(0, len(clips), 64):
            chunk = clips[start : start + 64]
            examples += self._of_texts(chunk) if chunk[0].audio is None else self._of_recordings(chunk)
            if progress is not None and task is not None:
                progress.advance(task, len(chunk))
                if not progress.console.is_terminal and start % 1024 == 0:
                    progress.console.print(f"features of {corpus}: {start + len(chunk)} of {len(clips)}")
        return examples

    def _of_texts(self, clips: Sequence[Clip]) -> Iterator[Example]:
        for clip in clips:
            text = clip.text or ""
            if not text.strip():
                self.skipped[clip.key] = "empty text"
                continue
            yield Example(
                clip=clip,
                features=self._features.of_text(text),
                seconds=0.0,
                transcript=text,
                transcript_status="ok",
            )

    def _of_recordings(self, clips: Sequence[Clip]) -> Iterator[Example]:
        found = [(clip, utterance) for clip in clips for utterance in self._utterances(clip)]
        of_language = self.config.speech.language
        spoken = [(clip, utterance) for clip, utterance in found if clip.language == of_language]
        foreign = [(clip, utterance) for clip, utterance in found if clip.language != of_language]
        transcripts = self._speech.transcribe([u.samples for _, u in spoken], max_batch_size=_BATCH_SIZE)
        for (clip, utterance), transcript in zip(spoken, transcripts, strict=True):
            yield Example(
                clip=clip,
                features=self._features.of_speech(utterance.samples, transcript),
                seconds=utterance.seconds,
                transcript=transcript.text,
                transcript_status=transcript.status,
            )
        states = self._speech.encode([u.samples for _, u in foreign], max_batch_size=_BATCH_SIZE)
        for (clip, utterance), steps in zip(foreign, states, strict=True):
            mel = log_mel(utterance.samples, config=self.config.mel)
            yield Example(
                clip=clip,
                features=Features(mel=mel, states=steps),
                seconds=utterance.seconds,
                transcript="",
                transcript_status="foreign",
            )

    def _utterances(self, clip: Clip) -> list[Utterance]:
        assert clip.audio is not None
        try:
            utterances = find_utterances(decode_audio(clip.audio), config=self.config.segment)
        except AudioError as error:
            self.skipped[clip.key] = error.message
            return []
        if not utterances:
            self.skipped[clip.key] = "no speech found"
        return [u for u in utterances if np.any(u.samples)]
