from dataclasses import fields, replace
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from training.corpora.catalog import CORPORA
from training.experiment import Contrast, Experiment, Protocol, load_experiment
from training.frames import FrameConfig

COMMITTED = sorted(
    item.name.removesuffix(".toml")
    for item in (resources.files("training") / "experiments").iterdir()
    if item.name.endswith(".toml")
)
# Every field, with another value than its default.
CHANGES: dict[str, Any] = {
    "name": "other",
    "preset": "paper",
    "network": {"width": 48},
    "corpora": {"casia": 1},
    "features": {"speech": {"language": "en"}},
    "protocol": Protocol(dev="own"),
    "copy_probability": 0.5,
    "copies_of": "recording",
    "judged_alone": 1.0,
    "text_balance": 0.5,
    "conditions": ("telephone",),
    "misheard_probability": 0.5,
    "adversary": 0.5,
    "known_speaker_probability": 0.5,
    "labels": 4,
    "text": "gold",
    "augmentation": ("noise",),
    "text_corpora": ("ewect",),
    "texts_per_clip": 1.0,
    "max_clips": 9,
    "epochs": 3,
    "batch_size": 8,
    "learning_rate": 1e-3,
    "weight_decay": 0.0,
    "warmup_share": 0.2,
    "label_smoothing": 0.0,
    "contrast": Contrast(alpha=1.0),
    "patience": 3,
    "optimiser": "adam",
    "schedule": "constant",
    "max_gradient_norm": None,
    "shuffle_labels": True,
    "precision": "bfloat16",
    "own_text_probability": 0.4,
    "paired_text_probability": 0.1,
    "time_mask_share": 0.0,
    "seed": 1,
    "system": "mdre",
    "frames": FrameConfig(kind="fbank"),
    "max_gradient_value": 10.0,
    "loss": "sigmoid",
}
OF_OTHER_SYSTEMS = ("system", "frames")
"""Which VCEMO's network refuses, or which refuse its contrast."""


@pytest.mark.parametrize("name", COMMITTED)
def test_every_committed_experiment_names_itself_and_known_corpora(name: str) -> None:
    experiment = load_experiment(name)
    assert experiment.name == name
    assert {*experiment.corpora, *experiment.text_corpora, experiment.protocol.corpus} <= set(CORPORA)
    # What fine-tuning hears comes with the command.
    assert not experiment.corpora or experiment.protocol.corpus in experiment.corpora
    assert experiment.network_config.preset == experiment.preset


