"""Manifests that somebody brings along."""

import json
from pathlib import Path
from typing import Any

import pytest
from tiny_recording import record

from model.errors import CorpusError
from training.corpora import plain
from training.corpora.catalog import corpus_named
from training.corpora.manifest import Clip


def write_rows(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8")
    return path


def test_a_table_needs_no_more_than_audio_and_emotion(tmp_path: Path) -> None:
    audio = record(tmp_path / "calls" / "17.wav")
    table = tmp_path / "hotline.csv"
    table.write_text("audio,emotion\ncalls/17.wav,angry\n")
    assert plain.scan(table).clips == (
        Clip(
            key="hotline/calls/17",
            corpus="hotline",
            audio=audio,
            emotion="angry",
            speaker=None,
            sentence=None,
            text=None,
            language="zh",
        ),
    )


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_every_known_column_is_kept(tmp_path: Path, suffix: str) -> None:
    row = {"key": "k1", "audio": "1.wav", "emotion": "joy", "speaker": "s1", "sentence": "7", "text": "好，走"}
    row |= {"language": "en", "session": "monday", "split": "validation"}
    audio = record(tmp_path / "1.wav")
    path = tmp_path / f"manifest.{suffix}"
    if suffix == "jsonl":
        write_rows(path, [row])
    else:
        path.write_text(",".join(row) + "\n" + ",".join(row.values()) + "\n", encoding="utf-8")
    assert plain.scan(tmp_path).clips == (
        Clip(
            key="k1",
            corpus=tmp_path.name,
            audio=audio,
            emotion="happy",
            speaker="s1",
            sentence="7",
            text="好，走",
            language="en",
            session="monday",
            split="dev",
        ),
    )


@pytest.mark.parametrize("encoding", ["utf-8-sig", "gb18030", "utf-16"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_tables_of_spreadsheets_are_read_as_they_are_saved(tmp_path: Path, encoding: str, delimiter: str) -> None:
    record(tmp_path / "wav" / "一.wav")
    rows = [["File", " Emotion", "Text"], ["wav\\一.wav", "生气 ", "岂有此理"], ["", "", ""]]
    content = "\r\n".join(delimiter.join(row) for row in rows)
    (tmp_path / "manifest.csv").write_bytes(content.encode(encoding))
    scan = plain.scan(tmp_path)
    assert [(clip.key, clip.emotion, clip.text) for clip in scan.clips] == [
        (f"{tmp_path.name}/wav/一", "angry", "岂有此理")
    ]
    assert scan.skipped == ()


def test_only_words_that_are_listed_stand_for_an_emotion(tmp_path: Path) -> None:
    words = ["Anger", "fearful", "happiness", "JOY", "neutral", "sadness", "surprised", "calm", "excited", ""]
    rows = [{"audio": str(record(tmp_path / f"{n}.wav")), "emotion": word} for n, word in enumerate(words)]
    scan = plain.scan(write_rows(tmp_path / "m.jsonl", rows))
    assert [clip.emotion for clip in scan.clips] == ["angry", "fear", "happy", "happy", "neutral", "sad", "surprise"]
    assert [skipped.reason for skipped in scan.skipped] == [
        "label calm is not one of the six",
        "label excited is not one of the six",
        "no label",
    ]


def test_rows_that_cannot_be_used_are_left_out_with_the_reason(tmp_path: Path) -> None:
    record(tmp_path / "1.wav")
    rows: list[dict[str, Any]] = [
        {"audio": "1.wav", "emotion": "sad", "speaker": 3, "text": None},
        {"audio": "1.wav", "emotion": "happy"},
        {"audio": "2.wav", "emotion": "sad"},
        {"audio": "1.wav", "emotion": "sad", "key": "other", "split": "holdout"},
        {"emotion": "sad"},
    ]
    scan = plain.scan(write_rows(tmp_path / "m.jsonl", rows))
    assert [(clip.speaker, clip.text) for clip in scan.clips] == [("3", None)]
    assert [(skipped.item, skipped.reason) for skipped in scan.skipped] == [
        ("1", "its key m/1 is that of an earlier clip"),
        ("2", "no audio file"),
        ("1.wav", "split holdout is not train, dev or test"),
        ("row 5", "names no audio file"),
    ]


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("m.csv", "audio,label\n1.wav,sad\n", "has no column emotion; its first line is 'audio,label'"),
        ("m.csv", "", "has no column emotion"),
        ("m.csv", "path,emotion\n1.wav,sad\n", "1 left out, the first, row 1, because: names no audio file"),
        ("m.csv", 'audio,emotion\n"' + "x" * 200_000, "cannot be read as a table"),
        ("m.jsonl", '{"audio": "1.wav", "emotion": "sad"}\n{', "m.jsonl:2 is not JSON"),
        ("m.jsonl", "[1]", "m.jsonl:1 does not hold an object"),
        ("m.txt", "1.wav sad", "expected a .jsonl or .csv file"),
    ],
)
def test_a_manifest_that_is_none_says_what_is_wrong(tmp_path: Path, name: str, content: str, complaint: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(CorpusError) as caught:
        plain.scan(tmp_path / name)
    assert complaint in caught.value.message


def test_a_folder_without_manifest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"does not hold a manifest: expected .*; found an empty folder"):
        plain.scan(tmp_path)


@pytest.mark.parametrize("file", ["hotline.csv", "hotline/manifest.csv"])
def test_the_path_of_a_table_names_a_corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str) -> None:
    record((tmp_path / file).parent / "1.wav")
    (tmp_path / file).write_text("audio,emotion\n1.wav,anger\n")
    monkeypatch.chdir(tmp_path)
    corpus = corpus_named(file)
    assert (corpus.name, corpus.licence) == ("hotline", "not stated")
    monkeypatch.chdir("/")
    (clip,) = corpus.read(tmp_path / "elsewhere")
    assert (clip.corpus, clip.emotion, clip.key) == ("hotline", "angry", "hotline/1")
    assert corpus.scan is not None
    assert corpus.scan(tmp_path / file).clips == (clip,)


def test_the_path_of_json_lines_names_a_corpus(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "posts.jsonl", [{"key": "a", "text": "好", "emotion": "happy"}])
    corpus = corpus_named(str(path))
    assert [(clip.key, clip.corpus, clip.audio) for clip in corpus.read(Path("/elsewhere"))] == [("a", "posts", None)]


def test_a_path_without_manifest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"there is no manifest .*gone\.jsonl"):
        corpus_named(str(tmp_path / "gone.jsonl"))
