from dataclasses import fields, replace
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from training.corpora.catalog import CORPORA
from training.experiment import Experiment, load_experiment

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
    "text_corpora": ("ewect",),
    "texts_per_clip": 1.0,
    "test_corpus": "nemo",
    "max_clips": 9,
    "epochs": 3,
    "batch_size": 8,
    "learning_rate": 1e-3,
    "weight_decay": 0.0,
    "warmup_share": 0.2,
    "label_smoothing": 0.0,
    "contrast_alpha": 1.0,
    "contrast_temperature": 0.5,
    "own_text_probability": 0.4,
    "paired_text_probability": 0.1,
    "time_mask_share": 0.0,
    "seed": 1,
}


@pytest.mark.parametrize("name", COMMITTED)
def test_every_committed_experiment_names_itself_and_known_corpora(name: str) -> None:
    experiment = load_experiment(name)
    assert experiment.name == name
    assert {*experiment.corpora, *experiment.text_corpora, experiment.test_corpus} <= set(CORPORA)
    assert experiment.test_corpus in experiment.corpora
    assert experiment.network_config.preset == experiment.preset


def test_an_experiment_is_read_from_a_path_as_well(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('name = "mine"\ntext_corpora = ["ewect"]\n[network]\nconv_channels = [4, 4, 4]\n')
    experiment = load_experiment(str(path))
    assert experiment == Experiment(name="mine", text_corpora=("ewect",), network={"conv_channels": [4, 4, 4]})
    assert experiment.network_config.conv_channels == (4, 4, 4)


@pytest.mark.parametrize("name", ["huge", "no/such.toml", "../default"])
def test_an_unknown_experiment_lists_the_known_ones(name: str) -> None:
    with pytest.raises(ValueError, match=r"no experiment .*; known: default, .*tiny"):
        load_experiment(name)


def test_an_unknown_field_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("epoch = 3\nlearnrate = 1\n[network]\nwidht = 3\n")
    with pytest.raises(ValueError, match=r"unknown fields: epoch, learnrate, network\.widht"):
        load_experiment(str(path))


def test_a_file_that_is_no_toml_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("epochs: 3\n")
    with pytest.raises(ValueError, match="line 1"):
        load_experiment(str(path))


@pytest.mark.parametrize(
    "changes", [{"epochs": 0}, {"batch_size": 1}, {"own_text_probability": 0.9, "paired_text_probability": 0.2}]
)
def test_a_run_that_cannot_be_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"epochs 0|batch_size 1|more than 1"):
        Experiment(**changes)


@pytest.mark.parametrize("name", [each.name for each in fields(Experiment)])
def test_every_choice_changes_the_digest(name: str) -> None:
    assert replace(Experiment(), **{name: CHANGES[name]}).digest != Experiment().digest


def test_the_digest_of_the_same_choices_is_the_same(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('name = "mine"\n[network]\nconv_channels = [4, 4, 4]\n[corpora]\nnemo = 1\ncasia = 1\n')
    same = Experiment(name="mine", network={"conv_channels": (4, 4, 4)}, corpora={"casia": 1, "nemo": 1})
    assert load_experiment(str(path)).digest == same.digest
    assert len(same.digest) == 12
