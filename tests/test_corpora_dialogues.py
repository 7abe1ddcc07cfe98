"""Corpora of dialogues, on small trees in their published (VCEMO: assumed) layouts."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny_recording import record

from model.errors import CorpusError
from training.corpora import emotiontalk, iemocap, m3ed, vcemo
from training.corpora.manifest import Clip
from training.corpora.scan import Scan

EVALUATION = """\
% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]

[6.2901 - 8.2357]\tSes01F_impro01_F000\tneu\t[2.5000, 2.5000, 2.5000]
C-E2:\tNeutral;\t()
A-E3:\tval 3; act 2; dom  2;\t()

[10.0100 - 11.3925]\tSes01F_impro01_M001\texc\t[2.5000, 2.5000, 2.5000]
C-E2:\tExcited;\t()

"""


def reasons(scan: Scan) -> dict[str, str]:
    return {skipped.item: skipped.reason for skipped in scan.skipped}


def place_iemocap(root: Path, dialogue: str, evaluation: str, *, recorded: tuple[str, ...]) -> Path:
    session = root / f"Session{dialogue[4]}"
    path = session / "dialog" / "EmoEvaluation" / f"{dialogue}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(evaluation)
    for name in recorded:
        record(session / "sentences" / "wav" / dialogue / f"{name}.wav")
    return session


def test_iemocap_hears_the_speaker_before_the_number_and_counts_excited_as_happy(tmp_path: Path) -> None:
    names = ("Ses01F_impro01_F000", "Ses01F_impro01_M001")
    session = place_iemocap(tmp_path, "Ses01F_impro01", EVALUATION, recorded=names)
    transcriptions = session / "dialog" / "transcriptions"
    transcriptions.mkdir()
    lines = (
        "Ses01F_impro01_F000 [006.2901-008.2357]: Excuse me.\nSes01F_impro01_M001 [010.0100-011.3925]:  You\x92re?\n"
    )
    (transcriptions / "Ses01F_impro01.txt").write_bytes(lines.encode("latin-1"))
    first, second = iemocap.scan(tmp_path).clips
    assert first == Clip(
        key="iemocap/Ses01F_impro01_F000",
        corpus="iemocap",
        audio=session / "sentences" / "wav" / "Ses01F_impro01" / "Ses01F_impro01_F000.wav",
        emotion="neutral",
        speaker="Ses01F",
        sentence="impro01",
        text="Excuse me.",
        language="en",
        session="Session1",
    )
    assert (second.speaker, second.emotion, second.text) == ("Ses01M", "happy", "You’re?")


def test_iemocap_scripts_keep_their_scenario_and_go_without_transcription(tmp_path: Path) -> None:
    name = "Ses05M_script01_1b_F012"
    line = f"[1.0000 - 2.0000]\t{name}\tsur\t[2.5000, 2.5000, 2.5000]\n"
    place_iemocap(tmp_path, "Ses05M_script01_1b", line, recorded=(name,))
    (clip,) = iemocap.scan(tmp_path).clips
    assert (clip.speaker, clip.session, clip.sentence, clip.text) == ("Ses05F", "Session5", "script01_1b", None)


def test_iemocap_leaves_out_other_emotions_and_missing_recordings(tmp_path: Path) -> None:
    labels = {"F000": "ang", "F001": "fru", "M002": "xxx", "M003": "sad", "F004": "dis", "F005": "oth"}
    names = {f"Ses02F_impro01_{number}": label for number, label in labels.items()}
    lines = [f"[1.0000 - 2.0000]\t{name}\t{label}\t[2.5, 2.5, 2.5]\n" for name, label in names.items()]
    lines.append("[1.0000 - 2.0000]\tSes02F_impro01\tang\t[2.5, 2.5, 2.5]\n")
    recorded = tuple(name for name in names if not name.endswith("M003"))
    session = place_iemocap(tmp_path, "Ses02F_impro01", "".join(lines), recorded=recorded)
    (session / "dialog" / "EmoEvaluation" / "._Ses02F_impro01.txt").write_bytes(b"\0\5\x16\7")
    scan = iemocap.scan(tmp_path)
    assert [clip.key for clip in scan.clips] == ["iemocap/Ses02F_impro01_F000"]
    assert reasons(scan) == {
        "Ses02F_impro01_F001": "label fru (frustrated) is not one of the six",
        "Ses02F_impro01_M002": "label xxx (no agreement) is not one of the six",
        "Ses02F_impro01_M003": "no audio file",
        "Ses02F_impro01_F004": "label dis (disgusted) is not one of the six",
        "Ses02F_impro01_F005": "label oth (other) is not one of the six",
        "Ses02F_impro01": "its name does not say who speaks",
    }


def m3ed_dialogue(name: str, labels: dict[str, str], *, role: str = "王胜男") -> dict[str, Any]:
    return {
        "SpeakerInfo": {"A": {"Name": role, "Age": "mid", "Gender": "female", "OtherName": []}, "B": {"Name": ""}},
        "Dialog": {
            f"{name}_{number}": {
                "StartTime": "00:00:00:01",
                "EndTime": "00:00:01:03",
                "Text": "钟点工阿姨",
                "Speaker": letter,
                "EmoAnnotation": {"EmoAnnotator1": label, "final_mul_emo": label, "final_main_emo": label},
            }
            for number, (letter, label) in enumerate(labels.items(), start=1)
        },
    }


def place_m3ed(root: Path, *, name: str = "annotation.json") -> None:
    annotation = {
        "shaonianpai": {"shaonianpai_1": m3ed_dialogue("shaonianpai_1", {"A": "Anger", "B": "Disgust"})},
        "nishiwodeyan": {"nishiwodeyan_7": m3ed_dialogue("nishiwodeyan_7", {"B": "Fear", "A": "Sad"}, role="方俐")},
    }
    root.mkdir(exist_ok=True)
    (root / name).write_text(json.dumps(annotation, ensure_ascii=False), encoding="utf-8")
    for part, series in {"train": "shaonianpai", "val": "nishiwodeyan", "test": "other"}.items():
        (root / "splitInfo").mkdir(exist_ok=True)
        (root / "splitInfo" / f"movie_list_{part}.txt").write_text(series)


@pytest.mark.parametrize("name", ["annotation.json", "M3ED.json"])
def test_m3ed_tells_roles_of_a_series_apart_and_keeps_its_division(tmp_path: Path, name: str) -> None:
    place_m3ed(tmp_path, name=name)
    first = record(tmp_path / "modality_speech" / "A_shaonianpai_1_1.wav")
    record(tmp_path / "cut" / "nishiwodeyan_7_1.wav")
    scan = m3ed.scan(tmp_path)
    assert scan.clips[0] == Clip(
        key="m3ed/shaonianpai_1_1",
        corpus="m3ed",
        audio=first,
        emotion="angry",
        speaker="shaonianpai-王胜男",
        sentence=None,
        text="钟点工阿姨",
        language="zh",
        session="shaonianpai",
        split="train",
    )
    assert (scan.clips[1].speaker, scan.clips[1].emotion, scan.clips[1].split) == ("nishiwodeyan_7-B", "fear", "dev")
    assert reasons(scan) == {
        "shaonianpai_1_2": "label Disgust is not one of the six",
        "nishiwodeyan_7_2": "no audio file",
    }


@pytest.mark.parametrize("content", ["{", "[]", '{"a": {"a_1": {}}}', '{"a": {"a_1": {"Dialog": {"a_1_1": "text"}}}}'])
def test_m3ed_with_another_annotation_says_what_is_published(tmp_path: Path, content: str) -> None:
    (tmp_path / "annotation.json").write_text(content)
    with pytest.raises(CorpusError, match=r"annotation\.json is not as published \(series -> dialogue"):
        m3ed.scan(tmp_path)


def place_emotiontalk(root: Path, name: str, annotation: str) -> Path:
    parts = name.split("_")
    below = Path(*("_".join(parts[:length]) for length in (1, 2, 3)), name)
    path = root / "Audio" / "json" / below.with_suffix(".json")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(annotation, encoding="utf-8")
    return record(root / "Audio" / "wav" / below.with_suffix(".wav"))


def test_emotiontalk_joins_annotation_and_recording_and_cleans_the_text(tmp_path: Path) -> None:
    facts = {"emotion_result": "fearful", "speaker_id": "14", "content": "[over/]他会[/over]偷拍你[interrupted]。"}
    audio = place_emotiontalk(tmp_path, "G00009_42_14_024", json.dumps(facts))
    assert emotiontalk.scan(tmp_path).clips == (
        Clip(
            key="emotiontalk/G00009_42_14_024",
            corpus="emotiontalk",
            audio=audio,
            emotion="fear",
            speaker="14",
            sentence=None,
            text="他会偷拍你。",
            language="zh",
            session="G00009",
            split="train",
        ),
    )


def test_emotiontalk_keeps_the_division_by_group_and_the_speaker_of_the_name(tmp_path: Path) -> None:
    for group in ("G00001", "G00003", "G00012", "G00015"):
        place_emotiontalk(tmp_path, f"{group}_01_07_001", '{"emotion_result": "happy"}')
    clips = emotiontalk.scan(tmp_path).clips
    assert [(clip.split, clip.speaker, clip.text) for clip in clips] == [
        ("dev", "07", None),
        ("test", "07", None),
        ("dev", "07", None),
        ("test", "07", None),
    ]


def test_emotiontalk_leaves_out_what_it_cannot_use(tmp_path: Path) -> None:
    place_emotiontalk(tmp_path, "G00002_01_01_001", '{"emotion_result": "sad"}')
    place_emotiontalk(tmp_path, "G00002_01_01_002", '{"emotion_result": "disgusted"}')
    place_emotiontalk(tmp_path, "G00002_01_01_003", '{"emotion_result": null}')
    place_emotiontalk(tmp_path, "G00002_01_01_004", "[broken")
    place_emotiontalk(tmp_path, "G00002_01_01_005", '{"emotion_result": "sad"}').unlink()
    (tmp_path / "Audio" / "json" / "index.json").write_text("{}")
    scan = emotiontalk.scan(tmp_path)
    assert len(scan.clips) == 1
    assert reasons(scan) == {
        "G00002_01_01_002": "label disgusted is not one of the six",
        "G00002_01_01_003": "no label",
        "G00002_01_01_004": "its annotation is not a JSON object",
        "G00002_01_01_005": "no audio file",
        "index": "its name is not of the form G00009_42_14_024",
    }


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030", "utf-16"])
def test_vcemo_is_read_from_its_table_as_assumed(tmp_path: Path, encoding: str) -> None:
    audio = record(tmp_path / "wav" / "p017" / "0042.wav")
    table = 'id,speaker,emotion,text,split\n0042,p017,Happy,"太好了，走",train\n0043,p017,sad,难过,train\n'
    (tmp_path / "labels.csv").write_bytes(table.encode(encoding))
    scan = vcemo.scan(tmp_path)
    assert scan.clips == (
        Clip(
            key="vcemo/0042",
            corpus="vcemo",
            audio=audio,
            emotion="happy",
            speaker="p017",
            sentence=None,
            text="太好了，走",
            language="zh",
            split="train",
        ),
    )
    assert reasons(scan) == {"0043": "no audio file"}


def test_vcemo_leaves_out_other_labels_and_ids_that_come_twice(tmp_path: Path) -> None:
    record(tmp_path / "wav" / "a" / "1.wav")
    record(tmp_path / "wav" / "b" / "1.wav")
    (tmp_path / "labels.csv").write_text("id,speaker,emotion,text\n1,a,sad,x\n1,b,sad,y\n1,a,disgust,z\n")
    scan = vcemo.scan(tmp_path)
    assert [clip.speaker for clip in scan.clips] == ["a"]
    assert [skipped.reason for skipped in scan.skipped] == [
        "its key vcemo/1 is that of an earlier clip",
        "label disgust is not one of the six",
    ]


@pytest.mark.parametrize("module", [iemocap, m3ed, emotiontalk, vcemo])
def test_another_folder_is_refused_with_what_was_expected_and_found(module: Any, tmp_path: Path) -> None:
    scan: Callable[[Path], Scan] = module.scan
    record(tmp_path / "wav" / "a" / "1.wav")
    with pytest.raises(CorpusError, match=r"expected .*; found wav$"):
        scan(tmp_path)
