import io
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import soundfile
from conftest import ROOT
from drawn_bundle import drawn_bundle
from drawn_features import small_network
from rich.console import Console

from model.__main__ import as_json, main, print_recognition
from model.assets import AssetStore
from model.labels import EMOTIONS
from model.recognizer import EmotionRecognizer, Recognition

Samples = npt.NDArray[np.float32]

BUNDLE = ["--bundle", str(ROOT / "artifacts" / "vcemo-whisper-zh")]


@pytest.fixture(scope="module")
def call(tmp_path_factory: pytest.TempPathFactory, recordings: Mapping[str, Samples]) -> Path:
    """Two utterances; the name would be markup to a careless console."""
    path = tmp_path_factory.mktemp("calls") / "call [red].wav"
    burst = recordings["not_in_service"][: int(1.6 * 16_000)]
    soundfile.write(path, np.concatenate([burst, np.zeros(48_000, np.float32), burst]), 16_000)
    return path


@pytest.fixture(scope="module")
def recognition(recognizer: EmotionRecognizer, call: Path) -> Recognition:
    return recognizer.recognize(call)


def printed(path: Path, recognition: Recognition, *, segments: bool = False) -> str:
    file = io.StringIO()
    print_recognition(path, recognition, Console(file=file, width=200), segments=segments)
    return file.getvalue()


def test_json_answers_every_recording_and_a_bad_one_makes_the_exit_code_one(
    call: Path, tmp_path: Path, assets: AssetStore, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = tmp_path / "notes [bold].txt"
    bad.write_text("no recording")
    absent = tmp_path / "absent.wav"
    files = [str(path) for path in (bad, call, absent, call)]
    assert main(["recognize", "--json", *BUNDLE, "--cache", str(assets.cache), *files]) == 1
    output = capsys.readouterr()
    first, second = (json.loads(line) for line in output.out.splitlines())
    assert first["file"] == second["file"] == str(call)
    assert first["probabilities"] == second["probabilities"]
    assert set(first["probabilities"]) == set(EMOTIONS)
    assert first["emotion"] in EMOTIONS
    assert len(first["segments"]) == 2
    assert first["duration_ms"] == 6200
    complaints = output.err.replace("\n", "")
    assert str(bad) in complaints
    assert "absent.wav" in complaints
    assert "Traceback" not in output.err


def test_an_answer_is_plain_json_down_to_its_segments(recognition: Recognition) -> None:
    document = json.loads(json.dumps(as_json(recognition)))
    assert document["status"] == recognition.status
    assert document["text"] == recognition.text
    for segment, judged in zip(document["segments"], recognition.segments, strict=True):
        assert segment["channel"] == 0
        assert segment["end_ms"] - segment["start_ms"] == judged.utterance.end_ms - judged.utterance.start_ms
        assert sum(segment["probabilities"]) == pytest.approx(1.0, abs=1e-4)


def test_the_table_has_a_bar_for_every_emotion_with_the_likeliest_first(call: Path, recognition: Recognition) -> None:
    lines = printed(call, recognition).splitlines()
    assert lines[0].startswith(str(call))
    assert recognition.text in lines[1]
    rows = [line.split() for line in lines if line.split()[:1] and line.split()[0] in EMOTIONS]
    assert {row[0] for row in rows} == set(EMOTIONS)
    assert rows[0][0] == recognition.emotion
    assert "█" in rows[0][2]
    shares = [float(row[1].removesuffix("%")) for row in rows]
    assert shares == sorted(shares, reverse=True)
    assert sum(shares) == pytest.approx(100, abs=0.5)


def test_segments_are_rows_when_asked_for(call: Path, recognition: Recognition) -> None:
    table = printed(call, recognition, segments=True)
    assert "channel" in table
    assert "channel" not in printed(call, recognition)
    for one in recognition.segments:
        assert f"{one.utterance.start_ms / 1000:.1f}" in table
        assert one.transcript.text in table


def test_silence_is_said_to_hold_no_emotion(recognizer: EmotionRecognizer, tmp_path: Path) -> None:
    path = tmp_path / "silence.wav"
    soundfile.write(path, np.zeros(16_000, dtype=np.float32), 16_000)
    assert "no speech: no emotion" in printed(path, recognizer.recognize(path))


def test_without_a_bundle_the_exit_code_is_two(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recognize", "call.wav", "--bundle", str(tmp_path / "absent")]) == 2
    assert "bundle.json cannot be read" in capsys.readouterr().err


def test_without_the_parts_the_command_that_fetches_them_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["recognize", "call.wav", *BUNDLE, "--cache", str(tmp_path)]) == 2
    assert "python -m model.assets fetch" in " ".join(capsys.readouterr().err.split())


def answers(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[dict[str, float]]:
    """Probabilities of every file, as ``--json`` prints them."""
    assert main(["recognize", "--json", *arguments]) == 0
    return [json.loads(line)["probabilities"] for line in capsys.readouterr().out.splitlines()]


def test_the_files_of_one_call_are_judged_by_the_voice_heard_before_them(
    recordings: Mapping[str, Samples], tmp_path: Path, assets: AssetStore, capsys: pytest.CaptureFixture[str]
) -> None:
    burst = tmp_path / "burst.wav"
    soundfile.write(burst, recordings["not_in_service"][: int(1.6 * 16_000)], 16_000)
    folder = drawn_bundle(tmp_path / "drawn", small_network("whisper"))
    arguments = ["--bundle", str(folder), "--cache", str(assets.cache), str(burst), str(burst)]
    stranger, as_strange = answers(capsys, *arguments)
    assert as_strange == pytest.approx(stranger, abs=1e-6)
    heard_once, heard_twice = answers(capsys, "--same-speaker", *arguments)
    assert heard_once != pytest.approx(stranger, abs=1e-4)
    assert heard_twice != pytest.approx(heard_once, abs=1e-4)


def test_a_bundle_that_cannot_adapt_to_a_speaker_says_so(
    call: Path, tmp_path: Path, assets: AssetStore, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = drawn_bundle(tmp_path / "drawn", small_network("whisper", modalities=("words", "sentence")))
    parts = ["--bundle", str(folder), "--cache", str(assets.cache)]
    assert main(["recognize", "--same-speaker", *parts, str(call)]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert f"the bundle {folder} does not adapt to speakers: leave out --same-speaker" in output.err


@pytest.mark.parametrize("arguments", [["--help"], ["recognize", "--help"]])
def test_help_says_when_files_are_of_the_same_speaker(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(arguments)
    shown = " ".join(capsys.readouterr().out.split())
    assert "python -m model recognize --same-speaker call-1.wav call-2.wav call-3.wav" in shown
    assert "one call, in the order given" in shown
    assert "their voices would mix" in shown


def test_help_teaches_by_example(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--help"])
    assert caught.value.code == 0
    assert "python -m model recognize --json *.flac" in capsys.readouterr().out


def test_a_command_is_demanded(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([])
    assert caught.value.code == 2
    assert "required: command" in capsys.readouterr().err
