"""An archive: every recording once, failures listed, a second run with nothing to do."""

import json
from pathlib import Path

import numpy as np
import pyarrow.dataset as pds
import pytest
from service_fixtures import BUNDLE, RECORDINGS, ROOT

from model.assets import AssetStore, default_cache
from model.errors import CorpusError
from training.archive import items_of, main
from training.archive_results import FAILED, RESULTS, claim, forget_failed, keys_of, write_failed_list
from training.archive_scorer import Scorer, ScorerSettings

pytest_plugins = ("service_fixtures",)


@pytest.fixture(scope="module")
def scorer(assets: AssetStore, tmp_path_factory: pytest.TempPathFactory) -> Scorer:
    """A worker as Ray would start it."""
    out = tmp_path_factory.mktemp("scored")
    settings = ScorerSettings(
        bundle=BUNDLE, cache=default_cache(), out=out, threads=2, max_seconds=600.0, with_text=False
    )
    return Scorer(settings)


def test_a_batch_is_written_once_however_often_it_is_judged(scorer: Scorer, tmp_path: Path) -> None:
    out = scorer._settings.out
    (tmp_path / "torn.wav").write_bytes(b"RIFF" + bytes(60))
    names = {"torn": tmp_path / "torn.wav", "gone": tmp_path / "gone.wav", "one": RECORDINGS / "first_in_line.wav"}
    batch = {"key": np.array(list(names)), "file": np.array([str(path) for path in names.values()])}
    for _ in range(2):
        assert scorer(batch)["used"].tolist() == [False, False, True]
    assert keys_of(out, RESULTS) == ["one"]
    assert sorted(keys_of(out, FAILED)) == ["gone", "torn"]
    (row,) = pds.dataset(out / RESULTS).to_table().to_pylist()
    assert row["text"] is None
    assert sum(dict(row["probabilities"]).values()) == pytest.approx(1, abs=1e-5)
    assert row["segments"][0]["id"] == f"0-{row['segments'][0]['start_ms']}"
    assert {one["code"] for one in write_failed_list(out)} == {"unsupported_audio", "FileNotFoundError"}
    lines = (out / "failed.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["key"] for line in lines] == ["gone", "torn"]
    forget_failed(out)
    assert keys_of(out, FAILED) == []


def test_a_folder_gives_its_recordings_and_a_manifest_its_rows(tmp_path: Path) -> None:
    found = items_of(RECORDINGS)
    assert [item.key for item in found] == sorted(path.name for path in RECORDINGS.glob("*.wav"))
    (tmp_path / "calls.csv").write_text("key,audio\na,one.wav\nb,two.wav\n")
    assert [(item.key, item.file) for item in items_of(tmp_path / "calls.csv")] == [
        ("a", str(tmp_path / "one.wav")),
        ("b", str(tmp_path / "two.wav")),
    ]
    (tmp_path / "calls.jsonl").write_text('{"file": "one.wav"}\n')
    assert items_of(tmp_path / "calls.jsonl")[0].key == "one.wav"


@pytest.mark.parametrize("text", ["", '{"key": "a"}\n', "[1]\n", "{", '{"audio": "a"}\n{"audio": "a"}\n'])
def test_a_manifest_that_cannot_be_used_says_so(tmp_path: Path, text: str) -> None:
    (tmp_path / "calls.jsonl").write_text(text)
    with pytest.raises(CorpusError):
        items_of(tmp_path / "calls.jsonl")


def test_results_of_two_bundles_do_not_mix(tmp_path: Path) -> None:
    claim(tmp_path / "out", BUNDLE)
    claim(tmp_path / "out", BUNDLE)
    other = tmp_path / "other"
    other.mkdir()
    (other / "bundle.json").write_text("{}")
    with pytest.raises(CorpusError, match="another bundle"):
        claim(tmp_path / "out", other)


def test_an_archive_that_is_done_starts_no_worker(
    scorer: Scorer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Ray takes seconds to start; bench shows archive runs it with workers that are killed.
    out = scorer._settings.out
    file = RECORDINGS / "leave_a_message.wav"
    scorer({"key": np.array(["call"]), "file": np.array([str(file)])})
    (tmp_path / "calls.jsonl").write_text(json.dumps({"key": "call", "audio": str(file)}))
    arguments = [str(tmp_path / "calls.jsonl"), "--out", str(out), "--bundle", str(BUNDLE)]
    assert main(arguments) == 0
    assert "1 recordings, 1 of them done already" in capsys.readouterr().err


def test_ray_is_imported_where_it_is_used_alone() -> None:
    for package in ("model", "service", "training"):
        for path in (ROOT / package).rglob("*.py"):
            if path.name != "archive.py":
                assert "import ray" not in path.read_text(encoding="utf-8"), path