def test_an_experiment_is_read_from_a_path_as_well(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('name = "mine"\ntext_corpora = ["ewect"]\n[network]\nconv_channels = [4, 4, 4]\n')
    experiment = load_experiment(str(path))
    assert experiment == Experiment(name="mine", text_corpora=("ewect",), network={"conv_channels": [4, 4, 4]})
    assert experiment.network_config.conv_channels == (4, 4, 4)


@pytest.mark.parametrize("name", ["huge", "no/such.toml", "../default"])
def test_an_unknown_experiment_lists_the_known_ones(name: str) -> None:
    with pytest.raises(ValueError, match=r"no experiment .*; known: cme, default, .*tiny"):
        load_experiment(name)


def test_an_unknown_field_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("epoch = 3\nlearnrate = 1\n[network]\nwidht = 3\n")
    with pytest.raises(ValueError, match=r"epoch: Unexpected keyword.*learnrate: Unexpected keyword"):
        load_experiment(str(path))
    with pytest.raises(ValueError, match=r"network has unknown fields widht; known are"):
        load_experiment("default", overrides=["network.widht=3"])
    with pytest.raises(ValueError, match=r"contrast\.alfa"):
        load_experiment("default", overrides=["contrast.alfa=3"])
    with pytest.raises(ValueError, match=r"features has no room 'sound'"):
        load_experiment("default", overrides=["features.sound.x=3"])
    with pytest.raises(ValueError, match=r"features\.speech has unknown fields lang"):
        load_experiment("default", overrides=["features.speech.lang='en'"])


def test_the_command_line_changes_any_field_and_keeps_its_type() -> None:
    overrides = ["epochs=3", "contrast.alpha=0", "augmentation=['noise']", "network.width=32", "name=mine"]
    experiment = load_experiment("default", overrides=[*overrides, "features.speech.language=en"])
    assert (experiment.epochs, experiment.contrast.alpha, experiment.augmentation) == (3, 0.0, ("noise",))
    assert (experiment.network_config.width, experiment.name) == (32, "mine")
    assert experiment.feature_config.speech.language == "en"


@pytest.mark.parametrize("override", ["epochs", "=3", "epochs.x=3", "epochs=many", "labels=5", "contrast.momentum=2"])
def test_an_override_that_cannot_be_is_refused(override: str) -> None:
    with pytest.raises(ValueError, match=r"key=value|holds no fields|epochs|labels|contrast\.momentum"):
        load_experiment("tiny", overrides=[override])


def test_four_labels_are_a_part_of_the_six_and_size_the_network() -> None:
    experiment = Experiment(labels=4)
    assert experiment.emotions == ("angry", "happy", "neutral", "sad")
    assert experiment.network_config.num_classes == 4


def test_the_network_is_sized_by_the_features_it_reads() -> None:
    experiment = Experiment(features={"words": {"dimension": 300}, "mel": {"num_mels": 40}})
    assert (experiment.network_config.word_dimension, experiment.network_config.num_mels) == (300, 40)


def test_a_file_that_is_no_toml_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("epochs: 3\n")
    with pytest.raises(ValueError, match="line 1"):
        load_experiment(str(path))


@pytest.mark.parametrize(
    "changes",
    [{"epochs": 0}, {"batch_size": 1}, {"own_text_probability": 0.9, "paired_text_probability": 0.2}, {"patience": 3}],
)
def test_a_run_that_cannot_be_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"epochs|batch_size|more than 1|patience"):
        Experiment(**changes)


@pytest.mark.parametrize("name", [each.name for each in fields(Experiment)])
def test_every_choice_changes_the_digest(name: str) -> None:
    base = Experiment(protocol=Protocol(dev="own")) if name == "patience" else Experiment()
    if name in OF_OTHER_SYSTEMS:
        base = Experiment(system="cme", contrast=Contrast(alpha=0))
    assert replace(base, **{name: CHANGES[name]}).digest != base.digest


def test_the_digest_of_the_same_choices_is_the_same(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('name = "mine"\n[network]\nconv_channels = [4, 4, 4]\n[corpora]\nnemo = 1\ncasia = 1\n')
    same = Experiment(name="mine", network={"conv_channels": (4, 4, 4)}, corpora={"casia": 1, "nemo": 1})
    assert load_experiment(str(path)).digest == same.digest
    assert len(same.digest) == 12


def test_a_corpus_left_out_has_no_dev_part_of_its_own() -> None:
    with pytest.raises(ValueError, match="leaves nobody to be a dev part"):
        Experiment(protocol=Protocol(kind="corpus", dev="own"))
    assert Experiment(protocol=Protocol(kind="corpus", dev="test"), patience=3).patience == 3


@pytest.mark.parametrize(
    "name", ["copy_probability", "known_speaker_probability", "text_balance", "misheard_probability"]
)
def test_a_share_above_one_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        load_experiment("default", overrides=[f"{name}=1.5"])


def test_the_network_counts_ngrams_in_as_many_buckets_as_the_features_do() -> None:
    experiment = load_experiment("default", overrides=["features.ngrams.buckets=1024"])
    assert experiment.network_config.ngram_buckets == experiment.feature_config.ngrams.buckets == 1024


def test_an_override_of_nothing_puts_the_default_back() -> None:
    assert load_experiment("umons").patience == 3
    assert load_experiment("umons", overrides=["patience="]).patience is None
