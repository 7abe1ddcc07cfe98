"""A service that follows a bundle store: its current version is served, its candidate compared, unheard."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from reload_fixtures import copied_bundle, during, until
from service_fixtures import BUNDLE

from model.bundle_store import BundleStore
from model.recognizer import EmotionRecognizer
from service.budget import Budget
from service.lifecycle import Service
from service.settings import Settings

pytest_plugins = ("reload_fixtures", "service_fixtures")


@pytest.fixture
def store(shelf: Path, tmp_path: Path) -> BundleStore:
    store = BundleStore(str(tmp_path / "store"))
    store.push(shelf / "first")
    store.push(shelf / "second")
    store.promote("1.0.0")
    return store


def settings_of(store: BundleStore, tmp_path: Path, **more: Any) -> Settings:
    more = {"bundle_store_poll_seconds": 3600} | more
    return Settings(bundle_store=store.url, bundle_store_folder=tmp_path / "pulled", bundle=BUNDLE, **more)


def looks(service: Service) -> dict[str, float]:
    samples = next(iter(service.metrics.store_looks.collect())).samples
    return {one.labels["code"]: one.value for one in samples if one.name.endswith("_total")}


def test_what_the_store_points_to_is_served_then_rolled_back_and_a_broken_one_refused(
    store: BundleStore, first: EmotionRecognizer, tmp_path: Path
) -> None:
    service = Service(settings_of(store, tmp_path), recognizer=first)

    async def scenario() -> None:
        assert service._follower is not None
        await service._follower.look()
        assert service.require_loaded().facts.version == "1.0.0"
        store.promote("2.0.0")
        await service._follower.look()
        assert service.require_loaded().facts.version == "2.0.0"

        wrong = {"int8": dict.fromkeys(first.bundle.facts.labels, 0.0) | {"fear": 1.0}}
        store.push(copied_bundle(tmp_path / "wrong", version="3.0.0", golden_audio=wrong))
        store.promote("3.0.0")
        await service._follower.look()
        await service._follower.look()
        assert service.require_loaded().facts.version == "2.0.0"
        assert looks(service)["bundle_refused"] == 1, "what was refused is not tried again"

        assert store.rollback().version == "2.0.0"
        await service._follower.look()
        assert looks(service) == {"ok": 4, "bundle_refused": 1}

    during(service, scenario)


def test_a_store_that_cannot_be_read_leaves_what_is_served(
    store: BundleStore, first: EmotionRecognizer, tmp_path: Path
) -> None:
    service = Service(settings_of(store, tmp_path), recognizer=first)

    async def scenario() -> None:
        (Path(store.url) / "current").write_text("{")
        assert service._follower is not None
        await service._follower.look()
        assert looks(service) == {"store_unreachable": 1}
        assert service.state == "ready"

    during(service, scenario)


def test_the_store_is_asked_first_and_the_configured_bundle_where_it_has_none(
    store: BundleStore, tmp_path: Path
) -> None:
    follower = Service(settings_of(store, tmp_path))._follower
    assert follower is not None
    folder = follower.first()
    assert folder is not None
    assert folder.name.startswith("1.0.0-")
    empty = Service(settings_of(BundleStore(str(tmp_path / "empty")), tmp_path))._follower
    assert empty is not None
    assert empty.first() is None


def test_a_candidate_judges_what_is_answered_and_nobody_hears_of_it(
    store: BundleStore, first: EmotionRecognizer, tmp_path: Path, speech: bytes
) -> None:
    service = Service(settings_of(store, tmp_path, candidate_share=1.0), recognizer=first)

    def compared() -> dict[str, float]:
        samples = next(iter(service.metrics._candidate.collect())).samples
        return {one.labels["outcome"]: one.value for one in samples if one.name.endswith("_total")}

    async def scenario() -> None:
        store.nominate("2.0.0")
        assert service._follower is not None
        await service._follower.look()
        edition = service.require_loaded()
        recognition = await edition.judge(speech, Budget(30))
        await service.aftermath.see("one", recognition.segments, edition=edition)
        await until(lambda: bool(compared()))
        assert compared() == {"agreed": len(recognition.segments), "disagreed": 0}
        assert edition.facts.version == "1.0.0"
        store.withdraw()
        await service._follower.look()
        assert service.aftermath._shadow is None

    during(service, scenario)


def test_the_pointer_is_looked_at_again_and_again(store: BundleStore, first: EmotionRecognizer, tmp_path: Path) -> None:
    service = Service(settings_of(store, tmp_path, bundle_store_poll_seconds=0.1), recognizer=first)

    async def scenario() -> None:
        await until(lambda: looks(service).get("ok", 0) >= 2)
        await asyncio.sleep(0)

    during(service, scenario)
