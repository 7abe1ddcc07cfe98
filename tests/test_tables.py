"""The paper's tables on drawn examples: what is run, what is kept, what is printed."""

import argparse
import csv
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drawn_features import drawn_example, drawn_features
from rich.console import Console

from model.assets import AssetStore
from model.errors import TableIncomplete, TrainingInterrupted
from model.labels import EMOTIONS, FOUR_EMOTIONS
from training.__main__ import main
from training.collation import HeardFeatures
from training.experiment import Experiment
from training.feature_cache import Example
from training.frames import PROSODY_DIMENSION
from training.protocols import Corpora
from training.tables.cells import ALONE_FILE, Cell, cells_of, run_cells
from training.tables.commands import fill_table
from training.tables.filled_table import FilledTable, filled
from training.tables.paper_tables import TABLES
from training.tables.written_table import markdown
from training.workshop import Workshop

TINY = (
    "epochs=1",
    "batch_size=16",
)
TINY_NETWORK: dict[str, dict[str, Any]] = {
    "vcemo": {
        "width": 8,
        "heads": 2,
        "layers": 1,
        "fusion_steps": 4,
        "conv_channels": (2, 2, 2),
        "conv_time_strides": (4, 2, 2),
    },
    "xu2019": {"audio_projection": 8, "hidden": 8, "heads": 2},
    "umons": {"width": 8, "heads": 2, "blocks": 1, "steps": 6},
    "mha2": {"hidden": 8},
    "mdre": {"hidden": 8},
    "cme": {"channels": (4, 4, 4), "hidden": 8},
    "probe": {},
}


def drawn(labels: tuple[str, ...], dimension: int) -> list[Example]:
    generator = np.random.default_rng(0)
    examples = []
    for speaker in ("agnes", "berta"):
        for number in range(2 * len(labels)):
            one = drawn_features(generator, frames=20, words=3)
            given = {name: getattr(one, name) for name in ("states", "words", "sentence", "ngrams")}
            mel = generator.normal(size=(20, dimension)).astype(np.float32)
            features = HeardFeatures(mel=mel, **given, prosody=np.zeros(PROSODY_DIMENSION, np.float32))
            emotion = labels[number % len(labels)]
            examples.append(drawn_example(features, key=f"{speaker}-{number}", speaker=speaker, emotion=emotion))
    return examples


@dataclass(frozen=True, kw_only=True, slots=True)
class DrawnWorkshop(Workshop):
    """A workshop whose corpora are drawn; the rest is real."""

    def corpora(self) -> Corpora:
        experiment = self.experiment
        clips = drawn(experiment.emotions, experiment.input_config.mel.num_mels)
        if experiment.system == "vcemo":
            clips = [replace(clip, features=drawn_features(np.random.default_rng(k))) for k, clip in enumerate(clips)]
        return Corpora(clips=clips)


@pytest.fixture
def workshop(tmp_path: Path, assets: AssetStore) -> DrawnWorkshop:
    console = Console(stderr=True, force_terminal=False)
    options: dict[str, Any] = {"data": tmp_path, "cache": tmp_path / "cache", "assets": assets, "threads": 1}
    return DrawnWorkshop(experiment=Experiment(), console=console, **options)


def tiny_cells(number: int, *titles: str) -> list[Cell]:
    cells = cells_of(TABLES[number], corpus="casia", small=False, overrides=TINY)  # type: ignore[index]
    return [
        replace(cell, experiment=replace(cell.experiment, network=TINY_NETWORK[cell.experiment.system] | read(cell)))
        for cell in cells
        if not titles or cell.row.title in titles
    ]


def read(cell: Cell) -> dict[str, Any]:
    return {name: value for name, value in cell.experiment.network.items() if name == "modalities"}


def files(workshop: Workshop) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in workshop.cache.rglob(ALONE_FILE)}


def table_of(workshop: Workshop, number: int, cells: list[Cell], **options: Any) -> FilledTable:
    results, _ = run_cells(workshop, cells, **({"seeds": 1, "jobs": 1} | options))
    return filled(TABLES[number], results, corpus="casia", protocol="drawn", command="nothing")  # type: ignore[index]


def test_every_system_of_table_1_is_trained_on_the_same_folds(workshop: DrawnWorkshop) -> None:
    table = table_of(workshop, 1, [cell for cell in tiny_cells(1) if cell.experiment.labels == 4])
    assert len(table.cells) == 8
    for cell in table.cells:
        assert (cell.runs, cell.missing, cell.clips) == (2, 0, 4 * cell.labels)
        assert 0 <= cell.measured["accuracy"].low <= cell.measured["accuracy"].high <= 1
        assert (cell.against is None) == (cell.row.title == "Ours")
    assert len(files(workshop)) == 8 * 2


