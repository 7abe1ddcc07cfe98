"""The training loop: one network, one fold, from a seed or from a checkpoint."""

import math
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from model.bundle import calibrated
from model.errors import TrainingInterrupted
from model.features import FeatureConfig
from model.network import VcemoNetwork
from training.adversary import CorpusAdversary
from training.checkpoint import load_checkpoint, save_checkpoint
from training.dataset import Batch, TrainingSet, label_of
from training.distributed import Ranks
from training.experiment import Experiment
from training.feature_cache import Example
from training.inference import as_tensors, predict_logits
from training.learner import Learner, can_judge
from training.logbook import Logbook, Row
from training.losses import Bank, Losses, loss_alone, training_loss
from training.metrics import negative_log_likelihood, unweighted_average_recall
from training.momentum import KeyEncoder, KeyQueue
from training.standardisation import fit_standardisation
from training.stopping import stop_signals
from training.systems import Network, network_of

CHECKPOINT_FILE: Final = "checkpoint.safetensors"
MOST_HALVINGS: Final = 2
"""Of the rate, where the schedule is ``plateau``."""

OnEpoch = Callable[[Row], None]
"""Called after each epoch with its figures."""


@dataclass(kw_only=True, slots=True)
class Progress:
    """Where a run stands; with the checkpoint's tensors, all that its rest depends on.

    epoch and batch say what comes next; losses are those of the epoch's batches so far.
    """

    epoch: int = 1
    batch: int = 0
    losses: list[list[float]] = field(default_factory=list)
    history: list[dict[str, float]] = field(default_factory=list)
    best_recall: float = -1.0
    best_epoch: int = 0
    halvings: int = 0


