"""The whole way from corpora to a bundle, on a corpus cut from the recordings of the tests."""

import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import soundfile
from drawn_features import FEATURES, features_of_every_kind

from model.assets import AssetStore
from model.bundle import CARD_FILE, FACTS_FILE, Bundle, calibrated
from model.labels import EMOTIONS
from training.__main__ import main
from training.export import network_of
from training.inference import predict_logits

Samples = npt.NDArray[np.float32]

RATE_HZ = 16_000
EXPERIMENT = """\
name = "drawn"
text_corpora = ["ewect"]
conditions = ["telephone"]
epochs = 2
batch_size = 8

[corpora]
casia = 1

[network]
width = 16
heads = 2
"""


POSTS = {
    "virus_train": range(1),
    "usual_train": range(5),
    "virus_extra": range(1, 2),
    # Some posts are in two parts.
    "virus_dev": range(1, 4),
}
"""How many posts of each emotion the parts of EWECT have, and which."""


@pytest.fixture(autouse=True, scope="module")
def on_one_processor() -> Iterator[None]:
    """Two threads of torch that wait for each other on a busy machine take 20 times as long as one."""
    granted = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(granted)})
    yield
    os.sched_setaffinity(0, granted)


@dataclass(frozen=True, kw_only=True, slots=True)
class Scene:
    """A data folder, a cache that knows the pre-trained parts only, and an experiment."""

    root: Path

    def options(self) -> list[str]:
        folders = [word for name in ("data", "cache") for word in (f"--{name}", str(self.root / name))]
        return [str(self.root / "drawn.toml"), *folders]


def rows_of_clips(folder: Path, recordings: Mapping[str, Samples]) -> list[dict[str, Any]]:
    """Two speakers read in six emotions; the clips called foreign are not transcribed. One clip holds no speech."""
    rows: list[dict[str, Any]] = []
    for speaker, name in (("agnes", "not_in_service"), ("berta", "first_in_line")):
        for number, emotion in enumerate(EMOTIONS):
            start = int(number * 0.3 * RATE_HZ)
            samples = recordings[name][start : start + int(1.5 * RATE_HZ)]
            soundfile.write(folder / f"{speaker}-{emotion}.wav", samples, RATE_HZ)
            rows.append({"key": f"casia/{speaker}-{emotion}", "audio": f"{speaker}-{emotion}.wav", "emotion": emotion})
            rows[-1] |= {"speaker": speaker, "sentence": "1", "language": "zh" if number < 2 else "en"}
    soundfile.write(folder / "silent.wav", np.zeros(RATE_HZ, dtype=np.float32), RATE_HZ)
    rows.append({"key": "casia/silent", "audio": "silent.wav", "emotion": "sad", "speaker": "agnes", "language": "zh"})
    return rows


def rows_of_posts(part: str, numbers: range) -> list[dict[str, Any]]:
    words = zip(EMOTIONS, ("气死我了", "真可怕", "太好了", "今天星期三", "好难过", "没想到"), strict=True)
    return [
        {"key": f"ewect/{part}-{number}", "text": f"{word}，第{number}句。", "emotion": emotion, "language": "zh"}
        for emotion, word in words
        for number in (10 * EMOTIONS.index(emotion) + each for each in numbers)
    ]


def write_manifest(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8")


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory, assets: AssetStore, recordings: Mapping[str, Samples]) -> Scene:
    root = tmp_path_factory.mktemp("training")
    for folder in ("data/casia", "data/ewect", "cache"):
        (root / folder).mkdir(parents=True)
    (root / "cache" / "assets").symlink_to(assets.cache / "assets")
    write_manifest(root / "data/casia/manifest.jsonl", rows_of_clips(root / "data/casia", recordings))
    for part, numbers in POSTS.items():
        write_manifest(root / f"data/ewect/{part}.jsonl", rows_of_posts(part, numbers))
    (root / "drawn.toml").write_text(EXPERIMENT)
    return Scene(root=root)


