"""Corpora of read sentences, on small trees in their published layouts."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import DATA
from tiny_recording import record

from model.errors import CorpusError
from training.corpora import casia, emodb, esd, nemo, ravdess
from training.corpora.manifest import Clip
from training.corpora.scan import Scan, Skipped


def reasons(scan: Scan) -> dict[str, str]:
    return {skipped.item: skipped.reason for skipped in scan.skipped}


def test_casia_says_speaker_emotion_and_sentence_by_its_folders(tmp_path: Path) -> None:
    audio = record(tmp_path / "ZhaoZuoxiang" / "surprise" / "250.wav")
    assert casia.scan(tmp_path).clips == (
        Clip(
            key="casia/ZhaoZuoxiang-surprise-250",
            corpus="casia",
            audio=audio,
            emotion="surprise",
            speaker="ZhaoZuoxiang",
            sentence="250",
            text=None,
            language="zh",
        ),
    )


def test_casia_leaves_out_other_folders_and_empty_files(tmp_path: Path) -> None:
    record(tmp_path / "wangzhe" / "angry" / "201.wav")
    record(tmp_path / "wangzhe" / "bored" / "201.wav")
    (tmp_path / "wangzhe" / "angry" / "202.wav").touch()
    (tmp_path / "wangzhe" / "angry" / "._201.wav").write_bytes(b"what macOS leaves in archives")
    scan = casia.scan(tmp_path)
    assert [clip.key for clip in scan.clips] == ["casia/wangzhe-angry-201"]
    assert reasons(scan) == {
        "wangzhe-bored-201": "label bored is not one of the six",
        "wangzhe-angry-202": "the audio file is empty",
    }


NEMO_HEADER = "file_id\temotion\traw_text\tnormalized_text\tspeaker_id\tgender\tage\n"


def nemo_row(name: str, emotion: str, text: str) -> str:
    return f"{name}.wav\t{emotion}\t{text}\t{text.lower()}\t        {name[:3]}\tfemale\t27\n"


def test_nemo_reads_its_table_with_padded_speakers_and_loose_quotes(tmp_path: Path) -> None:
    record(tmp_path / "samples" / "EB0_surprised_38.wav")
    table = NEMO_HEADER + nemo_row("EB0_surprised_38", "surprised", '"Ród smoka" to serial')
    (tmp_path / "data.tsv").write_text(table, encoding="utf-8")
    (clip,) = nemo.scan(tmp_path).clips
    assert (clip.key, clip.emotion, clip.speaker) == ("nemo/EB0_surprised_38", "surprise", "EB0")
    assert (clip.sentence, clip.text, clip.language) == ("38", '"Ród smoka" to serial', "pl")


def test_nemo_leaves_out_rows_without_recording_and_rows_that_come_twice(tmp_path: Path) -> None:
    record(tmp_path / "samples" / "EB0_anger_1.wav")
    rows = [nemo_row("EB0_anger_1", "anger", "Tak."), nemo_row("EB0_anger_2", "anger", "Nie.")]
    (tmp_path / "data.tsv").write_text(NEMO_HEADER + "".join([*rows, rows[0]]), encoding="utf-8")
    scan = nemo.scan(tmp_path)
    assert len(scan.clips) == 1
    assert scan.skipped == (
        Skipped(item="EB0_anger_2", reason="no audio file"),
        Skipped(item="EB0_anger_1", reason="its key nemo/EB0_anger_1 is that of an earlier clip"),
    )


def test_nemo_without_a_column_names_it(tmp_path: Path) -> None:
    (tmp_path / "data.tsv").write_text("file_id\temotion\traw_text\n")
    with pytest.raises(CorpusError, match="has no column speaker_id"):
        nemo.scan(tmp_path)


def test_ravdess_is_read_from_the_numbers_of_its_names(tmp_path: Path) -> None:
    record(tmp_path / "Actor_21" / "03-01-08-02-02-01-21.wav")
    (clip,) = ravdess.scan(tmp_path).clips
    assert (clip.key, clip.emotion, clip.speaker) == ("ravdess/03-01-08-02-02-01-21", "surprise", "21")
    assert (clip.sentence, clip.text, clip.language) == ("02", "Dogs are sitting by the door", "en")


def test_ravdess_leaves_out_calm_disgust_and_song(tmp_path: Path) -> None:
    names = ("03-01-03-01-01-01-01", "03-01-02-01-01-01-01", "03-01-07-01-01-01-01", "03-02-03-01-01-01-01", "notes")
    for name in names:
        record(tmp_path / "Actor_01" / f"{name}.wav")
    scan = ravdess.scan(tmp_path)
    assert [clip.key for clip in scan.clips] == [f"ravdess/{names[0]}"]
    assert reasons(scan) == {
        names[1]: "label calm is not one of the six",
        names[2]: "label disgust is not one of the six",
        names[3]: "not speech alone: modality and vocal channel are not 03-01",
        names[4]: "its name is not of seven numbers",
    }


def test_emodb_is_read_from_the_letters_of_its_names(tmp_path: Path) -> None:
    for name in ("03a01Fa", "16b10Wb", "08a02Ac", "09b03Td", "11a04N", "12a05Ld", "13a07Ec", "readme"):
        record(tmp_path / "wav" / f"{name}.wav")
    scan = emodb.scan(tmp_path)
    assert [(clip.key, clip.speaker, clip.sentence, clip.emotion) for clip in scan.clips] == [
        ("emodb/03a01Fa", "03", "a01", "happy"),
        ("emodb/08a02Ac", "08", "a02", "fear"),
        ("emodb/09b03Td", "09", "b03", "sad"),
        ("emodb/11a04N", "11", "a04", "neutral"),
        ("emodb/16b10Wb", "16", "b10", "angry"),
    ]
    assert reasons(scan) == {
        "12a05Ld": "label boredom is not one of the six",
        "13a07Ec": "label disgust is not one of the six",
        "readme": "its name is not of the form 03a01Fa",
    }


def test_esd_takes_language_sentence_and_split_from_where_a_recording_lies(tmp_path: Path) -> None:
    record(tmp_path / "0001" / "Neutral" / "train" / "0001_000017.wav")
    record(tmp_path / "0010" / "Surprise" / "evaluation" / "0010_001417.wav")
    record(tmp_path / "0011" / "Sad" / "0011_001067.wav")
    clips = esd.scan(tmp_path).clips
    assert [(clip.key, clip.speaker, clip.emotion) for clip in clips] == [
        ("esd/0001_000017", "0001", "neutral"),
        ("esd/0010_001417", "0010", "surprise"),
        ("esd/0011_001067", "0011", "sad"),
    ]
    assert [(clip.language, clip.sentence, clip.split) for clip in clips] == [
        ("zh", "zh-17", "train"),
        ("zh", "zh-17", "dev"),
        ("en", "en-17", None),
    ]


@pytest.mark.parametrize("encoding", ["gb2312", "utf-16", "utf-8", "utf-8-sig"])
@pytest.mark.parametrize("separator", ["\t", " "])
def test_esd_transcripts_are_read_in_every_encoding_they_are_found_in(
    tmp_path: Path, encoding: str, separator: str
) -> None:
    record(tmp_path / "0001" / "Angry" / "0001_000351.wav")
    lines = ["", separator.join(["0001_000351", "打远一看，它们的确很是美丽，", "生气"]), "damaged"]
    (tmp_path / "0001" / "0001.txt").write_bytes("\r\n".join(lines).encode(encoding))
    (clip,) = esd.scan(tmp_path).clips
    assert clip.text == "打远一看，它们的确很是美丽，"


def test_esd_keeps_an_emotion_word_that_belongs_to_the_sentence(tmp_path: Path) -> None:
    record(tmp_path / "0016" / "Sad" / "0016_001051.wav")
    record(tmp_path / "0016" / "Sad" / "0016_001052.wav")
    lines = "0016_001051\tHe was\xa0really sad\tSad\n0016_001052\tno emotion column here\n"
    (tmp_path / "0016" / "0016.txt").write_bytes(lines.encode("latin-1"))
    assert [clip.text for clip in esd.scan(tmp_path).clips] == ["He was really sad", "no emotion column here"]


@pytest.mark.parametrize("module", [casia, nemo, ravdess, emodb, esd])
def test_another_folder_is_refused_with_what_was_expected_and_found(module: Any, tmp_path: Path) -> None:
    scan: Callable[[Path], Scan] = module.scan
    for root, found in ((tmp_path / "gone", "no such folder"), (tmp_path, "an empty folder")):
        with pytest.raises(CorpusError, match=f"expected .*; found {found}$"):
            scan(root)
    for number in range(8):
        record(tmp_path / f"{number}.wav")
    with pytest.raises(CorpusError, match=r"found 0\.wav, .*5\.wav and 2 more$"):
        scan(tmp_path)


def test_a_corpus_whose_clips_are_all_left_out_says_why_the_first_was(tmp_path: Path) -> None:
    record(tmp_path / "0001" / "Angry" / "0001_000351.wav")
    with pytest.raises(CorpusError, match=r"1 left out, the first, .* because: label Angry is not one of the six"):
        casia.scan(tmp_path)


def place_casia(root: Path, rows: list[dict[str, Any]]) -> None:
    for row in rows:
        place(root / row["speaker"] / row["emotion"] / f"{row['sentence']}.wav")


def place_nemo(root: Path, rows: list[dict[str, Any]]) -> None:
    names = [row["key"].removeprefix("nemo/") for row in rows]
    for name in names:
        place(root / "samples" / f"{name}.wav")
    table = [nemo_row(name, name.split("_")[1], row["text"]) for name, row in zip(names, rows, strict=True)]
    (root / "data.tsv").write_text(NEMO_HEADER + "".join(table), encoding="utf-8")


def place_ravdess(root: Path, rows: list[dict[str, Any]]) -> None:
    for row in rows:
        place(root / f"Actor_{row['speaker']}" / f"{row['key'].removeprefix('ravdess/')}.wav")


def place_emodb(root: Path, rows: list[dict[str, Any]]) -> None:
    for row in rows:
        place(root / "wav" / f"{row['key'].removeprefix('emodb/')}.wav")


def place(path: Path) -> None:
    """Stand in for a recording: thousands are needed, and scanning does not decode."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"RIFF")


@pytest.mark.parametrize(
    ("module", "arrange"),
    [(casia, place_casia), (nemo, place_nemo), (ravdess, place_ravdess), (emodb, place_emodb)],
    ids=["casia", "nemo", "ravdess", "emodb"],
)
def test_scanning_agrees_with_the_shared_manifest(
    module: Any, arrange: Callable[[Path, list[dict[str, Any]]], None], tmp_path: Path
) -> None:
    name = module.__name__.rpartition(".")[2]
    manifest = DATA / name / "manifest.jsonl"
    if not manifest.is_file():
        pytest.skip(f"{manifest} is missing")
    rows = [json.loads(line) for line in manifest.read_text(encoding="utf-8").splitlines()]
    arrange(tmp_path, rows)
    scan: Scan = module.scan(tmp_path)
    assert scan.skipped == ()
    # CASIA circulates without its texts.
    columns = ("key", "emotion", "speaker", "sentence", "language", *(() if module is casia else ("text",)))
    scanned = {clip.key: [getattr(clip, column) for column in columns] for clip in scan.clips}
    assert scanned == {row["key"]: [row.get(column) for column in columns] for row in rows}