class Training:
    """One run. dev selects the epoch that is kept; without it the last one is."""

    def __init__(
        self,
        training_set: TrainingSet,
        *,
        dev: Sequence[Example] = (),
        experiment: Experiment,
        features: FeatureConfig,
        folder: Path | None = None,
        device: torch.device = torch.device("cpu"),
        ranks: Ranks = Ranks(),
        start: VcemoNetwork | None = None,
    ) -> None:
        """Prepare. folder: where checkpoint and curves are kept; None keeps nothing.

        start: a trained network to go on from, with the input statistics that its layers have learnt to expect.
        """
        self._set, self._dev = training_set, dev
        self._experiment, self._features = experiment, features
        self._folder, self._device, self._ranks = folder, device, ranks
        torch.manual_seed(experiment.seed)
        network = network_of(experiment.system_config)
        if start is None:
            fit_standardisation(network, [example.features for example in [*training_set.clips, *training_set.texts]])
        else:
            network.load_state_dict(start.state_dict())
        self.network = network.to(device)
        contrast = experiment.contrast
        self._adversary: CorpusAdversary | None = None
        if experiment.adversary:
            size = self.network.embedded_size
            self._adversary = CorpusAdversary(size, len(experiment.corpora), strength=experiment.adversary).to(device)
        self._learner = Learner(self.network, self._adversary, passes=2 if contrast.two_passes else 1)
        self._parallel: nn.Module = self._learner
        if ranks.world > 1:
            self._parallel = DistributedDataParallel(self._learner, find_unused_parameters=_leaves_some_out(experiment))
        self._keys: KeyEncoder | None = None
        self._queue: KeyQueue | None = None
        if contrast.alpha > 0 and contrast.queue_size:
            assert isinstance(self.network, VcemoNetwork)
            self._keys = KeyEncoder(self.network, momentum=contrast.momentum).to(device)
            self._queue = KeyQueue(contrast.queue_size, self.network.config.projection).to(device)
        self._optimiser = _optimiser(self._learner, experiment)
        self._scaler = torch.amp.GradScaler(device.type, enabled=experiment.precision == "float16")
        self._total_steps = training_set.steps_per_epoch() * experiment.epochs
        self._steps = 0
        self._best: dict[str, Tensor] = {}
        self.progress = Progress()

    def run(self, *, resume: bool = False, on_epoch: OnEpoch = lambda _: None) -> Network:
        """Train to the end; return the network, ready to predict.

        Raises:
            TrainingInterrupted: SIGTERM or SIGINT came; the checkpoint holds all that was done.
            CheckpointInvalid: there is a checkpoint to resume from, but not of this run.
        """
        # Seeded again: what was drawn since, for parts that a variant of this run lacks, must not matter.
        torch.manual_seed(self._experiment.seed + self._ranks.rank)
        if resume and self._folder is not None and self._checkpoint.is_file():
            self._restore()
        book = Logbook(self._folder, history=self.progress.history) if self._folder and self._ranks.is_first else None
        with stop_signals() as stop:
            while self.progress.epoch <= self._experiment.epochs and not self._is_out_of_patience():
                row = self._epoch(stop)
                if book is not None:
                    book.add(row)
                on_epoch(row)
        if book is not None:
            book.close()
        if self._best:
            self.network.load_state_dict(self._best)
        return self.network.eval()

    @property
    def _checkpoint(self) -> Path:
        assert self._folder is not None
        return self._folder / CHECKPOINT_FILE

    def _epoch(self, stop: threading.Event) -> Row:
        progress = self.progress
        self.network.train()
        for batch in islice(self._set.batches(progress.epoch), progress.batch, None):
            if len(batch.labels) >= self._ranks.world:
                progress.losses.append(self.step(batch))
            progress.batch += 1
            if self._ranks.any(stop.is_set(), self._device):
                self._save()
                where = f"epoch {progress.epoch}, batch {progress.batch}"
                raise TrainingInterrupted(f"stopped at {where}; --resume goes on from there", value=where)
        row = self._row()
        progress.history.append(row)
        progress.epoch, progress.batch, progress.losses = progress.epoch + 1, 0, []
        self._save()
        return row

    def step(self, batch: Batch) -> list[float]:
        """Descend once; return the loss, cross entropy and contrast of the batch."""
        self._optimiser.param_groups[0]["lr"] = self._learning_rate()
        self._optimiser.zero_grad()
        losses = self.losses(batch)
        self._scaler.scale(losses.total).backward()  # type: ignore[no-untyped-call]
        self._scaler.unscale_(self._optimiser)
        if self._experiment.max_gradient_value is not None:
            nn.utils.clip_grad_value_(self.network.parameters(), self._experiment.max_gradient_value)
        if self._experiment.max_gradient_norm is not None:
            nn.utils.clip_grad_norm_(self.network.parameters(), self._experiment.max_gradient_norm)
        self._scaler.step(self._optimiser)
        self._scaler.update()
        if self._keys is not None:
            assert isinstance(self.network, VcemoNetwork)
            self._keys.follow(self.network)
        self._steps += 1
        return [losses.total.item(), losses.cross_entropy.item(), losses.contrast.item()]

    def losses(self, batch: Batch) -> Losses:
        """Return the losses of a whole batch, of which this process computes its share of the rows."""
        experiment, rows = self._experiment, len(batch.labels)
        mine, shares = self._ranks.share(rows), self._ranks.shares(rows)
        inputs = {name: tensor[mine] for name, tensor in as_tensors(batch.inputs, device=self._device).items()}
        labels = torch.from_numpy(batch.labels).to(self._device)
        passes = 2 if experiment.contrast.two_passes else 1
        with torch.autocast(
            self._device.type, _DTYPES[experiment.precision], enabled=experiment.precision != "float32"
        ):
            logits, projected, judged, guessed = self._parallel(inputs)
            bank = self._bank(inputs, labels, shares)
        logits, projected, judged, guessed = (
            torch.cat([self._ranks.gather(part.float(), shares) for part in tensor.chunk(passes)])
            for tensor in (logits, projected, judged, guessed)
        )
        losses = training_loss(
            logits,
            projected,
            labels.repeat(passes),
            contrast=experiment.contrast,
            kind=experiment.loss,
            label_smoothing=experiment.label_smoothing,
            bank=bank,
        )
        return self._with_more(losses, batch, judged, guessed)

    def _with_more(self, losses: Losses, batch: Batch, judged: Tensor, guessed: Tensor) -> Losses:
        """Add what the parts by themselves and the adversary lose, where the experiment asks for it."""
        experiment, passes = self._experiment, 2 if self._experiment.contrast.two_passes else 1
        total = losses.total
        if self._adversary is not None:
            corpora = torch.from_numpy(batch.corpora).to(self._device).repeat(passes)
            if bool((corpora >= 0).any()):
                total = total + nn.functional.cross_entropy(guessed, corpora, ignore_index=-1)
        if not experiment.judged_alone or not judged.shape[1]:
            return replace(losses, total=total)
        labels = torch.from_numpy(batch.labels).to(self._device).repeat(passes)
        mask = torch.from_numpy(batch.inputs["modality_mask"]).to(self._device)
        teaches = torch.stack([can_judge(name, mask) for name in self.network.judges], dim=1).repeat(passes, 1)
        alone = loss_alone(judged, labels, teaches, label_smoothing=experiment.label_smoothing)
        return replace(losses, total=total + experiment.judged_alone * alone)

    def _bank(self, inputs: dict[str, Tensor], labels: Tensor, shares: Sequence[int]) -> Bank | None:
        """Contrast with the batch's keys and those before; the keys join the queue for later batches."""
        if self._keys is None or self._queue is None:
            return None
        keys = self._ranks.gather(self._keys(inputs).float(), shares)
        bank = self._queue.bank(keys, labels)
        self._queue.push(keys, labels)
        return bank

    def _row(self) -> dict[str, float]:
        progress = self.progress
        loss, cross_entropy, contrast = np.mean(progress.losses, axis=0).tolist()
        row: dict[str, float] = {"epoch": progress.epoch, "loss": loss, "cross_entropy": cross_entropy}
        row |= {"contrast": contrast, "learning_rate": self._optimiser.param_groups[0]["lr"]}
        if self._dev:
            names = self._experiment.emotions
            truth = np.array([names.index(label_of(example)) for example in self._dev])
            logits = predict_logits(self.network, [one.features for one in self._dev], config=self._features)
            recall = unweighted_average_recall(truth, logits.argmax(1))
            row |= {"dev_recall": recall, "dev_loss": negative_log_likelihood(calibrated(logits, 1.0), truth)}
            if recall > progress.best_recall:
                progress.best_recall, progress.best_epoch = recall, progress.epoch
                self._best = {name: tensor.detach().clone() for name, tensor in self.network.state_dict().items()}
            elif self._experiment.schedule == "plateau" and progress.halvings < MOST_HALVINGS:
                progress.halvings += 1
                self.network.load_state_dict(self._best)
        return row

    def _is_out_of_patience(self) -> bool:
        patience, progress = self._experiment.patience, self.progress
        return bool(patience and self._dev and progress.epoch - 1 - progress.best_epoch >= patience)

    def _learning_rate(self) -> float:
        """Warm up from nothing, then fall to nothing along a cosine, or stay."""
        experiment = self._experiment
        warmup = round(self._total_steps * experiment.warmup_share)
        if self._steps < warmup:
            return experiment.learning_rate * (self._steps + 1) / warmup
        if experiment.schedule != "cosine":
            return experiment.learning_rate * 0.5**self.progress.halvings
        done = (self._steps - warmup) / max(1, self._total_steps - warmup)
        return experiment.learning_rate * 0.5 * (1 + math.cos(math.pi * done))

    def modules(self) -> dict[str, nn.Module]:
        """Return all that a checkpoint keeps, by name: the network, and MoCo's key encoder and queue."""
        named = {"network": self.network, "keys": self._keys, "queue": self._queue, "adversary": self._adversary}
        return {name: module for name, module in named.items() if module is not None}

    def _save(self) -> None:
        if self._folder is None or not self._ranks.is_first:
            return
        facts = {
            "digest": self._experiment.digest,
            "steps": self._steps,
            "progress": asdict(self.progress),
            "scaler": self._scaler.state_dict(),
        }
        save_checkpoint(
            self._checkpoint, modules=self.modules(), optimiser=self._optimiser, facts=facts, tensors=self._best
        )

    def _restore(self) -> None:
        facts, self._best = load_checkpoint(self._checkpoint, modules=self.modules(), optimiser=self._optimiser)
        self._steps = facts["steps"]
        self.progress = Progress(**facts["progress"])
        if facts["scaler"]:
            self._scaler.load_state_dict(facts["scaler"])
        if not self._ranks.is_first:
            # The random state kept is the first process's: the others must not draw the same dropout.
            torch.manual_seed(self._experiment.seed + self._ranks.rank + self._ranks.world * self._steps)


_DTYPES: Final = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def _leaves_some_out(experiment: Experiment) -> bool:
    """Whether some parameters get no gradient: of the projector, of encoders left out, of judges nobody asks."""
    return (
        experiment.contrast.alpha == 0
        or experiment.preset == "whisper"
        or bool({"modalities", "pooling", "text_branch"} & set(experiment.network))
    )


def _optimiser(learner: Learner, experiment: Experiment) -> torch.optim.Optimizer:
    kind = torch.optim.Adam if experiment.optimiser == "adam" else torch.optim.AdamW
    return kind(learner.parameters(), lr=experiment.learning_rate, weight_decay=experiment.weight_decay)
