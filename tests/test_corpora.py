import json
from pathlib import Path
from typing import Any

import pytest

from model.errors import CorpusError
from training.corpora.catalog import CORPORA, corpus_named
from training.corpora.manifest import Clip, read_manifest, write_manifest

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


HELD_OUT = ["ewect/usual_train-10", "ewect/usual_train-40", "ewect/usual_train-42", "ewect/usual_train-53"]
"""The held-out posts among the first sixty."""


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


def test_audio_may_be_null_and_the_file_may_bear_a_mark(manifest: Path) -> None:
    manifest.write_text('{"key": "a", "audio": null}', encoding="utf-8-sig")
    (clip,) = read_manifest(manifest, corpus="casia")
    assert clip.audio is None


def test_a_manifest_that_is_not_utf8_says_so(manifest: Path) -> None:
    manifest.write_bytes('{"key": "a", "text": "你好"}'.encode("gb18030"))
    with pytest.raises(CorpusError, match="is not UTF-8"):
        read_manifest(manifest, corpus="casia")


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


def write_posts(root: Path, count: int) -> dict[str, set[str]]:
    """Posts in every part of EWECT; returns the keys of each part."""
    names = ("virus_train", "usual_train", "virus_extra", "virus_dev")
    (root / "ewect").mkdir()
    for name in names:
        rows = [json.dumps({"key": f"ewect/{name}-{number}", "text": "好"}) for number in range(1, count + 1)]
        (root / "ewect" / f"{name}.jsonl").write_text("\n".join(rows), encoding="utf-8")
    return {name: {f"ewect/{name}-{number}" for number in range(1, count + 1)} for name in names}


def test_a_tenth_of_the_usual_posts_is_never_trained_on(tmp_path: Path) -> None:
    keys = write_posts(tmp_path, 1000)
    trained, tenth, dev = (
        {clip.key for clip in corpus_named(name).read(tmp_path)} for name in ("ewect", "ewect_tenth", "ewect_dev")
    )
    assert tenth < keys["usual_train"]
    assert 80 <= len(tenth) <= 120
    assert trained == (keys["virus_train"] | keys["usual_train"] | keys["virus_extra"]) - tenth
    assert dev == keys["virus_dev"]


def test_which_posts_are_held_out_depends_on_their_keys_alone(tmp_path: Path) -> None:
    """On every machine, and however many others there are."""
    (tmp_path / "few").mkdir()
    (tmp_path / "many").mkdir()
    write_posts(tmp_path / "few", 60)
    write_posts(tmp_path / "many", 200)
    few, many = ([one.key for one in CORPORA["ewect_tenth"].read(tmp_path / name)] for name in ("few", "many"))
    assert few == [key for key in many if int(key.rpartition("-")[2]) <= 60]
    assert few == HELD_OUT


def test_an_unknown_corpus_lists_the_known_ones() -> None:
    with pytest.raises(CorpusError, match=r"unknown corpus 'cremad'; known: casia, emodb, .* or the path of a \.jsonl"):
        corpus_named("cremad")


def test_published_corpora_are_scanned_and_prepared_under_their_name() -> None:
    scanned = {name for name, corpus in CORPORA.items() if corpus.scan is not None}
    assert scanned == {"vcemo", "casia", "esd", "m3ed", "emotiontalk", "iemocap", "nemo", "ravdess", "emodb"}
    for name in scanned:
        assert CORPORA[name].manifests == (f"{name}/manifest.jsonl",)


def clip(key: str, **facts: Any) -> Clip:
    unknown: dict[str, Any] = dict.fromkeys(("audio", "emotion", "speaker", "sentence", "text"))
    return Clip(key=key, corpus="mine", **{**unknown, "language": "zh", **facts})


def test_a_written_manifest_reads_back_equal(tmp_path: Path) -> None:
    inside = tmp_path / "mine" / "audio" / "1.wav"
    outside = tmp_path / "elsewhere" / "2.wav"
    for audio in (inside, outside):
        audio.parent.mkdir(parents=True)
        audio.touch()
    clips = [
        clip(
            "mine/1", audio=inside, emotion="sad", speaker="s", sentence="7", text="你好\n“呀”\u2028", session="monday"
        ),
        clip("mine/2", audio=outside, emotion="happy", split="test", language="en"),
        clip("mine/3", text=""),
    ]
    path = tmp_path / "mine" / "manifest.jsonl"
    write_manifest(path, clips, {"mine/2": {"asr_text": "hello", "asr_status": "ok", "seconds": 1.5}})
    assert read_manifest(path, corpus="mine") == clips
    first, second, third = (json.loads(line) for line in path.read_text(encoding="utf-8").split("\n")[:-1])
    assert (first["audio"], second["audio"]) == ("audio/1.wav", str(outside))
    assert (second["asr_text"], second["asr_status"], second["seconds"]) == ("hello", "ok", 1.5)
    assert third == {"key": "mine/3", "text": "", "language": "zh"}


def test_audio_is_written_relative_however_the_folder_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "1.wav").touch()
    monkeypatch.chdir(tmp_path)
    write_manifest(Path("manifest.jsonl"), [clip("a", audio=tmp_path / "1.wav")])
    assert json.loads((tmp_path / "manifest.jsonl").read_text())["audio"] == "1.wav"


@pytest.mark.parametrize(
    ("clips", "extra", "complaint"),
    [
        ([clip("a"), clip("a")], {}, "two clips have the key 'a'"),
        ([clip("a")], {"b": {"seconds": 1}}, "extra columns for 'b', which no clip has"),
        ([clip("a")], {"a": {"text": "x", "audio": "y"}}, "extra columns for 'a' hide its audio, text"),
    ],
)
def test_what_would_not_read_back_is_not_written(
    tmp_path: Path, clips: list[Clip], extra: dict[str, dict[str, Any]], complaint: str
) -> None:
    path = tmp_path / "manifest.jsonl"
    path.write_text("as it was")
    with pytest.raises(CorpusError) as caught:
        write_manifest(path, clips, extra)
    assert caught.value.message == complaint
    assert path.read_text() == "as it was"


def test_a_manifest_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "manifest.jsonl"
    path.write_text("as it was")
    with pytest.raises(TypeError):
        write_manifest(path, [clip("a")], {"a": {"seconds": object()}})
    with pytest.raises(UnicodeEncodeError):
        write_manifest(path, [clip("a", text="\ud800")])
    assert [(each.name, each.read_text()) for each in tmp_path.iterdir()] == [("manifest.jsonl", "as it was")]
