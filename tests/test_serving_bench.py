"""The bench's commands on real servers with real recordings, a few of each."""

import json
from pathlib import Path

import pytest
from rich.console import Console
from service_fixtures import BUNDLE, RECORDINGS

from bench.__main__ import main
from bench.serving.corpus import cut, joined, recordings
from bench.serving.load import Load
from bench.serving.observation import Observation
from bench.serving.server import Usage
from bench.workbench import Workbench
from model.assets import default_cache
from model.audio import decode_audio


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    manifest = tmp_path_factory.mktemp("corpus") / "manifest.jsonl"
    rows = [
        {"key": path.stem, "audio": str(path), "text": "hello", "language": "en"}
        for path in sorted(RECORDINGS.glob("*.wav"))
    ]
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return manifest


@pytest.fixture(scope="module")
def workbench() -> Workbench:
    return Workbench(bundle=BUNDLE, data=Path(), cache=default_cache(), console=Console(stderr=True))


def test_recordings_are_drawn_alike_in_every_run_and_each_once_before_any_twice(
    workbench: Workbench, corpus: Path
) -> None:
    first, again = (recordings(workbench, str(corpus), number=9) for _ in range(2))
    assert [one.name for one in first] == [one.name for one in again]
    assert len({one.name for one in first[:4]}) == 4
    assert first[0].seconds == pytest.approx(decode_audio(first[0].audio).duration_ms / 1000, abs=1e-3)


def test_a_joined_recording_has_the_asked_length_and_so_have_pieces(workbench: Workbench, corpus: Path) -> None:
    assert decode_audio(joined(workbench, str(corpus), seconds=61).audio).duration_ms == 61_000
    pieces = cut(workbench, str(corpus), seconds=1.5, number=40)
    assert [decode_audio(piece.audio).duration_ms for piece in pieces] == [1500] * 40


def usage(*, cpu: float, main_thread: float) -> Usage:
    return Usage(cpu_seconds=cpu, main_thread_cpu_seconds=main_thread, rss_bytes=1, open_files=1, threads=1)


def test_what_is_not_whisper_is_the_event_loop_and_the_other_stages() -> None:
    cpu = {"decode": 0.1, "vad": 0.2, "asr": 1.0, "lower_layers": 2.0, "features": 0.3, "fusion": 0.1}
    seen = Observation(
        title="",
        load=Load(answers=[], seconds=5.0),
        before=usage(cpu=3.0, main_thread=1.0),
        after=usage(cpu=13.0, main_thread=1.3),
        metrics={("vcemo_stage_cpu_seconds_total", stage): seconds for stage, seconds in cpu.items()},
    )
    assert seen.cpu_share_without_whisper == pytest.approx((0.1 + 0.2 + 0.3 + 0.1 + 0.3) / 10)
    assert seen.cpu_share("lower_layers") == pytest.approx(0.2)
    assert seen.processors_used == pytest.approx(2.0)


def test_the_service_is_driven_and_what_it_did_is_printed(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["serve", "--corpus", str(corpus), "--concurrency", "2", "--rate", "4", "--requests", "4", "--json"]
    assert main([*arguments, "--bundle", str(BUNDLE), "--plot", str(tmp_path / "plot.png")]) == 0
    closed, opened = json.loads(capsys.readouterr().out)["levels"]
    for level in (closed, opened):
        assert level["good"] == level["requests"] == 4
        assert 0 < level["latency_ms"]["p50"] <= level["latency_ms"]["p95"]
        assert 0 < level["cpu_share_without_whisper"] < 1
        assert sum(level["share_of_time"].values()) == pytest.approx(1)
        assert level["mean_batch_size"]["asr"] >= 1
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("arguments", [["serve", "--concurrency", "0"], ["compare", "--rounds", "-1"]])
def test_a_number_below_one_is_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(arguments)
    assert "is less than 1" in capsys.readouterr().err
