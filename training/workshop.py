"""Everything a training command needs, opened once: corpora, caches, encoders, past runs."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from model.assets import AssetStore
from model.features import FeatureConfig, FeatureExtractor
from model.network import VcemoNetwork
from model.sentence import SentenceConfig, load_sentence_encoder
from model.speech import SpeechRecognizer
from model.words import WordVectors
from training.evaluation import Evaluation, FoldResult, evaluate, fold_result, text_score
from training.experiment import Experiment
from training.extraction import Extraction
from training.feature_cache import Example
from training.folds import Corpora, trained_network, write_predictions

TEXT_TEST_CORPUS = "ewect_dev"


@dataclass(frozen=True, kw_only=True, slots=True)
class Workshop:
    """One experiment on one data folder; whatever was computed before is found in ``cache``."""

    experiment: Experiment
    features: FeatureConfig
    data: Path
    cache: Path
    assets: AssetStore
    threads: int
    console: Console

    @property
    def asset_checksums(self) -> dict[str, dict[str, str]]:
        """Checksums of the pre-trained parts that the features depend on."""
        names = [self.features.speech.asset, self.features.words.asset]
        if self.features.sentence.kind == "e5":
            names.append(self.features.sentence.name)
        return {name: dict(self.assets.sha256(name)) for name in names}

    def corpora(self) -> Corpora:
        """Compute or recall the features of every corpus of the experiment.

        Raises:
            CorpusError: a corpus is missing or malformed.
        """
        extraction = self._extraction()
        with self._progress() as progress:
            clips = [
                example
                for name in self.experiment.corpora
                for example in self._some(extraction.examples(name, progress=progress))
            ]
            texts = [
                example
                for name in self.experiment.text_corpora
                for example in self._some(extraction.examples(name, progress=progress))
            ]
        for key, reason in extraction.skipped.items():
            self.console.print(f"skipped {key}: {reason}")
        return Corpora(clips=clips, texts=texts)

    def network(self, corpora: Corpora, *, left_out: str | None) -> VcemoNetwork:
        """Train or recall the network without one speaker of the test corpus, or on everything."""
        with self._progress() as progress:
            title = f"training without {left_out}" if left_out else "training on every speaker"
            task = progress.add_task(title, total=self.experiment.epochs)

            def on_epoch(epoch: int, loss: float) -> None:
                progress.update(task, completed=epoch, description=f"{title}, loss {loss:.3f}")
                if not self.console.is_terminal:
                    self.console.print(f"{title}: epoch {epoch} of {self.experiment.epochs}, loss {loss:.3f}")

            return trained_network(
                corpora,
                left_out=left_out,
                experiment=self.experiment,
                features=self.features,
                runs=self._runs(corpora),
                on_epoch=on_epoch,
            )

    def evaluation(self, corpora: Corpora) -> Evaluation:
        """Leave every speaker of the test corpus out once; predictions are kept beside the networks."""
        corpus = self.experiment.test_corpus
        folds: list[FoldResult] = []
        scores: list[float] = []
        texts = self._some(self._extraction().examples(TEXT_TEST_CORPUS)) if self.experiment.text_corpora else []
        for speaker in corpora.speakers(corpus):
            network = self.network(corpora, left_out=speaker)
            clips = corpora.of_speaker(corpus=corpus, speaker=speaker)
            fold = fold_result(network, clips, speaker=speaker, features=self.features)
            write_predictions(self._runs(corpora) / f"{speaker}.predictions.jsonl", fold.views)
            folds.append(fold)
            if texts:
                scores.append(text_score(network, texts, features=self.features))
        return evaluate(folds, corpus=corpus, text_macro_f1=float(np.mean(scores)) if scores else None)

    def _extraction(self) -> Extraction:
        sentence: SentenceConfig = self.features.sentence
        return Extraction(
            config=self.features,
            load_speech=lambda: SpeechRecognizer(
                self.assets.path(self.features.speech.asset), config=self.features.speech, threads=self.threads
            ),
            load_features=lambda: FeatureExtractor(
                self.features,
                words=WordVectors.load(self.assets.path(self.features.words.asset), config=self.features.words),
                sentence=load_sentence_encoder(sentence, threads=self.threads),
            ),
            assets=self.asset_checksums,
            data=self.data,
            cache=self.cache,
        )

    def _runs(self, corpora: Corpora) -> Path:
        """Folder of the experiment's networks, named by all that decides them."""
        content = {
            "features": self.features.to_json(),
            "assets": self.asset_checksums,
            "clips": [[example.clip.key, example.clip.emotion] for example in [*corpora.clips, *corpora.texts]],
        }
        digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:8]
        return self.cache / "runs" / f"{self.experiment.name}-{self.experiment.digest}-{digest}"

    def _some(self, examples: list[Example]) -> list[Example]:
        """Thin out a corpus for quick runs, evenly, so that every speaker and emotion stays."""
        limit = self.experiment.max_clips
        if limit is None or len(examples) <= limit:
            return examples
        return [examples[index] for index in np.linspace(0, len(examples) - 1, limit).astype(int)]

    def _progress(self) -> Progress:
        return Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=self.console,
        )
