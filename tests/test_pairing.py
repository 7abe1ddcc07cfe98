"""The label-paired corpus and a table on it, from recordings and posts to files, through the command line."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import soundfile
from rich.console import Console

from model.assets import AssetStore
from model.labels import FOUR_EMOTIONS
from training.__main__ import main
from training.corpora.paired import PAIRED
from training.experiment import load_experiment
from training.tables.cells import ALONE_FILE
from training.workshop import Workshop

RATE_HZ = 16_000
TINY = ("epochs=1", "network.width=8", "network.heads=2", "network.layers=1", "network.fusion_steps=4")


def write_manifest(path: Path, rows: list[dict[str, str]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8")


@pytest.fixture(scope="module")
def folders(
    tmp_path_factory: pytest.TempPathFactory, assets: AssetStore, recordings: Mapping[str, npt.NDArray[np.float32]]
) -> list[str]:
    """Three speakers of each corpus say one thing in four emotions; there are three posts of each emotion for each."""
    root = tmp_path_factory.mktemp("paired")
    (root / "cache").mkdir()
    (root / "cache/assets").symlink_to(assets.cache / "assets")
    speech = recordings["first_in_line"]
    for corpus in ("casia", "nemo"):
        rows = []
        for number, speaker in enumerate(("a", "b", "c")):
            for emotion in FOUR_EMOTIONS:
                name = f"{speaker}-{emotion}"
                path = root / "data" / corpus / f"{name}.wav"
                path.parent.mkdir(parents=True, exist_ok=True)
                start = int(0.2 * number * RATE_HZ)
                soundfile.write(path, speech[start : start + RATE_HZ], RATE_HZ)
                # Foreign, so that nothing is transcribed.
                rows.append({"key": f"{corpus}/{name}", "audio": path.name, "emotion": emotion, "speaker": speaker})
                rows[-1]["language"] = "pl"
        write_manifest(root / "data" / corpus / "manifest.jsonl", rows)
    for part in ("virus_train", "usual_train", "virus_extra"):
        posts = [
            {"key": f"ewect/{part}-{emotion}-{index}", "text": f"今天{index}点{part}{emotion}", "emotion": emotion}
            for emotion in FOUR_EMOTIONS
            for index in range(6)
        ]
        write_manifest(root / "data/ewect" / f"{part}.jsonl", [post | {"language": "zh"} for post in posts])
    return ["--data", str(root / "data"), "--cache", str(root / "cache")]


def workshop(folders: list[str], name: str) -> Workshop:
    cache = Path(folders[3])
    return Workshop(
        experiment=load_experiment(name),
        data=Path(folders[1]),
        cache=cache,
        assets=AssetStore(cache),
        threads=1,
        console=Console(stderr=True, force_terminal=False),
    )


def test_pairs_have_the_sound_of_one_and_the_words_of_the_other(folders: list[str]) -> None:
    """As CME hears them: with word times, which are in proportion, for nobody says these words."""
    corpora = workshop(folders, "cme").corpora()
    assert len(corpora.clips) == 2 * 3 * 4
    for example in corpora.clips:
        assert (example.clip.corpus, example.transcript_status) == (PAIRED, PAIRED)
        assert str(example.clip.emotion) in example.transcript == example.clip.text
        features = example.features
        assert features.mel is not None
        assert features.words is not None
        assert features.mel.shape[1] == 40
        spans = features.word_spans  # type: ignore[attr-defined]
        assert len(spans) == len(features.words)
        assert (spans[0, 0], spans[-1, 1]) == (0, 1)
    frames = {path: path.stat().st_mtime_ns for path in (Path(folders[3]) / "frames").rglob("*.npz")}
    assert len(frames) == 24
    again = workshop(folders, "cme").corpora()
    assert {path: path.stat().st_mtime_ns for path in (Path(folders[3]) / "frames").rglob("*.npz")} == frames
    np.testing.assert_array_equal(again.clips[0].features.mel, corpora.clips[0].features.mel)


def test_a_table_goes_to_files_and_a_second_time_trains_nothing(
    folders: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changes = [word for change in TINY for word in ("--set", change)]
    command = ["table", "3", *folders, *changes, "--out", str(tmp_path)]
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert "paired, one division, the dev part selecting; tested on 8 clips of 4 classes; 1 seed" in printed
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "table3-paired.csv",
        "table3-paired.md",
        "table3-paired.png",
    ]
    kept = {path: path.stat().st_mtime_ns for path in Path(folders[3]).rglob(ALONE_FILE)}
    assert len(kept) == 7
    assert main([*command, "--recall"]) == 0
    assert main(command) == 0
    assert capsys.readouterr().out.count("| Acoustic |") == 2
    assert {path: path.stat().st_mtime_ns for path in Path(folders[3]).rglob(ALONE_FILE)} == kept