def test_a_table_that_was_interrupted_goes_on_and_keeps_what_it_had(
    workshop: DrawnWorkshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells = tiny_cells(3, "Embeddings", "BERT", "Embeddings + BERT + Acoustic")[:2]
    network, calls = Workshop.network, 0

    def stopped(self: Workshop, *given: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 4:
            raise TrainingInterrupted("asked to stop")
        return network(self, *given, **options)

    monkeypatch.setattr(Workshop, "network", stopped)
    with pytest.raises(TrainingInterrupted):
        run_cells(workshop, cells, seeds=1, jobs=1)
    before = files(workshop)
    assert len(before) == 3
    whole, half = table_of(workshop, 3, cells, trains=False).cells
    assert (whole.missing, half.missing, half.status) == (0, 1, "1 of 2 runs missing")
    assert calls == 4
    table = table_of(workshop, 3, tiny_cells(3, "Embeddings", "BERT", "Embeddings + BERT + Acoustic"))
    assert all(not cell.missing for cell in table.cells)
    assert calls == 4 + 1 + 2
    assert {path: when for path, when in files(workshop).items() if path in before} == before


def test_a_run_that_fails_loses_neither_the_others_nor_its_reason(
    workshop: DrawnWorkshop, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    network = Workshop.network

    def failing(self: Workshop, corpora: Any, fold: Any, **options: Any) -> Any:
        if self.experiment.system == "mdre" and fold.name == "berta":
            raise RuntimeError("out of something")
        return network(self, corpora, fold, **options)

    monkeypatch.setattr(Workshop, "network", failing)
    monkeypatch.setattr("training.tables.commands.cells_of", lambda *_, **__: tiny_cells(1, "Ours", "MDRE (Yoon 2018)"))
    options = argparse.Namespace(
        number=1,
        corpus="casia",
        small=False,
        set=[],
        seeds=1,
        jobs=1,
        out=tmp_path / "tables",
        classes=None,
        recall=False,
    )
    with pytest.raises(TableIncomplete, match="2 failed"):
        fill_table(options, workshop)
    reasons = (tmp_path / "tables/table1-casia.failures.txt").read_text()
    assert "== MDRE (Yoon 2018), 4 classes, seed 0, berta" in reasons
    assert "RuntimeError: out of something" in reasons
    with (tmp_path / "tables/table1-casia.csv").open() as file:
        rows = {(row["system"], row["classes"], row["figure"]): row for row in csv.DictReader(file)}
    assert rows["MDRE (Yoon 2018)", "4", "accuracy"]["status"] == "1 of 2 runs missing"
    assert rows["MDRE (Yoon 2018)", "4", "accuracy"]["value"] == ""
    assert float(rows["Ours", "4", "accuracy"]["value"]) >= 0
    assert rows["Ours", "6", "weighted_f1"]["paper"] == "0.6454"
    assert (tmp_path / "tables/table1-casia.png").stat().st_size > 10_000

    monkeypatch.setattr(Workshop, "network", network)
    fill_table(options, workshop)
    assert not (tmp_path / "tables/table1-casia.failures.txt").exists()


def test_a_table_says_what_the_paper_printed_and_where_it_slipped(workshop: DrawnWorkshop) -> None:
    text = markdown(table_of(workshop, 3, tiny_cells(3, "BERT", "Embeddings + BERT + Acoustic"), seeds=2))
    (last,) = (line for line in text.splitlines() if line.startswith("| Embeddings + BERT + Acoustic |"))
    assert "| .670 |" in last
    assert "copy error" in text
    assert "16 clips of 4 classes; 2 seeds" in text


def test_each_row_is_the_experiment_it_says(capsys: pytest.CaptureFixture[str]) -> None:
    cells = {cell.name: cell.experiment for cell in cells_of(TABLES[1], corpus="casia", small=True)}
    assert cells["Ours (SupCon), 4 classes"].contrast.alpha == 0.1
    assert cells["Ours, 6 classes"].contrast.alpha == 0
    assert cells["UMONS, 4 classes"].emotions == FOUR_EMOTIONS
    assert cells["UMONS, 6 classes"].emotions == EMOTIONS
    assert cells["MDRE (Yoon 2018), 6 classes"].patience is None, "of three speakers nobody is left to select"
    assert {one.protocol.kind for one in cells.values()} == {"speakers"}
    of_paired = cells_of(TABLES[2], corpus="paired", small=False)
    assert {(cell.experiment.protocol.kind, cell.experiment.protocol.dev) for cell in of_paired} == {
        ("sessions", "own")
    }
    assert of_paired[-1].experiment.contrast.two_passes
    on_iemocap = cells_of(TABLES[2], corpus="iemocap", small=False)
    assert {cell.experiment.feature_config.speech.language for cell in on_iemocap} == {"en"}
    assert main(["table", "3", "--corpus", "casia", "--classes", "6"]) == 1
    assert "no part of 6 classes" in capsys.readouterr().err


def test_what_makes_a_table_small_changes_only_fields_that_there_are() -> None:
    for number, table in TABLES.items():
        large, small = (cells_of(TABLES[number], corpus="paired", small=small) for small in (False, True))
        assert len(large) == len(small) == len(table.rows) * len(table.labels)
        assert all(one.experiment.digest != other.experiment.digest for one, other in zip(large, small, strict=True))
