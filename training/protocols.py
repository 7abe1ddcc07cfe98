"""Protocols: who is trained on, who selects, who is tested (VCEMO §4.3)."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from model.errors import CorpusError
from training.experiment import Experiment, Protocol
from training.feature_cache import Example

EVERYONE = "all"
"""The fold that leaves nobody out: what ships is trained on it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Corpora:
    """The examples an experiment works on.

    copies: augmented clips, which are only ever trained on. conditions: the clips of the tested corpus as a phone
    line or a street would have them, by name. test_texts: labelled texts, by corpus. Neither is ever trained on.
    """

    clips: Sequence[Example]
    texts: Sequence[Example] = ()
    copies: Sequence[Example] = ()
    conditions: Mapping[str, Sequence[Example]] = field(default_factory=dict)
    test_texts: Mapping[str, Sequence[Example]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Fold:
    """One division. train holds the augmented copies of its own clips, and of no others."""

    name: str
    train: Sequence[Example]
    dev: Sequence[Example] = ()
    test: Sequence[Example] = ()


def folds(corpora: Corpora, experiment: Experiment) -> list[Fold]:
    """Return every fold of the experiment's protocol.

    Raises:
        CorpusError: the corpus has too few speakers, sessions or clips for it.
    """
    protocol = experiment.protocol
    if protocol.kind == "split":
        return [_split(corpora, protocol)]
    if protocol.kind == "corpus":
        return [_corpus_left_out(corpora, protocol)]
    group_of: Callable[[Example], str | None] = _speaker if protocol.kind == "speakers" else _session
    tested = [clip for clip in corpora.clips if clip.clip.corpus == protocol.corpus]
    names = sorted({group_of(clip) or "" for clip in tested})
    if "" in names or len(names) < (3 if protocol.dev == "own" else 2):
        raise CorpusError(
            f"protocol {protocol.kind} needs {'three' if protocol.dev == 'own' else 'two'} or more of them in "
            f"{protocol.corpus}, each clip with its own; found {names}",
            value=names,
        )
    return [_one_left_out(corpora, protocol, names, index, group_of) for index in range(len(names))]


def everyone(corpora: Corpora) -> Fold:
    """Return the fold that trains on all there is."""
    return Fold(name=EVERYONE, train=[*corpora.clips, *corpora.copies])


def with_shuffled_labels(fold: Fold, *, seed: int) -> Fold:
    """Deal the labels of the training part out at random; a clip's copies keep its new label."""
    keys = sorted({(example.clip.corpus, example.clip.key) for example in fold.train})
    label_of = {(example.clip.corpus, example.clip.key): example.clip.emotion for example in fold.train}
    order = np.random.default_rng(seed).permutation(len(keys))
    dealt = {key: label_of[keys[index]] for key, index in zip(keys, order, strict=True)}
    train = [
        replace(example, clip=replace(example.clip, emotion=dealt[example.clip.corpus, example.clip.key]))
        for example in fold.train
    ]
    return replace(fold, train=train)


def _one_left_out(
    corpora: Corpora,
    protocol: Protocol,
    names: Sequence[str],
    index: int,
    group_of: Callable[[Example], str | None],
) -> Fold:
    parts = {names[index]: "test"}
    if protocol.dev == "own":
        parts[names[(index + 1) % len(names)]] = "dev"

    def part(example: Example) -> str:
        if example.clip.corpus != protocol.corpus:
            return "train"
        return parts.get(group_of(example) or "", "train")

    return _divided(corpora, protocol, part, name=names[index])


def _corpus_left_out(corpora: Corpora, protocol: Protocol) -> Fold:
    fold = _divided(
        corpora,
        protocol,
        lambda example: "test" if example.clip.corpus == protocol.corpus else "train",
        name=protocol.corpus,
    )
    if not fold.train or not fold.test:
        raise CorpusError(
            f"protocol corpus tests all of {protocol.corpus} and trains on others; found {len(fold.test)} utterances "
            f"of it, and {len(fold.train)} of others",
            value=len(fold.test),
        )
    return fold


def _split(corpora: Corpora, protocol: Protocol) -> Fold:
    """8/1/1: as published where the corpus says; else by speaker, or by utterance as the paper may have."""
    tested = [clip for clip in corpora.clips if clip.clip.corpus == protocol.corpus]
    published = all(clip.clip.split for clip in tested)
    if published and not protocol.paper_random:
        parts = {clip.clip.key: clip.clip.split or "" for clip in tested}
    else:
        parts = dict(_eight_one_one(tested, by_speaker=not protocol.paper_random))
    found = set(parts.values())
    if found != {"train", "dev", "test"}:
        raise CorpusError(
            f"{protocol.corpus} cannot be divided into train, dev and test: {len(tested)} clips give {sorted(found)}",
            value=len(tested),
        )

    def part(example: Example) -> str:
        return parts[example.clip.key] if example.clip.corpus == protocol.corpus else "train"

    return _divided(corpora, protocol, part, name="split")


def _eight_one_one(clips: Sequence[Example], *, by_speaker: bool) -> Iterator[tuple[str, str]]:
    groups: dict[str, list[str]] = {}
    for clip in clips:
        groups.setdefault((_speaker(clip) or "") if by_speaker else clip.clip.key, []).append(clip.clip.key)
    names = sorted(groups)
    np.random.default_rng(0).shuffle(names)  # one division for every seed of a run
    seen, total = 0, sum(len(set(keys)) for keys in groups.values())
    for name in names:
        # The middle of a group decides, so that a large one cannot swallow dev and test.
        middle = (seen + len(set(groups[name])) / 2) / total
        part = "test" if middle < 0.1 else "dev" if middle < 0.2 else "train"
        for key in groups[name]:
            yield key, part
        seen += len(set(groups[name]))


def _divided(corpora: Corpora, protocol: Protocol, part: Callable[[Example], str], *, name: str) -> Fold:
    by_part: dict[str, list[Example]] = {"train": [], "dev": [], "test": []}
    for clip in corpora.clips:
        by_part[part(clip)].append(clip)
    by_part["train"] += [copy for copy in corpora.copies if part(copy) == "train"]
    dev = by_part["test"] if protocol.dev == "test" else by_part["dev"]
    return Fold(name=name, train=by_part["train"], dev=dev, test=by_part["test"])


def _speaker(example: Example) -> str | None:
    return example.clip.speaker


def _session(example: Example) -> str | None:
    return example.clip.session
