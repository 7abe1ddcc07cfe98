"""Another bundle in a running service, with the real recogniser; what fails leaves everything as it was."""

import asyncio
import gc
import threading
import time
import weakref
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from prometheus_client import generate_latest
from reload_fixtures import (
    copied_bundle,
    during,
    of_another_schema,
    rewrite_facts,
    until,
    with_a_byte_flipped,
    with_another_golden_case,
    with_another_golden_recording,
)

from model.assets import AssetStore
from model.audio import Recording
from model.errors import BundleOutside, BundleRefused, NotReady, ReloadUnderWay
from model.processors import usable_processors
from model.recognizer import EmotionRecognizer
from model.segment import Utterance
from service.budget import Budget
from service.lifecycle import Service
from service.settings import Settings

pytest_plugins = ("service_fixtures", "reload_fixtures")


def service_of(shelf: Path, first: EmotionRecognizer) -> Service:
    return Service(Settings(bundle=shelf / "current"), recognizer=first)


def metrics_of(service: Service) -> str:
    return generate_latest(service.metrics.registry).decode()


def stage_threads(service: Service) -> int:
    names = tuple(f"{stage.name}-" for stage in service.require_loaded().stages)
    return sum(thread.name.startswith(names) for thread in threading.enumerate())


def test_another_version_takes_over_and_the_one_before_ends(shelf: Path, first: EmotionRecognizer) -> None:
    service = service_of(shelf, first)

    async def scenario() -> None:
        threads = stage_threads(service)
        done = await service.reload("second")
        assert (done.version, done.previous_version, done.has_changed) == ("2.0.0", "1.0.0", True)
        assert service.require_loaded().facts.version == "2.0.0"
        await until(lambda: not service.editions.retiring)
        assert stage_threads(service) == threads
        text = metrics_of(service)
        assert text.count("vcemo_bundle_info{") == 1
        assert 'version="2.0.0"' in text
        assert 'vcemo_queue_depth{stage="lower_layers"} 0.0' in text
        assert 'vcemo_reloads_total{code="ok"} 1.0' in text

    during(service, scenario)


