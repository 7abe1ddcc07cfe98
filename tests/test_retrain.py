"""From corrected labels to the store's next version, or to a reason why not."""

import io
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drawn_features import drawn_features
from rich.console import Console
from service_fixtures import RECORDINGS
from small_bundle import small_bundle
from sqlalchemy import MetaData, create_engine, insert

from model.assets import AssetStore
from model.bundle import CARD_FILE, BundleFacts, read_facts
from model.bundle_store import BundleStore
from model.errors import CorpusError, VersionMissing
from model.feedback import feedback_table, pack_features
from model.labels import EMOTIONS
from training.__main__ import main
from training.corpora.feedback import feedback_examples, prepare_feedback
from training.experiment import load_experiment
from training.fine_tune import Sources
from training.retrain import Outcome, retrain
from training.retraining import Terms
from training.workshop import Workshop

_TERMS = Terms()
TESTED = {"first_in_line": "happy", "leave_a_message": "neutral", "not_in_service": "angry"}


def corrections(path: Path, *, digest: str, number: int = 60, **changes: Any) -> str:
    """Write a service's database of corrections, of features drawn at random."""
    engine = create_engine(f"sqlite:///{path}")
    tables = MetaData()
    table = feedback_table(tables)
    tables.create_all(engine)
    generator = np.random.default_rng(0)
    with engine.begin() as connection:
        for index in range(number):
            values = {
                "id": f"{index:032}",
                "request_id": f"request-{index}",
                "segment_id": "0-0",
                "label": EMOTIONS[index % len(EMOTIONS)],
                "note": "",
                "created_at": f"2026-01-01T00:00:{index:02}.000+00:00",
                "predicted": "neutral",
                "confidence": 0.5,
                "bundle": "drawn",
                "bundle_version": "1.0.0",
                "features_digest": digest,
                "transcript_status": "ok",
                "seconds": 1.0,
                "features": pack_features(drawn_features(generator)),
                "audio": None,
            }
            connection.execute(insert(table).values(**(values | changes)))
    engine.dispose()
    return f"sqlite:///{path}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Ground:
    """A store whose current bundle is small, feedback that was prepared, and a fixed test set."""

    folder: Path
    facts: BundleFacts
    sources: Sources
    assets: AssetStore

    def retrain(
        self, store: BundleStore, *, terms: Terms = _TERMS, dry_run: bool = False, **changes: Any
    ) -> tuple[Outcome, str]:
        recipe = load_experiment("fine_tune", overrides=["epochs=1"])
        workshop = Workshop(
            experiment=replace(recipe, **changes),
            data=self.folder,
            cache=self.folder / "cache",
            assets=self.assets,
            threads=1,
            console=Console(file=io.StringIO()),
        )
        out = Console(file=io.StringIO(), width=140)
        outcome = retrain(store, self.sources, workshop, terms=terms, dry_run=dry_run, out=out)
        return outcome, out.file.getvalue()  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory, assets: AssetStore) -> Ground:
    folder = tmp_path_factory.mktemp("retrain")
    small_bundle(folder / "first")
    facts, _ = read_facts(folder / "first")
    url = corrections(folder / "vcemo.sqlite3", digest=facts.features_digest)
    prepare_feedback(url, folder / "feedback")
    fixed = folder / "fixed.jsonl"
    rows = [
        {"key": name, "audio": str(RECORDINGS / f"{name}.wav"), "emotion": emotion, "language": "en"}
        for name, emotion in TESTED.items()
    ]
    fixed.write_text("".join(json.dumps(row) + "\n" for row in rows))
    sources = Sources(
        replay={}, manifests=(), manifest_times=1.0, feedback=folder / "feedback", feedback_times=1.0, tests=(fixed,)
    )
    return Ground(folder=folder, facts=facts, sources=sources, assets=assets)


@pytest.fixture
def store(ground: Ground, tmp_path: Path) -> BundleStore:
    store = BundleStore(str(tmp_path / "store"))
    store.push(ground.folder / "first")
    store.promote("1.0.0")
    return store


