import csv
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from drawn_features import FEATURES, PRESETS, SMALL, drawn_example, drawn_features

from model.errors import CheckpointInvalid, TrainingInterrupted
from model.features import Features
from model.labels import EMOTIONS
from model.network import VcemoNetwork
from training.dataset import TrainingSet
from training.experiment import Contrast, Experiment, Protocol
from training.feature_cache import Example
from training.inference import predict_logits
from training.learner import can_judge
from training.logbook import CURVES_FILE, Row
from training.systems import Network
from training.trainer import CHECKPOINT_FILE, MOST_HALVINGS, Training

EXPERIMENT = Experiment(
    network=SMALL | {"input_dropout": 0.0}, corpora={"casia": 1}, epochs=2, batch_size=16, learning_rate=3e-3
)
EVERYTHING_ON = Contrast(alpha=1.0, temperature=0.5, queue_size=40, momentum=0.9, two_passes=True)


@pytest.fixture(scope="module")
def learnable() -> list[Example]:
    """Clips whose features are shifted by their label."""
    return drawn_clips(48)


def drawn_clips(count: int, *, seed: int = 0) -> list[Example]:
    generator = np.random.default_rng(seed)
    return [
        drawn_example(drawn_features(generator, shift=1.0 * (index % 6)), key=str(index), emotion=EMOTIONS[index % 6])
        for index in range(count)
    ]


def prepared(
    clips: list[Example],
    *,
    texts: tuple[Example, ...] = (),
    dev: list[Example] | None = None,
    folder: Path | None = None,
    **changes: Any,
) -> Training:
    experiment = replace(EXPERIMENT, **changes)
    training_set = TrainingSet(clips, texts, experiment=experiment, features=FEATURES)
    return Training(training_set, dev=dev or [], experiment=experiment, features=FEATURES, folder=folder)


def trained(clips: list[Example], **changes: Any) -> tuple[Network, list[float]]:
    losses: list[float] = []
    network = prepared(clips, **changes).run(on_epoch=lambda row: losses.append(row["loss"]))
    return network, losses


def features_of(examples: list[Example]) -> list[Features]:
    return [example.features for example in examples]


@pytest.mark.parametrize("contrast", [Contrast(), EVERYTHING_ON], ids=["in the batch", "queue and two passes"])
@pytest.mark.parametrize("preset", PRESETS)
def test_the_loss_falls_and_the_labels_are_learnt(learnable: list[Example], preset: str, contrast: Contrast) -> None:
    network, losses = trained(learnable, preset=preset, epochs=24, contrast=contrast)
    assert len(losses) == 24
    assert losses[-1] < 0.9 * losses[0]
    predicted = predict_logits(network, features_of(learnable), config=FEATURES).argmax(1)
    assert (predicted == np.arange(48) % 6).mean() > 0.8


def test_the_same_seed_trains_the_same_network(learnable: list[Example]) -> None:
    texts = (drawn_example(drawn_features(np.random.default_rng(1), frames=0), key="text"),)
    first, again, other = (trained(learnable, texts=texts, epochs=1, seed=seed)[0].state_dict() for seed in (5, 5, 6))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_the_network_comes_ready_to_predict(learnable: list[Example]) -> None:
    network, _ = trained(learnable, epochs=1)
    assert not network.training


def test_the_learning_rate_warms_up_and_then_falls_to_nothing(learnable: list[Example]) -> None:
    training = prepared(learnable, epochs=20, learning_rate=1.0, warmup_share=0.2)
    rates = []
    for step in range(60):
        training._steps = step
        rates.append(training._learning_rate())
    assert rates[:12] == pytest.approx([(step + 1) / 12 for step in range(12)])
    assert rates[12:] == sorted(rates[12:], reverse=True)
    assert rates[-1] < 0.01


def test_a_constant_rate_stays(learnable: list[Example]) -> None:
    training = prepared(learnable, schedule="constant", warmup_share=0.0)
    training._steps = 3
    assert training._learning_rate() == EXPERIMENT.learning_rate


