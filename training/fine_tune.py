"""From the bundle that is served to the next one: what it goes on learning from, and what it is judged on."""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
from torch import nn

from model.bundle import SENTENCE_ENCODER_FOLDER, BundleFacts
from model.errors import BundleInvalid, CorpusError
from model.network import VcemoNetwork
from training.corpora import feedback
from training.corpora.catalog import corpus_named
from training.dataset import TrainingSet
from training.experiment import Experiment, Protocol
from training.export import network_of
from training.feature_cache import Example
from training.protocols import Fold, with_shuffled_labels
from training.trainer import CHECKPOINT_FILE, OnEpoch, Training
from training.weights import load_network, save_network
from training.workshop import NETWORK_FILE, Workshop

_ROOMS: Final = ("segment", "speech", "mel", "words", "sentence", "ngrams", "lower_layers")


@dataclass(frozen=True, kw_only=True, slots=True)
class Sources:
    """Where clips come from.

    replay: corpora that the bundle was trained on, and how often an epoch shows each clip, so that they are not
    forgotten. manifests: new clips; rows with split test are a fixed test set. feedback: a prepared folder. Both have
    how often an epoch shows them. tests: manifests that are fixed test sets as a whole.
    """

    replay: Mapping[str, float]
    manifests: Sequence[Path]
    manifest_times: float
    feedback: Path | None
    feedback_times: float
    tests: Sequence[Path]


@dataclass(frozen=True, kw_only=True, slots=True)
class Material:
    """What is trained on and judged on; nothing is in both.

    times: how often an epoch shows each clip of a corpus. num_new: clips that are no replay. leaked: clips that were
    left out of training, for they are in a test set. other_front_end: corrections that cannot be used.
    """

    train: Sequence[Example]
    times: Mapping[str, float]
    tests: Mapping[str, Sequence[Example]]
    num_new: int
    leaked: int
    other_front_end: int

    @property
    def emotions(self) -> Mapping[str, int]:
        """Training clips by label."""
        return Counter(example.clip.emotion or "" for example in self.train)

    @property
    def digest(self) -> str:
        """Name everything that is trained and judged on: labels, sounds, and how often each is shown."""
        rows = [["train", one.clip.corpus, one.clip.key, one.clip.emotion, sound_digest(one)] for one in self.train]
        for name, examples in self.tests.items():
            rows += [["test", name, one.clip.key, one.clip.emotion, sound_digest(one)] for one in examples]
        document = {"rows": sorted(rows, key=str), "times": dict(self.times)}
        return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()[:16]


def recipe_of(facts: BundleFacts, recipe: Experiment) -> Experiment:
    """Give a recipe the network and the features of a bundle."""
    network = {name: value for name, value in facts.network.items() if name != "preset"}
    document = facts.features.to_json()
    return replace(
        recipe,
        preset=facts.network["preset"],
        network=network,
        features={room: document[room] for room in _ROOMS},
        labels=6 if len(facts.labels) == 6 else 4,
    )


def check_parts(facts: BundleFacts, workshop: Workshop) -> None:
    """Return where the pre-trained parts are those of the bundle.

    Raises:
        BundleInvalid: the cache holds others; features of both cannot be mixed.
    """
    found = workshop.asset_checksums
    for name, expected in facts.assets.items():
        if dict(expected) != dict(found.get(name, {})):
            raise BundleInvalid(f"the bundle was trained with another {name} than the cache holds", value=name)


def sentence_encoder_of(bundle: Path) -> Path | None:
    """Return the folder of the sentence encoder that travels in a bundle, if one does."""
    folder = bundle / SENTENCE_ENCODER_FOLDER
    return folder if folder.is_dir() else None