def test_what_was_freed_is_given_back_again_and_again_as_long_as_it_serves(
    shelf: Path, first: EmotionRecognizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    given_back: list[int] = []
    monkeypatch.setattr("service.editions._MEMORY_SECONDS", 0.001)
    monkeypatch.setattr("service.editions.return_free_memory", lambda: given_back.append(1))

    during(service_of(shelf, first), lambda: until(lambda: len(given_back) > 2))

    ended_with = len(given_back)
    time.sleep(0.05)
    assert len(given_back) == ended_with


def test_parts_that_are_the_same_are_in_memory_once(shelf: Path, first: EmotionRecognizer) -> None:
    service = service_of(shelf, first)

    async def scenario() -> None:
        await service.reload("second")
        parts = service.require_loaded().recognizer.parts
        assert parts is not None
        assert first.parts is not None
        for name in ("speech", "words", "sentence", "lower_layers"):
            assert getattr(parts, name) is getattr(first.parts, name)
        assert service.require_loaded().recognizer.bundle is not first.bundle

    during(service, scenario)


def test_a_version_that_has_ended_leaves_the_memory_without_a_search_for_garbage(
    shelf: Path, first: EmotionRecognizer
) -> None:
    service = service_of(shelf, first)

    async def scenario() -> None:
        await service.reload("second")
        second = weakref.ref(service.require_loaded().recognizer.bundle)
        gc.disable()
        try:
            await service.reload("first")
            await until(lambda: not service.editions.retiring)
            assert second() is None
        finally:
            gc.enable()

    during(service, scenario)


def test_a_request_ends_on_the_version_it_began_with(shelf: Path, first: EmotionRecognizer, speech: bytes) -> None:
    service = service_of(shelf, first)

    async def scenario() -> None:
        with service.admitted() as before:
            await service.reload("second")
            with service.admitted() as after:
                assert (before.facts.version, after.facts.version) == ("1.0.0", "2.0.0")
                assert [edition.facts.version for edition in service.editions.retiring] == ["1.0.0"]
                assert service.num_in_flight == 2
                # The same upload on both: nobody joins the work of another version.
                answers = await asyncio.gather(*(one.judge(speech, Budget(30)) for one in (before, after)))
            assert answers[0].probabilities == pytest.approx(answers[1].probabilities, abs=1e-4)
            assert "vcemo_duplicate_uploads_total 0.0" in metrics_of(service)
            assert service.editions.retiring
        await until(lambda: not service.editions.retiring)
        with pytest.raises(NotReady):
            await before.judge(speech, Budget(30))

    during(service, scenario)


SPOILT: dict[str, tuple[Callable[[Path], None], str]] = {
    "fusion.onnx": (partial(with_a_byte_flipped, name="fusion.onnx"), "bundle_checksum_mismatch"),
    "golden.npz": (partial(with_a_byte_flipped, name="golden.npz"), "bundle_checksum_mismatch"),
    "golden.wav": (partial(with_a_byte_flipped, name="golden.wav"), "bundle_checksum_mismatch"),
    "lower_layers.onnx": (partial(with_a_byte_flipped, name="lower_layers.onnx"), "bundle_checksum_mismatch"),
    "MODEL_CARD.md": (partial(with_a_byte_flipped, name="MODEL_CARD.md"), "bundle_checksum_mismatch"),
    "missing file": (lambda folder: (folder / "golden.wav").unlink(), "bundle_invalid"),
    "no facts": (lambda folder: (folder / "bundle.json").unlink(), "bundle_invalid"),
    "schema": (of_another_schema, "bundle_invalid"),
    "golden case": (with_another_golden_case, "golden_mismatch"),
    "golden recording": (with_another_golden_recording, "golden_mismatch"),
    "parts": (
        lambda folder: rewrite_facts(folder, {"assets": {"whisper-base": {"model.bin": "0" * 64}}}),
        "bundle_invalid",
    ),
    "unknown part": (lambda folder: rewrite_facts(folder, {"assets": {"whisper-huge": {}}}), "unknown_asset"),
    "other contents": (lambda folder: rewrite_facts(folder, {"version": "1.0.0", "created": "now"}), "bundle_invalid"),
}


def test_a_bundle_that_does_not_verify_is_refused_and_the_one_before_is_served_on(
    shelf: Path, first: EmotionRecognizer, speech: bytes
) -> None:
    service = service_of(shelf, first)

    async def scenario() -> None:
        for name, (spoil, code) in SPOILT.items():
            folder = copied_bundle(shelf / f"spoilt {name}", version="3.0.0")
            spoil(folder)
            with pytest.raises(BundleRefused) as caught:
                await service.reload(folder.name)
            assert caught.value.value == code, name
            assert "/" not in caught.value.message.replace("whisper-base/model.bin", ""), caught.value.message
        edition = service.require_loaded()
        assert edition.recognizer is first
        assert not service.editions.retiring
        assert (await edition.judge(speech, Budget(30))).emotion is not None
        assert f'vcemo_reloads_total{{code="bundle_refused"}} {len(SPOILT)}.0' in metrics_of(service)

    during(service, scenario)


def test_the_version_that_is_served_is_left_alone(shelf: Path, first: EmotionRecognizer) -> None:
    service = service_of(shelf, first)

    async def scenario() -> None:
        before = service.require_loaded()
        done = await service.reload()
        assert (done.version, done.has_changed) == ("1.0.0", False)
        assert service.require_loaded() is before
        assert 'vcemo_reloads_total{code="unchanged"} 1.0' in metrics_of(service)

    during(service, scenario)


def test_one_reload_at_a_time_and_a_failure_makes_room_for_the_next(shelf: Path, first: EmotionRecognizer) -> None:
    service = service_of(shelf, first)

    async def scenario() -> None:
        with pytest.raises(BundleOutside):
            await service.reload("../elsewhere")
        done, refused = await asyncio.gather(service.reload("second"), service.reload("second"), return_exceptions=True)
        assert not isinstance(done, BaseException)
        assert isinstance(refused, ReloadUnderWay)
        assert service.require_loaded().facts.version == "2.0.0"

    during(service, scenario)


def test_a_service_that_is_not_ready_takes_no_other_bundle(shelf: Path, first: EmotionRecognizer) -> None:
    service = service_of(shelf, first)
    with pytest.raises(NotReady):
        asyncio.run(service.reload("second"))

    async def scenario() -> None:
        service.begin_drain()
        with pytest.raises(NotReady):
            await service.reload("second")

    during(service, scenario)


class Hanging(EmotionRecognizer):
    """Does not come back from voice activity until it is told to."""

    goes_on = threading.Event()

    def utterances(self, recording: Recording, *, max_utterances: int | None = None) -> list[Utterance]:
        self.goes_on.wait()
        return super().utterances(recording, max_utterances=max_utterances)


def test_a_stage_that_hangs_in_an_earlier_version_still_turns_liveness_red(
    shelf: Path, first: EmotionRecognizer, assets: AssetStore, speech: bytes
) -> None:
    hanging = Hanging.load(shelf / "first", assets=assets, threads=usable_processors(), beside=first)
    service = Service(Settings(bundle=shelf / "current", max_batch_seconds=1.0), recognizer=hanging)

    async def scenario() -> None:
        with service.admitted() as old:
            judging = asyncio.ensure_future(old.judge(speech, Budget(30)))
            await until(lambda: old.busy_seconds > 1)
            await service.reload("second")
        for refuses in (service.require_alive, service.require_ready):
            with pytest.raises(NotReady, match="stage vad is stuck"):
                refuses()
        hanging.goes_on.set()
        await asyncio.wait({judging})
        await until(lambda: not service.editions.retiring)
        service.require_ready()

    during(service, scenario)