def test_the_epoch_that_is_best_on_the_dev_part_is_kept_and_patience_ends_the_run(learnable: list[Example]) -> None:
    rows: list[Row] = []
    dev = drawn_clips(24, seed=1)
    training = prepared(learnable, dev=dev, epochs=40, patience=2, protocol=Protocol(dev="own"))
    network = training.run(on_epoch=rows.append)
    recalls = [row["dev_recall"] for row in rows]
    best = int(np.argmax(recalls))
    assert len(rows) == best + 3 < 40
    predicted = predict_logits(network, features_of(dev), config=FEATURES).argmax(1)
    assert np.mean([(predicted[np.arange(24) % 6 == k] == k).mean() for k in range(6)]) == pytest.approx(recalls[best])


class Killed(Exception):
    """What stands for kill -9: nothing of the run gets a chance to write."""


def curves(folder: Path) -> list[dict[str, str]]:
    with (folder / CURVES_FILE).open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("killed_at", [1, 3])
def test_a_run_that_was_killed_goes_on_as_if_nothing_had_happened(
    learnable: list[Example], tmp_path: Path, killed_at: int
) -> None:
    options: dict[str, Any] = {"epochs": 5, "contrast": EVERYTHING_ON, "dev": drawn_clips(12, seed=1)}
    options |= {"protocol": Protocol(dev="own"), "corpora": {"casia": 1, "nemo": 1}, "adversary": 0.5}
    options |= {"known_speaker_probability": 0.5, "judged_alone": 1.0}
    whole = prepared(learnable, folder=tmp_path / "whole", **options).run().state_dict()
    folder = tmp_path / "killed"

    dying = prepared(learnable, folder=folder, **options)
    step, steps = dying.step, 0

    def until_killed(batch: Any) -> list[float]:
        nonlocal steps
        steps += 1
        if steps == 3 * killed_at + 2:
            raise Killed
        return step(batch)

    dying.step = until_killed  # type: ignore[method-assign]
    with pytest.raises(Killed):
        dying.run()
    assert len(curves(folder)) == killed_at

    torch.manual_seed(99)  # another process has drawn other numbers
    resumed = prepared(learnable, folder=folder, **options).run(resume=True).state_dict()
    assert curves(folder) == curves(tmp_path / "whole")
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_sigterm_stops_between_batches_and_loses_no_batch(learnable: list[Example], tmp_path: Path) -> None:
    whole = prepared(learnable, folder=tmp_path / "whole", epochs=3).run().state_dict()
    folder = tmp_path / "stopped"
    stopped = prepared(learnable, folder=folder, epochs=3)
    step, steps = stopped.step, 0

    def with_a_signal(batch: Any) -> list[float]:
        nonlocal steps
        steps += 1
        if steps == 5:
            os.kill(os.getpid(), signal.SIGTERM)
        return step(batch)

    stopped.step = with_a_signal  # type: ignore[method-assign]
    handler = signal.getsignal(signal.SIGTERM)
    with pytest.raises(TrainingInterrupted, match="epoch 2, batch 2"):
        stopped.run()
    assert signal.getsignal(signal.SIGTERM) is handler

    rest = prepared(learnable, folder=folder, epochs=3)
    step_of_rest, steps = rest.step, 0

    def counted(batch: Any) -> list[float]:
        nonlocal steps
        steps += 1
        return step_of_rest(batch)

    rest.step = counted  # type: ignore[method-assign]
    resumed = rest.run(resume=True).state_dict()
    assert steps == 9 - 5
    assert curves(folder) == curves(tmp_path / "whole")
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_without_resume_a_run_starts_over(learnable: list[Example], tmp_path: Path) -> None:
    first = prepared(learnable, folder=tmp_path, epochs=2).run().state_dict()
    again = prepared(learnable, folder=tmp_path, epochs=2).run().state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert len(curves(tmp_path)) == 2


def test_the_checkpoint_of_another_network_is_refused(learnable: list[Example], tmp_path: Path) -> None:
    prepared(learnable, folder=tmp_path, epochs=1).run()
    other = prepared(learnable, folder=tmp_path, network=SMALL | {"width": 32})
    with pytest.raises(CheckpointInvalid, match="no checkpoint of this run"):
        other.run(resume=True)
    (tmp_path / CHECKPOINT_FILE).write_bytes(b"half a file")
    with pytest.raises(CheckpointInvalid):
        prepared(learnable, folder=tmp_path).run(resume=True)


