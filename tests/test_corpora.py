import json
from pathlib import Path
from typing import Any

import pytest

from model.errors import CorpusError
from training.corpora.catalog import CORPORA, corpus_named
from training.corpora.manifest import Clip, read_manifest

ROW: dict[str, Any] = {
    "key": "casia/anna-angry-1",
    "audio": "audio/anna-angry-1.flac",
    "emotion": "angry",
    "speaker": "anna",
    "sentence": "1",
    "text": "你好",
    "language": "zh",
    "seconds": 1.5,
}


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """Where a manifest is to be written; the recording of ROW lies beside it."""
    (tmp_path / "audio").mkdir()
    (tmp_path / ROW["audio"]).touch()
    return tmp_path / "manifest.jsonl"


def test_a_row_becomes_a_clip_with_its_audio_beside_the_manifest(manifest: Path) -> None:
    manifest.write_text(json.dumps(ROW) + "\n\n", encoding="utf-8")
    (clip,) = read_manifest(manifest, corpus="casia")
    assert clip == Clip(
        key="casia/anna-angry-1",
        corpus="casia",
        audio=manifest.parent / "audio" / "anna-angry-1.flac",
        emotion="angry",
        speaker="anna",
        sentence="1",
        text="你好",
        language="zh",
    )


def test_what_is_unknown_is_none(manifest: Path) -> None:
    manifest.write_text('{"key": "a"}')
    (clip,) = read_manifest(manifest, corpus="casia")
    assert (clip.audio, clip.emotion, clip.speaker, clip.sentence, clip.text) == (None,) * 5
    assert clip.language == ""


def test_a_missing_manifest_says_what_to_set(manifest: Path) -> None:
    with pytest.raises(CorpusError, match="does not exist; set VCEMO_DATA"):
        read_manifest(manifest, corpus="casia")


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("{", "is not JSON"),
        ("[1]", "does not hold an object"),
        ('"text"', "does not hold an object"),
        ('{"emotion": "angry"}', "has no key"),
        ('{"key": "a", "emotion": "bored"}', "has emotion 'bored'; expected one of angry"),
        ('{"key": "a", "audio": "audio/gone.flac"}', "gone.flac, which does not exist"),
        (json.dumps(ROW), "has the key 'casia/anna-angry-1' of an earlier line"),
    ],
)
def test_a_malformed_line_is_named_by_file_and_number(manifest: Path, line: str, complaint: str) -> None:
    manifest.write_text(f"{json.dumps(ROW)}\n\n{line}\n", encoding="utf-8")
    with pytest.raises(CorpusError) as caught:
        read_manifest(manifest, corpus="casia")
    assert caught.value.message.startswith(f"{manifest}:3 ")
    assert complaint in caught.value.message


def test_every_corpus_has_a_title_a_licence_and_manifests_below_its_root() -> None:
    for name, corpus in CORPORA.items():
        assert corpus.name == name
        assert corpus.title
        assert corpus.licence
        assert all(manifest.endswith(".jsonl") and not Path(manifest).is_absolute() for manifest in corpus.manifests)


def test_a_corpus_reads_its_manifests_one_after_the_other(tmp_path: Path) -> None:
    corpus = corpus_named("ewect")
    assert len(corpus.manifests) > 1
    for number, name in enumerate(corpus.manifests):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(json.dumps({"key": str(number), "text": "好"}), encoding="utf-8")
    assert [clip.key for clip in corpus.read(tmp_path)] == [str(number) for number in range(len(corpus.manifests))]


def test_an_unknown_corpus_lists_the_known_ones() -> None:
    with pytest.raises(CorpusError, match="unknown corpus 'iemocap'; known: casia, emodb"):
        corpus_named("iemocap")
