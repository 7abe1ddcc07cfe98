"""Clips in, examples out: the front end of the service run over a corpus, in shards that are kept."""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Final, Literal

import numpy as np
from rich.progress import Progress

from model.audio import SAMPLE_RATE_HZ, Recording, decode_audio
from model.errors import AudioError
from model.features import Array, FeatureConfig, FeatureExtractor, Features
from model.ngrams import NgramConfig, ngrams
from model.segment import Utterance, find_utterances
from model.speech import SpeechRecognizer
from training.augmentation import Change, augmented
from training.corpora.catalog import corpus_named
from training.corpora.manifest import Clip
from training.feature_cache import Example, Shard, load_shard, save_shard, shard_path, sharded, without_text
from training.mishearing import Homophones, Mishearing, misheard

NO_SPEECH: Final = "no speech found"
"""Why a recording gives no example where nothing is wrong with the file."""
NO_TEXT: Final = "no_text"
"""Status of an example whose corpus gives it no transcript, where gold text was asked for."""
NO_CHINESE: Final = "no Chinese to be misheard"
"""Why a text has no misheard copy."""

_BATCH_SIZE: Final = 8
_CLIPS_PER_LINE: Final = 1024


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
        threads: int = 1,
    ) -> None:
        self.config = config
        # Loaded when first needed: a run whose features are all cached needs neither.
        self._load_speech = load_speech
        self._load_features = load_features
        self._assets = assets
        self.data = data
        self._cache = cache
        self._threads = threads
        self.skipped: dict[str, str] = {}

    @cached_property
    def _speech(self) -> SpeechRecognizer:
        return self._load_speech()

    @cached_property
    def _features(self) -> FeatureExtractor:
        return self._load_features()

    def examples(
        self,
        corpus: str,
        *,
        progress: Progress | None = None,
        text: Literal["asr", "gold"] = "asr",
        change: Change | None = None,
        misheard: int | None = None,
    ) -> list[Example]:
        """Return every utterance of a corpus, given by name or manifest: see :meth:`examples_of`.

        Raises:
            CorpusError: the corpus is missing or malformed.
        """
        found = corpus_named(corpus)
        clips = found.read(self.data)
        return self.examples_of(found.name, clips, progress=progress, text=text, change=change, misheard=misheard)

    def examples_of(
        self,
        corpus: str,
        clips: Sequence[Clip],
        *,
        progress: Progress | None = None,
        text: Literal["asr", "gold"] = "asr",
        change: Change | None = None,
        misheard: int | None = None,
    ) -> list[Example]:
        """Return every utterance of the clips, from the cache where it is known, in the order of the clips.

        text: ``gold`` takes the words from the clip instead of the recogniser, where the clip has exactly one
            utterance (nothing says which part of a text belongs to which of several: these keep the recogniser's).
            A clip that has no text loses its text features. Foreign clips have none either way.
        change: of utterances, return augmented copies instead: what was found in the recording, changed one by one.
            Text and its features are the parent's (VCEMO §3.5). Of recordings, change the whole sound first and then
            serve it as any other: its utterances and transcripts are its own. Clips of text alone give nothing. What
            is drawn for a clip depends on the seed, the operation and its key only.
        misheard: of clips of text alone, return copies as a recogniser might have written them, with the homophones
            of all these clips; what is drawn for one depends on this seed and its key. Recordings give nothing.
        """
        assert change is None or misheard is None, "a change is of sound, a mishearing of text"
        mishearing = None
        if misheard is not None:
            mishearing = Mishearing(homophones=Homophones(clip.text for clip in clips if clip.text), seed=misheard)
        shards = self._shards(corpus, clips, progress=progress, change=change or mishearing)
        examples = [example for shard in shards for example in shard.examples]
        return self._with_gold_text(corpus, clips, examples, progress) if text == "gold" else examples

    def _shards(
        self,
        corpus: str,
        clips: Sequence[Clip],
        *,
        progress: Progress | None,
        change: Change | Mishearing | None = None,
    ) -> Iterator[Shard]:
        plan = list(sharded(clips))
        if change is not None:
            plan = [members for members in plan if (members[0].audio is None) == (change.of == "text")]
        total = sum(len(members) for members in plan)
        title = f"features of {corpus}, {change.operation}" if change else f"features of {corpus}"
        task = progress.add_task(title, total=total) if progress is not None else None
        done = 0
        for members in plan:
            shard, is_new = self._shard(corpus, members, change)
            if change is not None and change.of == "utterance":
                shard = _with_text_of(self._shard(corpus, members)[0], shard)
            self.skipped.update(shard.skipped)
            yield shard
            before, done = done, done + len(members)
            if progress is not None and task is not None:
                progress.advance(task, len(members))
                passed_a_line = done == total or before // _CLIPS_PER_LINE < done // _CLIPS_PER_LINE
                if is_new and passed_a_line and not progress.console.is_terminal:
                    progress.console.print(f"{title}: {done} of {total}")

    def _shard(
        self, corpus: str, clips: Sequence[Clip], change: Change | Mishearing | None = None
    ) -> tuple[Shard, bool]:
        """Return one shard as it is kept, and whether it had to be computed."""
        path = shard_path(
            self._cache, corpus=corpus, clips=clips, config=self.config, assets=self._assets, change=change
        )
        is_new = not path.is_file()
        if is_new:
            save_shard(path, self._computed(clips, change))
        # Read back even when new: what is trained on does not depend on whether it was cached.
        return _with_ngrams(load_shard(path, clips), self.config.ngrams), is_new

    def _computed(self, clips: Sequence[Clip], change: Change | Mishearing | None) -> Shard:
        if isinstance(change, Mishearing):
            return self._of_misheard(clips, change)
        if clips[0].audio is None:
            return self._of_texts(clips)
        of_recordings = change if change is not None and change.of == "recording" else None
        found: list[tuple[Clip, Utterance]] = []
        skipped: dict[str, str] = {}
        for clip in clips:
            try:
                found += [(clip, utterance) for utterance in self._utterances(clip, of_recordings)]
            except AudioError as error:
                skipped[clip.key] = error.message
        heard = {clip.key for clip, _ in found}
        skipped |= {clip.key: NO_SPEECH for clip in clips if clip.key not in heard | skipped.keys()}
        if change is None:
            examples = self._of_speech(found)
        elif change is of_recordings:
            examples = [replace(example, variant=change.operation) for example in self._of_speech(found)]
        else:
            examples = self._copies(found, change)
        return Shard(examples=examples, skipped=skipped)

    def _utterances(self, clip: Clip, change: Change | None) -> list[Utterance]:
        assert clip.audio is not None
        recording = decode_audio(clip.audio)
        if change is not None:
            recording = _changed(recording, change, clip.key)
        found = find_utterances(recording, config=self.config.segment)
        return [utterance for utterance in found if np.any(utterance.samples)]

    def _of_texts(self, clips: Sequence[Clip]) -> Shard:
        examples = [
            Example(
                clip=clip,
                features=self._features.of_text(clip.text),
                seconds=0.0,
                transcript=clip.text,
                transcript_status="ok",
            )
            for clip in clips
            if clip.text and clip.text.strip()
        ]
        known = {example.clip.key for example in examples}
        return Shard(examples=examples, skipped={c.key: "empty text" for c in clips if c.key not in known})

    def _of_misheard(self, clips: Sequence[Clip], mishearing: Mishearing) -> Shard:
        heard = [
            misheard(clip.text or "", homophones=mishearing.homophones, generator=_generator(mishearing, clip.key))
            for clip in clips
        ]
        shard = self._of_texts([replace(clip, text=text) for clip, text in zip(clips, heard, strict=True)])
        copies = [replace(example, variant=mishearing.operation) for example in shard.examples]
        return Shard(examples=copies, skipped=dict.fromkeys(shard.skipped, NO_CHINESE))

    def _of_speech(self, found: Sequence[tuple[Clip, Utterance]]) -> list[Example]:
        """Transcribe what is spoken in the configured language; of the rest, only the sound counts."""
        examples: dict[int, Example] = {}
        spoken = [index for index, (clip, _) in enumerate(found) if self._is_spoken(clip)]
        foreign = [index for index, (clip, _) in enumerate(found) if not self._is_spoken(clip)]
        transcripts = self._speech.transcribe([found[k][1].samples for k in spoken], max_batch_size=_BATCH_SIZE)
        for index, transcript in zip(spoken, transcripts, strict=True):
            clip, utterance = found[index]
            examples[index] = Example(
                clip=clip,
                features=self._features.of_speech(utterance.samples, transcript),
                seconds=utterance.seconds,
                transcript=transcript.text,
                transcript_status=transcript.status,
            )
        for index, features in zip(foreign, self._sound([found[k][1].samples for k in foreign]), strict=True):
            clip, utterance = found[index]
            examples[index] = Example(
                clip=clip, features=features, seconds=utterance.seconds, transcript="", transcript_status="foreign"
            )
        return [examples[index] for index in range(len(found))]

    def _copies(self, found: Sequence[tuple[Clip, Utterance]], change: Change) -> list[Example]:
        """Sound of augmented copies; their text is joined from the recordings when they are recalled."""
        generators = {clip.key: _generator(change, clip.key) for clip, _ in found}
        copies = [augmented(one.samples, change.operation, generator=generators[clip.key]) for clip, one in found]
        return [
            Example(
                clip=clip,
                features=features,
                seconds=len(copy) / SAMPLE_RATE_HZ,
                transcript="",
                transcript_status="",
                variant=change.operation,
            )
            for (clip, _), copy, features in zip(found, copies, self._sound(copies), strict=True)
        ]

    def _sound(self, utterances: Sequence[Array]) -> list[Features]:
        states: Sequence[Array | None] = [None] * len(utterances)
        if self.config.reads_last_layer:
            states = self._speech.encode(utterances, max_batch_size=_BATCH_SIZE)
        # Side by side: most of it is arithmetic outside of Python.
        with ThreadPoolExecutor(self._threads) as pool:
            return list(pool.map(self._features.of_sound, utterances, states))

    def _is_spoken(self, clip: Clip) -> bool:
        return clip.language == self.config.speech.language

    def _with_gold_text(
        self, corpus: str, clips: Sequence[Clip], examples: Sequence[Example], progress: Progress | None
    ) -> list[Example]:
        written = [replace(clip, audio=None) for clip in clips if clip.audio is not None and self._is_spoken(clip)]
        written = [clip for clip in written if clip.text and clip.text.strip()]
        shards = self._shards(f"{corpus}, gold text", written, progress=progress)
        gold = {example.clip.key: example for shard in shards for example in shard.examples}
        num_utterances = Counter(example.clip.key for example in examples)
        changed = []
        for example in examples:
            text = gold.get(example.clip.key)
            if example.clip.audio is None or not self._is_spoken(example.clip):
                changed.append(example)
            elif text is None:
                changed.append(replace(without_text(example), transcript="", transcript_status=NO_TEXT))
            elif num_utterances[example.clip.key] == 1:
                changed.append(_with_text(example, of=text))
            else:
                changed.append(example)
        return changed