def test_half_precision_trains_as_well(learnable: list[Example]) -> None:
    network, losses = trained(learnable, precision="bfloat16", epochs=4)
    assert losses[-1] < losses[0]
    assert next(network.parameters()).dtype == torch.float32


def test_a_plateau_goes_back_to_the_best_epoch_and_halves_the_rate_twice(learnable: list[Example]) -> None:
    rows: list[Row] = []
    training = prepared(
        learnable,
        dev=drawn_clips(24, seed=1),
        epochs=12,
        protocol=Protocol(dev="own"),
        schedule="plateau",
        warmup_share=0.0,
    )
    rates = [EXPERIMENT.learning_rate]
    best, halvings = -1.0, 0
    training.run(on_epoch=rows.append)
    for row in rows:
        assert row["learning_rate"] == pytest.approx(rates[-1])
        halvings += row["dev_recall"] <= best and halvings < MOST_HALVINGS
        best = max(best, row["dev_recall"])
        rates.append(EXPERIMENT.learning_rate * 0.5**halvings)
    assert halvings == training.progress.halvings > 0


def test_a_gradient_that_is_clipped_by_value_moves_the_network_otherwise(learnable: list[Example]) -> None:
    free, clipped = (
        trained(learnable, epochs=1, max_gradient_norm=None, max_gradient_value=value, optimiser="adam")[0]
        for value in (None, 1e-9)
    )
    weights = {name: (one, dict(clipped.named_parameters())[name]) for name, one in free.named_parameters()}
    assert any(not torch.equal(*pair) for pair in weights.values())


def test_augmented_copies_and_originals_are_shown_alike(learnable: list[Example]) -> None:
    copies = [replace(clip, variant="noise") for clip in learnable[:16]]
    assert prepared([*learnable, *copies])._set.steps_per_epoch() == 4


def test_sound_teaches_its_judge_wherever_it_is_and_text_only_where_there_is_no_sound() -> None:
    """Columns of the mask: sound, words, sentence. A read text carries the label of the voice, not its own."""
    mask = torch.tensor([[1.0, 1, 1], [1, 0, 0], [0, 1, 1], [0, 0, 1]])
    found = {part: can_judge(part, mask).tolist() for part in ("sound", "words", "sentence", "ngrams")}
    assert found == {
        "sound": [True, True, False, False],
        "words": [False, False, True, False],
        "sentence": [False, False, True, True],
        "ngrams": [False, False, True, True],
    }


@pytest.mark.parametrize("contrast", [Contrast(), EVERYTHING_ON], ids=["in the batch", "queue and two passes"])
def test_parts_learn_to_judge_alone_where_they_are_asked_to(learnable: list[Example], contrast: Contrast) -> None:
    texts = tuple(
        drawn_example(drawn_features(np.random.default_rng(k), frames=0), key=f"t{k}", emotion=EMOTIONS[k % 6])
        for k in range(12)
    )

    def judges(weight: float) -> dict[str, torch.Tensor]:
        network, _ = trained(learnable, texts=texts, epochs=1, judged_alone=weight, contrast=contrast)
        return {name: value for name, value in network.state_dict().items() if name.startswith("judges.")}

    untaught, taught = judges(0.0), judges(1.0)
    torch.manual_seed(EXPERIMENT.seed)
    born = VcemoNetwork(EXPERIMENT.network_config).state_dict()
    assert set(taught) >= {"judges.sound.1.weight", "judges.words.1.weight", "judges.ngrams.1.weight"}
    for name in taught:
        assert torch.equal(untaught[name], born[name]), name
        assert not torch.equal(taught[name], born[name]), name


def test_a_network_without_parts_trains_though_they_are_asked_to_judge(learnable: list[Example]) -> None:
    network, losses = trained(learnable, preset="paper", epochs=2, judged_alone=1.0)
    assert not list(network.judges)
    assert losses[-1] < losses[0]


def test_everything_that_the_default_experiment_turns_on_trains_together(learnable: list[Example]) -> None:
    copies = [replace(clip, variant="telephone") for clip in learnable]
    options: dict[str, Any] = {"copy_probability": 0.5, "known_speaker_probability": 0.5, "judged_alone": 1.0}
    _, losses = trained([*learnable, *copies], epochs=6, **options)
    assert losses[-1] < losses[0]
