"""Everything a training command needs, opened once: corpora, caches, encoders, past runs."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Final

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from model.assets import AssetStore
from model.bundle import sha256_of
from model.errors import CorpusError
from model.features import FeatureConfig, FeatureExtractor
from model.lower_layers import LowerLayers
from model.network import VcemoNetwork
from model.sentence import load_sentence_encoder
from model.speech import SpeechRecognizer
from model.words import WordVectors
from training.audio_encoder import AudioEncoder
from training.dataset import TrainingSet
from training.distributed import Ranks
from training.evaluation import Evaluation, evaluate
from training.experiment import Experiment
from training.extraction import Extraction
from training.frame_cache import FrameCache
from training.gathering import gather
from training.logbook import Row
from training.lower_layers import exported_lower_layers
from training.prediction_rows import PredictionRow, read_predictions
from training.predictions import PREDICTIONS_FILE, predictions, write_predictions
from training.protocols import EVERYONE, Corpora, Fold, everyone, folds, with_shuffled_labels
from training.systems import Network
from training.trainer import CHECKPOINT_FILE, Training
from training.views import LeftOut, num_views, views
from training.weights import load_network, save_network
from training.word_times import WordAligner

_KEYS_SHOWN: Final = 10
NETWORK_FILE: Final = "network.safetensors"


@dataclass(frozen=True, kw_only=True, slots=True)
class Workshop:
    """One experiment on one data folder; whatever was computed before is found in ``cache``."""

    experiment: Experiment
    data: Path
    cache: Path
    assets: AssetStore
    threads: int
    console: Console
    bert: Path | None = None
    """Folder of an exported BERT, where the experiment's sentence encoder is one."""
    device: torch.device = torch.device("cpu")
    ranks: Ranks = Ranks()

    @property
    def features(self) -> FeatureConfig:
        """What is computed of every recording, whatever system reads it."""
        return self.experiment.feature_config

    @property
    def inputs(self) -> FeatureConfig:
        """What the network is given of it."""
        return self.experiment.input_config

    @property
    def asset_checksums(self) -> dict[str, dict[str, str]]:
        """Checksums of the pre-trained parts that the features depend on."""
        names = [self.features.speech.asset, self.features.words.asset]
        if self.features.sentence.kind == "e5":
            names.append(self.features.sentence.name)
        checksums = {name: dict(self.assets.sha256(name)) for name in names}
        if self.bert is not None:
            checksums[self.features.sentence.name] = {"model.onnx": sha256_of(self.bert / "model.onnx")}
        return checksums

    def corpora(self) -> Corpora:
        """Compute or recall the features of every corpus of the experiment.

        Raises:
            CorpusError: a corpus is missing or malformed.
        """
        extraction = self.extraction()
        with self.progress() as progress:
            corpora = gather(self.experiment, extraction, self.frames(), progress)
        for reason, some in groupby(sorted(extraction.skipped.items(), key=itemgetter(1)), key=itemgetter(1)):
            keys = [key for key, _ in some]
            more = f" and {len(keys) - _KEYS_SHOWN} more" if len(keys) > _KEYS_SHOWN else ""
            self.say(f"skipped, {reason}: {', '.join(keys[:_KEYS_SHOWN])}{more}")
        return corpora

    def folds(self, corpora: Corpora) -> list[Fold]:
        """Return every fold of the experiment's protocol.

        Raises:
            CorpusError: the corpus cannot be divided so.
        """
        return folds(corpora, self.experiment)

    def fold(self, corpora: Corpora, name: str) -> Fold:
        """Return one fold by its name; :data:`EVERYONE` leaves nobody out.

        Raises:
            CorpusError: there is no such fold.
        """
        if name == EVERYONE:
            return everyone(corpora)
        known = {fold.name: fold for fold in self.folds(corpora)}
        if name not in known:
            raise CorpusError(f"no fold {name!r}; known: {', '.join([*known, EVERYONE])}", value=name)
        return known[name]

    def network(self, corpora: Corpora, fold: Fold, *, resume: bool = True) -> Network:
        """Train the network of a fold, go on from its checkpoint, or recall it.

        Raises:
            TrainingInterrupted: a signal asked to stop.
        """
        folder = self.run_folder(corpora, fold)
        path = folder / NETWORK_FILE
        if path.is_file():
            return load_network(path, config=self.experiment.system_config)
        if self.experiment.shuffle_labels:
            fold = with_shuffled_labels(fold, seed=self.experiment.seed)
        training = Training(
            TrainingSet(fold.train, corpora.texts, experiment=self.experiment, features=self.inputs),
            dev=fold.dev,
            experiment=self.experiment,
            features=self.inputs,
            folder=folder,
            device=self.device,
            ranks=self.ranks,
        )
        title = f"training fold {fold.name}, seed {self.experiment.seed}"
        with self.progress() as progress:
            task = progress.add_task(title, total=self.experiment.epochs)

            def on_epoch(row: Row) -> None:
                figures = ", ".join(f"{name} {row[name]:.3f}" for name in ("loss", "dev_recall") if name in row)
                progress.update(task, completed=row["epoch"], description=f"{title}: {figures}")
                if not self.console.is_terminal:
                    self.say(f"{title}: epoch {row['epoch']:.0f} of {self.experiment.epochs}, {figures}")

            network = training.run(resume=resume, on_epoch=on_epoch)
        if self.ranks.is_first:
            save_network(network, path)
            # Once the network stands, the state of its training is only weight on the disk.
            (folder / CHECKPOINT_FILE).unlink(missing_ok=True)
        return network

    def servable(self, corpora: Corpora, fold: Fold) -> VcemoNetwork:
        """Return the network of a fold that is to be served.

        Raises:
            ValueError: the experiment's is one that VCEMO is compared with.
        """
        network = self.network(corpora, fold)
        if not isinstance(network, VcemoNetwork):
            raise ValueError(f"only VCEMO's network can be served, not system {self.experiment.system!r}")
        return network

    def evaluation(self, corpora: Corpora, *, seeds: Sequence[int] | None = None, resume: bool = True) -> Evaluation:
        """Train or recall every fold of every seed (by default the experiment's), and judge it on who was left out."""
        rows: list[PredictionRow] = []
        for seed in seeds or [self.experiment.seed]:
            rows += self.with_seed(seed).judged(corpora, resume=resume)
        return evaluate(rows, corpus=self.experiment.protocol.corpus, emotions=self.experiment.emotions)

    def judged(self, corpora: Corpora, *, resume: bool = True) -> list[PredictionRow]:
        """Train or recall every fold; return what its network says of who was left out, kept beside the network."""
        return [row for fold in self.folds(corpora) for row in self.judged_fold(corpora, fold, resume=resume)]

    def judged_fold(self, corpora: Corpora, fold: Fold, *, resume: bool = True) -> list[PredictionRow]:
        """Train or recall one fold; return what its network says of who was left out."""
        path = self.run_folder(corpora, fold) / PREDICTIONS_FILE
        if path.is_file():
            return read_predictions(path)
        network = self.network(corpora, fold, resume=resume)
        tested = {example.clip.key for example in fold.test}
        conditions = {
            name: [example for example in changed if example.clip.key in tested]
            for name, changed in corpora.conditions.items()
        }
        left_out = LeftOut(clips=fold.test, conditions=conditions, texts=corpora.test_texts)
        rows = self._said_of(left_out, network, fold)
        if self.ranks.is_first:
            write_predictions(path, rows)
        return rows

    def _said_of(self, left_out: LeftOut, network: Network, fold: Fold) -> list[PredictionRow]:
        rows: list[PredictionRow] = []
        with self.progress() as progress:
            task = progress.add_task(
                f"judging fold {fold.name}, seed {self.experiment.seed}", total=num_views(left_out)
            )
            for view, shown in views(left_out):
                rows += predictions(
                    network, shown, features=self.inputs, view=view, fold=fold.name, seed=self.experiment.seed
                )
                progress.advance(task)
        return rows

    def with_seed(self, seed: int) -> "Workshop":
        """Return the same experiment with another seed."""
        return replace(self, experiment=replace(self.experiment, seed=seed))

    def extraction(self) -> Extraction:
        """Return what computes features."""
        features = self.features
        return Extraction(
            config=features,
            load_speech=lambda: SpeechRecognizer(
                self.assets.path(features.speech.asset), config=features.speech, threads=self.threads
            ),
            load_features=lambda: FeatureExtractor(
                features,
                lower_layers=LowerLayers(path, config=features.lower_layers) if (path := self.lower_layers()) else None,
                words=WordVectors.load(self.assets.path(features.words.asset), config=features.words),
                sentence=load_sentence_encoder(features.sentence, folder=self.bert, threads=self.threads),
            ),
            assets=self.asset_checksums,
            data=self.data,
            cache=self.cache,
            threads=self.threads,
        )

    def frames(self) -> FrameCache:
        """Return what computes what other systems hear."""
        features = self.features
        return FrameCache(
            config=self.experiment.frames,
            segment=features.segment,
            cache=self.cache,
            load_words=lambda: WordVectors.load(self.assets.path(features.words.asset), config=features.words),
            load_aligner=lambda: WordAligner(
                self.assets.path(features.speech.asset), config=features.speech, threads=self.threads
            ),
            load_encoder=lambda: AudioEncoder.load(self.experiment.frames),
        )

    def lower_layers(self) -> Path | None:
        """Return the file of the layers of Whisper that the features read besides the last, if any; exported once."""
        layers = self.features.lower_layers.layers
        if not layers:
            return None
        name = self.features.speech.asset
        return exported_lower_layers(
            self.cache / "lower_layers",
            whisper=self.assets.path(name),
            layers=layers,
            name=f"{name}-{self.assets.sha256(name)['model.bin'][:12]}",
        )

    def run_folder(self, corpora: Corpora, fold: Fold) -> Path:
        """Folder of a fold's run, below one named by all that decides the networks."""
        examples = [*corpora.clips, *corpora.copies, *corpora.texts]
        content = {
            "features": self.features.to_json(),
            "assets": self.asset_checksums,
            "clips": [[example.clip.key, example.clip.emotion, example.variant] for example in examples],
        }
        digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:8]
        name = f"{self.experiment.name}-{self.experiment.digest}-{digest}"
        return self.cache / "runs" / name / fold.name

    def say(self, message: str) -> None:
        """Tell the person at the terminal, once however many processes there are."""
        if self.ranks.is_first:
            self.console.print(message, highlight=False, markup=False)

    def progress(self) -> Progress:
        """Return a bar for long work."""
        return Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=self.console,
            disable=not self.ranks.is_first,
        )