def test_what_is_not_better_is_refused_and_refused_again_without_training(ground: Ground, store: BundleStore) -> None:
    outcome, printed = ground.retrain(store, learning_rate=1e-9)
    assert outcome is Outcome.REFUSED
    assert "60 of feedback" in printed
    assert "not better" in printed
    pointer = store.pointer()
    assert pointer is not None
    assert pointer.version == "1.0.0"
    outcome, printed = ground.retrain(store, learning_rate=1e-9)
    assert outcome is Outcome.REFUSED
    assert "nothing to do: refused at" in printed


def test_what_keeps_the_terms_is_promoted_with_a_card_that_says_what_changed(
    ground: Ground, store: BundleStore, tmp_path: Path
) -> None:
    terms = Terms(least_gain=-1.0, most_loss=1.0)  # the same judgements will do
    outcome, printed = ground.retrain(store, terms=terms, learning_rate=1e-9)
    assert outcome is Outcome.PROMOTED
    pointer = store.pointer()
    assert pointer is not None
    assert pointer.version.startswith("0.0.1-") or pointer.version.startswith("1.0.1-")
    bundle = store.pull(pointer.version, tmp_path / "new")
    card = (bundle / CARD_FILE).read_text(encoding="utf-8")
    assert "## What changed since 1.0.0" in card
    assert "60 of feedback" in card
    facts, _ = read_facts(bundle)
    assert facts.metrics["retrained"]["from_version"] == "1.0.0"
    assert set(facts.reference) == {"emotion", "status", "confidence", "seconds", "level"}
    assert "corrected labels of served calls" in {corpus["title"] for corpus in facts.corpora}

    outcome, printed = ground.retrain(store, terms=terms, learning_rate=1e-9)
    assert outcome is Outcome.PROMOTED
    assert f"nothing to do: this data made {pointer.version}" in printed


def test_a_dry_run_and_too_few_labels_train_nothing(ground: Ground, store: BundleStore) -> None:
    outcome, printed = ground.retrain(store, dry_run=True)
    assert outcome is Outcome.PROMOTED
    assert "dry run: nothing was trained; it would become 1.0.1-" in printed
    outcome, printed = ground.retrain(store, terms=Terms(least_new=61))
    assert outcome is Outcome.TOO_LITTLE
    assert [one.facts.version for one in store.versions()] == ["1.0.0"]
    assert not (Path(store.url) / "records").exists()


def test_a_store_without_a_current_version_has_nothing_to_start_from(ground: Ground, tmp_path: Path) -> None:
    with pytest.raises(VersionMissing, match="no current version"):
        ground.retrain(BundleStore(str(tmp_path)))


def test_nothing_to_judge_on_is_an_error(ground: Ground, store: BundleStore) -> None:
    without = replace(ground, sources=replace(ground.sources, tests=()))
    with pytest.raises(CorpusError, match="nothing to judge on"):
        without.retrain(store)


def test_prepare_feedback_writes_a_manifest_and_what_the_network_saw(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = corrections(tmp_path / "db.sqlite3", digest="one", number=12)
    out = tmp_path / "feedback"
    for _ in range(2):
        assert main(["prepare", "feedback", "--root", url, "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "12 corrections: 2 angry" in printed
    assert "10 differ from what was answered" in printed
    examples, others = feedback_examples(out, digest="one")
    assert (len(examples), others) == (12, 0)
    assert examples[0].clip.key == "request-0/0-0"
    assert examples[0].features.mel is not None
    assert feedback_examples(out, digest="another") == ([], 12)


def test_a_database_without_feedback_says_so(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="there is no database"):
        prepare_feedback(f"sqlite:///{tmp_path}/none.sqlite3", tmp_path / "out")
    create_engine(f"sqlite:///{tmp_path}/empty.sqlite3").connect().close()
    (tmp_path / "empty.sqlite3").touch()
    with pytest.raises(CorpusError, match="holds no feedback"):
        prepare_feedback(f"sqlite:///{tmp_path}/empty.sqlite3", tmp_path / "out")


def test_exit_codes_are_in_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["retrain", "--help"])
    printed = capsys.readouterr().out
    for outcome in Outcome:
        assert f"\n  {outcome.value}    " in printed
