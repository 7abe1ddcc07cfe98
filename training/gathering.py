"""The corpora of an experiment, ready to be divided into folds: clips, copies, texts, and what is only judged on."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Final

import numpy as np
from rich.progress import Progress

from model.script import bare
from training.augmentation import Change
from training.experiment import Experiment
from training.extraction import Extraction
from training.feature_cache import Example
from training.frame_cache import FrameCache
from training.pairing import recalled
from training.protocols import Corpora

TEST_TEXTS: Final = ("ewect_dev", "ewect_tenth")
"""Corpora of labelled texts that are never trained on."""


def gather(experiment: Experiment, extraction: Extraction, frames: FrameCache, progress: Progress) -> Corpora:
    """Compute or recall the features of everything an experiment works on.

    frames: replaces what is heard of the clips, where the experiment's system hears something else.

    Raises:
        CorpusError: a corpus is missing or malformed.
    """
    recall = partial(recalled, extraction, progress=progress)
    clips: list[Example] = []
    copies: list[Example] = []
    texts: list[Example] = []
    for name in experiment.corpora:
        clips += _kept(experiment, recall(name, text=experiment.text), corpus=name)
        for change in _changes(experiment):
            found = _kept(experiment, recall(name, text=experiment.text, change=change), corpus=name)
            # Copies of one operation that were drawn apart are told apart.
            suffix = f"-{change.seed}" if change.seed else ""
            copies += [replace(copy, variant=f"{copy.variant}{suffix}") for copy in found]
    for name in experiment.text_corpora:
        posts = _kept(experiment, recall(name), corpus=name)
        texts += posts
        if experiment.misheard_probability:
            texts += _copies_of(posts, recall(name, misheard=0))
    if not experiment.frames.is_default:
        clips = frames.heard(clips, progress)
    judged_on = experiment.protocol.corpus
    test_texts = {name: _kept(experiment, recall(name), corpus=name) for name in TEST_TEXTS if experiment.text_corpora}
    return Corpora(
        clips=clips,
        copies=copies,
        texts=_without(texts, [text for some in test_texts.values() for text in some]),
        conditions={
            operation: _kept(experiment, recall(judged_on, change=Change(operation, of="recording")), corpus=judged_on)
            for operation in experiment.conditions
        },
        test_texts=test_texts,
    )


def _changes(experiment: Experiment) -> list[Change]:
    """Return each operation with a seed; named again, it is drawn again."""
    named = experiment.augmentation
    return [
        Change(operation, seed=named[:index].count(operation), of=experiment.copies_of)
        for index, operation in enumerate(named)
    ]


def _kept(experiment: Experiment, examples: Sequence[Example], *, corpus: str) -> list[Example]:
    """Keep what the experiment can label, under the name it has there.

    For quick runs clips are thinned out evenly, so that every speaker and emotion stays.
    """
    known = [
        replace(example, clip=replace(example.clip, corpus=corpus))
        for example in examples
        if example.clip.emotion in experiment.emotions
    ]
    keys = list(dict.fromkeys(example.clip.key for example in known))
    limit = experiment.max_clips
    if limit is None or len(keys) <= limit:
        return known
    chosen = {keys[index] for index in np.linspace(0, len(keys) - 1, limit).astype(int)}
    return [example for example in known if example.clip.key in chosen]


def _copies_of(originals: Sequence[Example], copies: Sequence[Example]) -> list[Example]:
    """Return the copies whose originals were kept, with the clip as it is named there."""
    clips = {example.clip.key: example.clip for example in originals}
    return [replace(copy, clip=clips[copy.clip.key]) for copy in copies if copy.clip.key in clips]


def _without(texts: Sequence[Example], tested: Sequence[Example]) -> list[Example]:
    """Leave out every text that is also tested, and the copies of those: the same post may be in two parts."""
    known = {bare(text.transcript) for text in tested}
    others = [text for text in texts if bare(text.transcript) not in known]
    written = {text.clip for text in others if not text.variant}
    return [text for text in others if text.clip in written]