def gather_material(sources: Sources, facts: BundleFacts, workshop: Workshop) -> Material:
    """Compute or recall the features of all of it; clips without a label of the bundle's are left out.

    Raises:
        CorpusError: a corpus cannot be read, two have one name, or there is nothing to judge on.
    """
    extraction = workshop.extraction()
    train: list[Example] = []
    tests: dict[str, list[Example]] = {}
    times: dict[str, float] = {}

    def labelled(name: str) -> tuple[str, list[Example]]:
        corpus = corpus_named(name)
        with workshop.progress() as progress:
            examples = extraction.examples(name, progress=progress)
        return corpus.name, [
            replace(one, clip=replace(one.clip, corpus=corpus.name))
            for one in examples
            if one.clip.emotion in facts.labels
        ]

    def add(name: str, examples: Sequence[Example], number: float) -> None:
        if name in times:
            raise CorpusError(f"two of the corpora are called {name}: rename one", value=name)
        times[name] = number
        train.extend(one for one in examples if one.clip.split not in ("dev", "test"))
        tested = [one for one in examples if one.clip.split == "test"]
        if tested:
            tests.setdefault(name, []).extend(tested)

    for given, number in sources.replay.items():
        name, examples = labelled(given)
        add(name, [one for one in examples if one.clip.split != "test"], number)
    replayed = set(times)
    for path in sources.manifests:
        add(*labelled(str(path)), sources.manifest_times)
    others = 0
    if sources.feedback is not None:
        corrected, others = feedback.feedback_examples(sources.feedback, digest=facts.features_digest)
        add(feedback.NAME, [one for one in corrected if one.clip.emotion in facts.labels], sources.feedback_times)
    for path in sources.tests:
        name, examples = labelled(str(path))
        tests.setdefault(name, []).extend(examples)
    if not any(tests.values()):
        raise CorpusError("nothing to judge on: name a manifest with --test, or give rows the split test")
    tested_sounds = {sound_digest(one) for some in tests.values() for one in some}
    kept = [one for one in train if sound_digest(one) not in tested_sounds]
    return Material(
        train=kept,
        times=times,
        tests=tests,
        num_new=sum(one.clip.corpus not in replayed for one in kept),
        leaked=len(train) - len(kept),
        other_front_end=others,
    )


def fine_tuned(
    bundle: Path, material: Material, *, workshop: Workshop, folder: Path, on_epoch: OnEpoch = lambda _: None
) -> VcemoNetwork:
    """Go on training the network of a bundle, from a checkpoint in ``folder`` where there is one, or recall it.

    Raises:
        TrainingInterrupted: a signal asked to stop.
        BundleInvalid: the bundle carries no weights for torch.
    """
    path = folder / NETWORK_FILE
    experiment = replace(
        workshop.experiment,
        corpora=dict(material.times),
        protocol=Protocol(kind="corpus", corpus=next(iter(material.times))),
    )
    if path.is_file():
        return _of_vcemo(load_network(path, config=experiment.network_config))
    fold = Fold(name="retrain", train=material.train)
    if experiment.shuffle_labels:
        fold = with_shuffled_labels(fold, seed=experiment.seed)
    training = Training(
        TrainingSet(fold.train, (), experiment=experiment, features=workshop.features),
        experiment=experiment,
        features=workshop.features,
        folder=folder,
        device=workshop.device,
        start=network_of(bundle),
    )
    network = _of_vcemo(training.run(resume=True, on_epoch=on_epoch))
    save_network(network, path)
    (folder / CHECKPOINT_FILE).unlink(missing_ok=True)
    return network


def _of_vcemo(network: nn.Module) -> VcemoNetwork:
    assert isinstance(network, VcemoNetwork)  # a bundle's is never another system's
    return network


def sound_digest(example: Example) -> str:
    """Name a sound by its spectrogram: the same recording has the same, by whatever name it comes."""
    mel = example.features.mel
    content = b"" if mel is None else np.ascontiguousarray(mel, dtype=np.float16).tobytes()
    return hashlib.sha256(content or example.clip.key.encode()).hexdigest()