def _with_text(example: Example, *, of: Example) -> Example:
    """Return the example with the words of another, which tell the same clip."""
    assert example.clip.key == of.clip.key
    features = example.features.with_text_of(of.features)
    return replace(example, features=features, transcript=of.transcript, transcript_status=of.transcript_status)


def _with_ngrams(shard: Shard, config: NgramConfig) -> Shard:
    """Count the n-grams of every text that counts: they take less time than to read them back."""
    examples = [
        replace(example, features=replace(example.features, ngrams=ngrams(example.transcript, config=config)))
        if example.features.sentence is not None
        else example
        for example in shard.examples
    ]
    return replace(shard, examples=examples)


def _with_text_of(parents: Shard, copies: Shard) -> Shard:
    """Join copies with the text of their parents: both come from the same utterances, in the same order."""
    pairs = zip(parents.examples, copies.examples, strict=True)
    return replace(copies, examples=[_with_text(copy, of=parent) for parent, copy in pairs])


def _changed(recording: Recording, change: Change, key: str) -> Recording:
    """Change every channel alike: with the same draw for each, all keep one length."""
    channels = [
        augmented(samples, change.operation, generator=_generator(change, key)) for samples in recording.samples
    ]
    return replace(recording, samples=np.stack(channels))


def _generator(change: Change | Mishearing, key: str) -> np.random.Generator:
    """Random numbers of one clip and operation: neither order nor sharding of the corpus matters."""
    digest = hashlib.sha256(json.dumps([change.seed, change.operation, key]).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest))