def test_training_goes_from_corpora_to_a_bundle_and_evaluating_again_trains_nothing(
    scene: Scene, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # As in an image that has no git.
    monkeypatch.setenv("PATH", "")
    out = scene.root / "artifacts" / "bundle"
    out.mkdir(parents=True)
    (out / "stale.txt").write_text("of an older bundle")

    assert main(["export", *scene.options(), "--version", "1.2.3", "--out", str(out)]) == 0
    output = capsys.readouterr()
    assert "skipped, no speech found: casia/silent" in " ".join(output.err.split())
    assert "unweighted average recall" in output.out

    bundle = Bundle.load(out)
    assert not (out / "stale.txt").exists()
    assert (bundle.facts.name, bundle.facts.version, bundle.facts.git_commit) == (
        "vcemo-whisper-zh",
        "1.2.3",
        "unknown",
    )
    assert bundle.facts.labels == EMOTIONS
    assert set(bundle.facts.assets) == {"whisper-base", "word-vectors-zh", "e5-small"}
    assert [corpus["name"] for corpus in bundle.facts.corpora] == ["casia", "ewect"]
    assert set(bundle.facts.golden_audio) >= {"int8"}
    assert "| berta, single clips | " in (out / CARD_FILE).read_text(encoding="utf-8")

    drawn = features_of_every_kind(np.random.default_rng(0))
    of_torch = calibrated(predict_logits(network_of(out), drawn, config=FEATURES), bundle.facts.temperature)
    np.testing.assert_allclose(bundle.predict(drawn), of_torch, atol=1e-4)
    (scene.root / "plain").touch()
    assert {path.stat().st_mode for path in out.iterdir()} == {(scene.root / "plain").stat().st_mode}

    (runs,) = (scene.root / "cache" / "runs").iterdir()
    kept = {path.parent.name: path.stat().st_mtime_ns for path in runs.glob("*/network.safetensors")}
    assert set(kept) == {"agnes", "all", "berta"}
    assert not list(runs.glob("*/checkpoint.safetensors"))
    rows = (runs / "agnes" / "predictions.jsonl").read_text(encoding="utf-8").splitlines()
    lines = [json.loads(line) for line in rows]
    spoken = [line for line in lines if not line["view"].startswith("posts ")]
    assert {(line["speaker"], line["fold"], line["seed"]) for line in spoken} == {("agnes", "agnes", 0)}
    counts = Counter(line["view"] for line in lines)
    assert (counts["both"], counts["call 19"], counts["neutral call 0"], counts["condition telephone"]) == (6, 6, 1, 6)
    assert (counts["posts ewect_dev"], counts["pair"], counts["clash"]) == (18, 6, 6)
    assert 0 < counts["posts ewect_tenth"] < 30

    assert main(["evaluate", *scene.options(), "--json"]) == 0
    evaluation = json.loads(capsys.readouterr().out)
    assert set(evaluation["recall"]) == {"agnes", "berta"}
    assert evaluation == json.loads((out / FACTS_FILE).read_text(encoding="utf-8"))["metrics"]
    assert {path.parent.name: path.stat().st_mtime_ns for path in runs.glob("*/network.safetensors")} == kept

    page = scene.root / "report" / "report.html"
    assert (
        main(
            [
                "report",
                *scene.options(),
                "--out",
                str(page),
                "--cluster",
                "speaker",
                "--against-set",
                "contrast.alpha=0",
            ]
        )
        == 0
    )
    printed = capsys.readouterr().out
    assert "drawn.toml contrast.alpha=0" in " ".join(printed.split())
    assert "One speaker left out at a time" in page.read_text(encoding="utf-8")
    assert (page.parent / "metrics.json").is_file()


def test_seeds_and_folds_are_trained_side_by_side(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    changes = [
        "--set",
        "epochs=1",
        "--set",
        "name=twins",
        "--set",
        "text_corpora=[]",
        "--set",
        "augmentation=['noise']",
    ]
    assert main(["train", *scene.options(), *changes, "--seeds", "2", "--jobs", "2"]) == 0
    assert capsys.readouterr().out.count("12 clips, 2 seeds") == 1
    runs = [path for path in (scene.root / "cache" / "runs").iterdir() if path.name.startswith("twins")]
    assert len(runs) == 2
    assert sorted(path.parent.name for run in runs for path in run.glob("*/network.safetensors")) == [
        "agnes",
        "agnes",
        "berta",
        "berta",
    ]


def test_a_dry_run_shows_the_choices_and_every_module_and_needs_no_corpus(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "experiments/vcemo.toml", "--dry-run", "--set", "network.width=64"]) == 0
    printed = capsys.readouterr().out
    assert '"learning_rate": 1e-05' in printed
    for word in ("fusion1", "fusion2", "projector", "parameters", "CoAttention", "9 x 64"):
        assert word in printed


def test_help_teaches_by_example(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--help"])
    assert caught.value.code == 0
    printed = capsys.readouterr().out
    assert "python -m training train experiments/vcemo.toml --dry-run" in printed
    for command in ("prepare", "train", "evaluate", "report", "extract", "export", "export-bert"):
        assert command in printed


def test_the_help_of_a_command_names_its_options(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    printed = capsys.readouterr().out
    for option in ("--set", "--data", "--cache", "--seeds", "--jobs", "--resume", "--dry-run"):
        assert option in printed


def complaint(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert main(arguments) == 1
    return " ".join(capsys.readouterr().err.split())


def test_an_unknown_experiment_is_one_line_and_exit_code_one(capsys: pytest.CaptureFixture[str]) -> None:
    printed = complaint(["train", "huge"], capsys)
    assert printed.startswith("error: no experiment 'huge'; known: cme, default,")


def test_missing_corpora_say_what_to_set(
    tmp_path: Path, assets: AssetStore, capsys: pytest.CaptureFixture[str]
) -> None:
    printed = complaint(["extract", "--data", str(tmp_path), "--cache", str(assets.cache)], capsys)
    assert "error:" in printed
    assert "does not exist; set VCEMO_DATA" in printed


def test_a_malformed_manifest_is_named_by_file_and_line(
    tmp_path: Path, assets: AssetStore, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "casia").mkdir()
    (tmp_path / "casia" / "manifest.jsonl").write_text('{"key": "a", "emotion": "bored"}')
    printed = complaint(["extract", "--data", str(tmp_path), "--cache", str(assets.cache)], capsys)
    # The console may break the line inside the path.
    assert "manifest.jsonl:1hasemotion'bored'" in printed.replace(" ", "")
