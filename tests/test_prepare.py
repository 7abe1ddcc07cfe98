import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import soundfile
from conftest import FEATURES, MandarinClip
from rapidfuzz.distance import Levenshtein
from rich.console import Console

from model.assets import AssetStore
from model.audio import SAMPLE_RATE_HZ
from model.errors import CorpusError
from model.features import FeatureExtractor
from model.script import bare
from model.speech import SpeechRecognizer
from training.corpora import plain
from training.corpora.catalog import Corpus, corpus_named
from training.corpora.manifest import read_manifest
from training.corpora.scan import Skipped
from training.extraction import NO_SPEECH, Extraction
from training.prepare import UNUSABLE, Preparation, prepare, print_preparation

Samples = npt.NDArray[np.float32]
PLAIN = Corpus(name="mine", title="a corpus of [mine]", manifests=(), licence="none", scan=plain.scan)


@pytest.fixture(scope="module")
def opened(
    assets: AssetStore,
    speech_recognizer: SpeechRecognizer,
    feature_extractor: FeatureExtractor,
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[..., Extraction]:
    """Extractions on one cache for the module, as one user would have it."""
    cache = tmp_path_factory.mktemp("cache")

    def must_not_load() -> Any:
        raise AssertionError("everything is cached: nothing has to be loaded")

    def extraction(*, cached: bool = False) -> Extraction:
        return Extraction(
            config=FEATURES,
            load_speech=must_not_load if cached else lambda: speech_recognizer,
            load_features=must_not_load if cached else lambda: feature_extractor,
            assets={FEATURES.speech.asset: dict(assets.sha256(FEATURES.speech.asset))},
            data=Path("nowhere"),
            cache=cache,
        )

    return extraction


@pytest.fixture(scope="module")
def published(
    tmp_path_factory: pytest.TempPathFactory,
    mandarin_clips: Mapping[str, MandarinClip],
    recordings: Mapping[str, Samples],
) -> Path:
    """A corpus as somebody may bring it: a table, recordings, and some rows that cannot be used."""
    first, second, _ = mandarin_clips.values()
    english = recordings["first_in_line"][: 2 * SAMPLE_RATE_HZ]
    silence = np.zeros(SAMPLE_RATE_HZ, dtype=np.float32)
    root = tmp_path_factory.mktemp("published")
    lines = ["audio,emotion,language,speaker,text"]
    for name, samples, columns in (
        ("anna 1", first.samples, f"生气,zh,anna,{first.text}"),
        ("anna 2", second.samples, "中性,zh,anna,"),
        ("allison", english, "neutral,en,allison,Your call is now first in line."),
        ("silent", silence, "sad,zh,bob,静"),
        ("bored", silence, "boredom,zh,bob,"),
    ):
        soundfile.write(root / f"{name}.wav", samples, SAMPLE_RATE_HZ)
        lines.append(f"{name}.wav,{columns}")
    lines.append("gone.wav,sad,zh,bob,")
    (root / "manifest.csv").write_text("\n".join(lines), encoding="utf-8")
    return root


@pytest.fixture
def silent(tmp_path: Path) -> Path:
    """A corpus of five silent recordings, quickly done with."""
    root = tmp_path / "silent"
    root.mkdir()
    for number in range(5):
        soundfile.write(root / f"{number}.wav", np.zeros(1600, dtype=np.float32), SAMPLE_RATE_HZ)
    rows = [f"{number}.wav,sad" for number in range(5)]
    (root / "manifest.csv").write_text("\n".join(["audio,emotion", *rows]), encoding="utf-8")
    return root


def rows_of(manifest: Path) -> dict[str, dict[str, Any]]:
    rows = [json.loads(line) for line in manifest.read_text(encoding="utf-8").splitlines()]
    return {row["key"].rpartition("/")[2]: row for row in rows}


def test_a_corpus_becomes_a_manifest_with_transcripts_that_training_reads_back(
    opened: Callable[..., Extraction], published: Path, tmp_path: Path
) -> None:
    facts = prepare(PLAIN, published, tmp_path / "mine", extraction=opened())
    assert facts.manifest == tmp_path / "mine" / "manifest.jsonl"
    clips = {clip.key.rpartition("/")[2]: clip for clip in read_manifest(facts.manifest, corpus="mine")}
    assert list(clips) == ["anna 1", "anna 2", "allison", "silent"]
    assert [clip.emotion for clip in clips.values()] == ["angry", "neutral", "neutral", "sad"]
    assert [clip.speaker for clip in clips.values()] == ["anna", "anna", "allison", "bob"]
    assert [clip.language for clip in clips.values()] == ["zh", "zh", "en", "zh"]
    assert clips["anna 1"].audio == published / "anna 1.wav"
    assert clips["anna 2"].text is None
    rows = rows_of(facts.manifest)
    assert rows["anna 1"]["asr_status"] == "ok"
    assert rows["anna 2"]["asr_text"]
    assert 0.5 < rows["anna 1"]["seconds"] < 10
    assert (rows["allison"]["asr_text"], rows["allison"]["asr_status"]) == ("", "foreign")
    assert (rows["silent"]["asr_text"], rows["silent"]["asr_status"], rows["silent"]["seconds"]) == ("", UNUSABLE, 0.0)


def test_the_facts_count_what_can_be_used_and_say_what_cannot(
    opened: Callable[..., Extraction], published: Path, tmp_path: Path
) -> None:
    facts = prepare(PLAIN, published, tmp_path / "mine", extraction=opened())
    rows = rows_of(facts.manifest)
    assert facts.emotions == {"angry": 1, "neutral": 2}
    assert facts.num_speakers == 2
    assert facts.hours == pytest.approx(sum(row["seconds"] for row in rows.values()) / 3600)
    assert facts.statuses["foreign"] == 1
    assert sum(facts.statuses.values()) == 3
    assert {one.reason for one in facts.skipped} == {
        "label boredom is not one of the six",
        "no audio file",
        NO_SPEECH,
    }
    # Only the Mandarin clip that has a text is compared.
    written, heard = bare(rows["anna 1"]["text"]), bare(rows["anna 1"]["asr_text"])
    assert facts.num_compared == 1
    assert facts.character_error_rate == Levenshtein.distance(written, heard) / len(written)


def test_training_and_a_second_preparation_find_the_features_of_the_first(
    opened: Callable[..., Extraction], published: Path, tmp_path: Path
) -> None:
    out = tmp_path / "mine"
    facts = prepare(PLAIN, published, out, extraction=opened())
    content = facts.manifest.read_bytes()
    assert prepare(PLAIN, published, out, extraction=opened(cached=True)) == facts
    assert facts.manifest.read_bytes() == content
    by_path = opened(cached=True).examples(str(facts.manifest))
    assert [one.clip.key.rpartition("/")[2] for one in by_path] == ["anna 1", "anna 2", "allison"]
    # As a catalogued corpus whose manifest lies in a folder of its name.
    named = opened(cached=True).examples_of("mine", read_manifest(facts.manifest, corpus="mine"))
    assert [one.transcript for one in named] == [one.transcript for one in by_path]


def test_a_limit_keeps_clips_from_all_over_the_corpus(
    opened: Callable[..., Extraction], silent: Path, tmp_path: Path
) -> None:
    facts = prepare(PLAIN, silent, tmp_path / "out", extraction=opened(), limit=3)
    assert list(rows_of(facts.manifest)) == ["0", "2", "4"]
    with pytest.raises(ValueError, match="at least 1"):
        prepare(PLAIN, silent, tmp_path / "out", extraction=opened(), limit=0)


def test_audio_below_the_manifest_is_named_relative_to_it_even_where_the_folder_was_not_absolute(
    opened: Callable[..., Extraction], silent: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(silent.parent)
    facts = prepare(PLAIN, Path("silent"), Path("silent"), extraction=opened(), limit=1)
    assert rows_of(facts.manifest)["0"]["audio"] == "0.wav"


def test_a_manifest_of_ones_own_is_not_overwritten(
    opened: Callable[..., Extraction], silent: Path, tmp_path: Path
) -> None:
    facts = prepare(PLAIN, silent, tmp_path / "out", extraction=opened(), limit=1)
    content = facts.manifest.read_bytes()
    for root in (facts.manifest, facts.manifest.parent):
        with pytest.raises(CorpusError, match="overwritten"):
            prepare(PLAIN, root, facts.manifest.parent, extraction=opened())
    assert facts.manifest.read_bytes() == content


def test_a_corpus_without_a_published_layout_cannot_be_prepared(
    opened: Callable[..., Extraction], tmp_path: Path
) -> None:
    with pytest.raises(CorpusError, match="no published layout"):
        prepare(corpus_named("ewect"), tmp_path, tmp_path / "out", extraction=opened())


def printed(facts: Preparation) -> str:
    page = io.StringIO()
    print_preparation(facts, Console(file=page, width=100))
    return page.getvalue()


def test_the_printed_facts_group_what_was_skipped_with_three_examples() -> None:
    facts = Preparation(
        title="a corpus of [mine]",
        manifest=Path("/data/mine/manifest.jsonl"),
        emotions={"angry": 1200, "sad": 34},
        num_speakers=4,
        hours=1.256,
        statuses={"ok": 1200, "low_confidence": 34},
        skipped=(
            Skipped(item="late.wav", reason="no audio file"),
            *(Skipped(item=f"[{number}].wav", reason="no label") for number in range(5)),
        ),
        character_error_rate=0.1234,
        num_compared=1234,
    )
    page = printed(facts)
    for part in ("a corpus of [mine]", "1,200", "1,234", "4 speakers, 1.26 hours", "34 low_confidence, 1,200 ok"):
        assert part in page
    assert "12.3 % over 1,234 clips" in page
    assert "wrote /data/mine/manifest.jsonl" in page
    assert page.index("no label") < page.index("no audio file")
    assert "[2].wav" in page
    assert "[3].wav" not in page


def test_without_transcripts_or_losses_neither_is_mentioned() -> None:
    page = printed(
        Preparation(
            title="none",
            manifest=Path("manifest.jsonl"),
            emotions={},
            num_speakers=0,
            hours=0.0,
            statuses={},
            skipped=(),
            character_error_rate=None,
            num_compared=0,
        )
    )
    assert "error rate" not in page
    assert "skipped" not in page
