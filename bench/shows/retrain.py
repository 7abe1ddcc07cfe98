"""Corrected labels to a promoted bundle, while callers are answered: nothing lost, and a worse one refused."""

import asyncio
import datetime
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import chain, cycle
from pathlib import Path
from typing import Any, Final

import httpx

from bench.figures import Figure, Report
from bench.serving.load import Load, Recorded, closed_loop, send_predict
from bench.serving.server import Server, service_command, started
from bench.workbench import Workbench
from model.bundle import BundleFacts, read_facts
from model.bundle_store import BundleStore
from training.corpora.manifest import Clip, write_manifest
from training.experiment import Experiment, load_experiment
from training.export import write_bundle
from training.extraction import Extraction
from training.feature_cache import Example
from training.protocols import Corpora, Fold
from training.workshop import Workshop

_CORRECTIONS: Final = 200
_CALLERS: Final = 2
_POLL_SECONDS: Final = 1.0
_PATIENCE_SECONDS: Final = 3600.0
_DEADLINE_SECONDS: Final = 600.0
"""Of requests: training takes all processors meanwhile, and this is not about speed."""
_KNOWN_SPEAKER: Final = "liuchanhg"
_FIRST: Final = "1.0.0"


def measure(workbench: Workbench) -> Report:
    """Serve a bundle that knows one speaker, correct 200 answers about two others, retrain badly, well, and again."""
    clips = workbench.clips("casia")
    parts = _Parts.of(clips)
    with tempfile.TemporaryDirectory(prefix="retrain-") as name:
        folder = Path(name)
        manifest = folder / "casia.jsonl"  # so named, it finds the features of the corpus in the cache
        write_manifest(manifest, parts.manifest(clips))
        workshop = workbench.workshop(_recipe())
        first = _first_bundle(workbench, workshop, manifest, folder / "first")
        store = BundleStore(str(folder / "store"))
        store.push(first)
        store.promote(_FIRST)
        database = f"sqlite:///{folder}/feedback.sqlite3"
        options = {
            "--bundle-store": store.url,
            "--bundle-store-folder": f"{folder}/pulled",
            "--bundle-store-poll-seconds": f"{_POLL_SECONDS}",
            "--database-url": database,
            "--request-timeout-seconds": f"{_DEADLINE_SECONDS}",
        }
        command = service_command(first, workbench.cache, *chain.from_iterable(options.items()))
        with started("ours", command, ready_path="/health/ready") as server:
            changed = _correct(server, parts.corrected)
            retrain = _Command(workbench, store=store.url, feedback=database, manifest=manifest)
            worse = retrain.run("--set", "shuffle_labels=true", "--set", "learning_rate=3e-3", "--set", "epochs=2")
            kept = store.pointer()
            assert kept is not None
            better, load, versions = asyncio.run(_under_load(server, retrain, parts.callers))
            now = store.pointer()
            assert now is not None
            again = retrain.run()
    return Report(
        title=f"{_CORRECTIONS} corrected labels -> a promoted bundle, {_CALLERS} callers meanwhile",
        figures=[
            Figure(name="corrections that differ from what was answered", value=changed),
            Figure(name="labels dealt out at random: exit code 3 (refused)", value=worse.code == 3, floor=1),
            Figure(name="and the version that is served stays", value=kept.version == _FIRST, floor=1),
            *_promotion(better, load, num_new=versions[now.version]),
            Figure(
                name="again: exit code 0, nothing done",
                value=again.code == 0 and "nothing to do" in again.printed,
                floor=1,
            ),
            Figure(name="seconds again", value=again.seconds, better="lower"),
        ],
        settings={
            "served first": f"a network trained on {len(parts.known)} CASIA clips of {_KNOWN_SPEAKER} alone",
            "corrected": f"{_CORRECTIONS} clips of the two other speakers, posted, each given its label as feedback",
            "judged on": f"{len(parts.tested)} clips of all three speakers, of sentences that nobody was trained on",
        },
        remarks=[worse.printed.strip(), better.printed.strip()],
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Parts:
    """CASIA divided by sentence: what the first bundle knows, what is corrected, what both are judged on."""

    known: frozenset[str]
    corrected: Sequence[Clip]
    tested: frozenset[str]
    callers: Sequence[Recorded]

    @classmethod
    def of(cls, clips: Sequence[Clip]) -> "_Parts":
        sentences = sorted({clip.sentence or "" for clip in clips})
        learnt = set(sentences[: len(sentences) // 2])
        others = [clip for clip in clips if clip.sentence in learnt and clip.speaker != _KNOWN_SPEAKER]
        tested = [clip for clip in clips if clip.sentence not in learnt]
        step = len(others) / _CORRECTIONS
        return cls(
            known=frozenset(c.key for c in clips if c.sentence in learnt and c.speaker == _KNOWN_SPEAKER),
            corrected=[others[int(number * step)] for number in range(_CORRECTIONS)],
            tested=frozenset(clip.key for clip in tested),
            callers=[_recorded(clip) for clip in tested[::7]],
        )

    def manifest(self, clips: Sequence[Clip]) -> Iterator[Clip]:
        """Every clip, for the cache knows neighbours together; a label only where it is trained or judged on."""
        for clip in clips:
            if clip.key in self.tested:
                yield replace(clip, split="test")
            elif clip.key in self.known:
                yield replace(clip, split="train")
            else:
                yield replace(clip, emotion=None)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Ended:
    """A command that ended. record: what the store keeps of it."""

    code: int
    printed: str
    seconds: float
    record: dict[str, Any]
    seconds_to_serve: float = float("nan")


@dataclass(frozen=True, slots=True)
class _Command:
    """``python -m training retrain`` with its data."""

    workbench: Workbench
    store: str
    feedback: str
    manifest: Path

    def line(self, *more: str) -> list[str]:
        """Return the command line."""
        data = ("--store", self.store, "--feedback", self.feedback, "--manifest", str(self.manifest))
        # What is known already is shown twice as often as corrections, so that it is not forgotten.
        again = ("--manifest-times", "2")
        return [sys.executable, "-m", "training", "retrain", *data, *again, "--cache", str(self.workbench.cache), *more]

    def run(self, *more: str) -> _Ended:
        """Run it to its end."""
        began = time.perf_counter()
        done = subprocess.run(  # noqa: S603 - our own command
            self.line(*more), capture_output=True, text=True, check=False
        )
        return self._ended(done.returncode, done.stdout, done.stderr, time.perf_counter() - began)

    def _ended(self, code: int, printed: str, errors: str, seconds: float) -> _Ended:
        self.workbench.console.print(errors[-2000:] + printed, highlight=False, markup=False)
        records = sorted((Path(self.store) / "records").glob("*.json"), key=lambda path: path.stat().st_mtime)
        record = json.loads(records[-1].read_text(encoding="utf-8")) if records else {}
        return _Ended(code=code, printed=printed, seconds=seconds, record=record)


async def _under_load(
    server: Server, command: _Command, callers: Sequence[Recorded]
) -> tuple[_Ended, Load, Counter[str]]:
    """Retrain while callers ask, and go on until the new version has answered for a while."""
    before = BundleStore(command.store).pointer()
    versions: Counter[str] = Counter()
    first_new: list[float] = []
    retraining = asyncio.ensure_future(asyncio.to_thread(command.run))
    ended_at: list[float] = []
    retraining.add_done_callback(lambda _: ended_at.append(time.perf_counter()))

    async def send(client: httpx.AsyncClient, recorded: Recorded) -> httpx.Response:
        answer = await send_predict(client, recorded)
        if answer.is_success:
            version = answer.json()["model"]["version"]
            versions[version] += 1
            if before is not None and version != before.version:
                first_new.append(time.perf_counter())
        return answer

    def asked() -> Iterator[Recorded]:
        began = time.perf_counter()
        for recorded in cycle(callers):
            is_over = bool(ended_at) and (len(first_new) >= 50 or retraining.result().code != 0)
            if is_over or time.perf_counter() - began > _PATIENCE_SECONDS:
                return
            yield recorded

    load = await closed_loop(server.url, asked(), send=send, concurrency=_CALLERS, timeout_seconds=_DEADLINE_SECONDS)
    ended = await retraining
    waited = max(0.0, first_new[0] - ended_at[0]) if first_new else float("nan")
    return replace(ended, seconds_to_serve=waited), load, versions


def _promotion(better: _Ended, load: Load, *, num_new: int) -> list[Figure]:
    difference = _difference(better.record)
    return [
        Figure(name="corrected labels: exit code 0 (promoted)", value=better.code == 0, floor=1),
        Figure(
            name="recall on clips neither was trained on, gained",
            value=difference["value"],
            interval=(difference["low"], difference["high"]),
            floor=0.0,
        ),
        Figure(name="requests answered meanwhile", value=len(load.good)),
        Figure(name="errors", value=len(load.answers) - len(load.good), floor=0, better="lower"),
        Figure(name="answered by the new version", value=num_new, floor=1),
        Figure(
            name="seconds from the promotion to the first such answer",
            value=better.seconds_to_serve,
            better="lower",
        ),
        Figure(name="seconds to retrain, under load", value=better.seconds, better="lower"),
    ]


def _recipe() -> Experiment:
    return load_experiment("fine_tune", overrides=["epochs=30", "learning_rate=1e-3"])


def _first_bundle(workbench: Workbench, workshop: Workshop, manifest: Path, out: Path) -> Path:
    """Train on the manifest's training part from scratch, and seal what came of it."""
    extraction: Extraction = workshop.extraction()
    with workshop.progress() as progress:
        examples = extraction.examples(str(manifest), progress=progress)
    known: list[Example] = [one for one in examples if one.clip.split == "train"]
    experiment = replace(
        workshop.experiment, corpora={"casia": 1.0}, protocol=replace(workshop.experiment.protocol, corpus="casia")
    )
    knowing = replace(workshop, experiment=experiment)
    network = knowing.servable(Corpora(clips=known), Fold(name="first", train=known))
    shipped, _ = read_facts(workbench.bundle)
    facts: BundleFacts = replace(
        shipped,
        version=_FIRST,
        labels=experiment.emotions,
        features=workshop.features,
        network=experiment.network_config.to_json(),
        assets=workshop.asset_checksums,
        golden_audio={},
        temperature=1.0,
        abstain_below=0.0,
        metrics={},
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    )
    card = f"# {facts.name} {_FIRST}\n\nOf a measurement: knows one speaker of CASIA.\n"
    write_bundle(
        out, network=network, facts=facts, card=card, assets=workbench.assets, compute_types=("int8",), threads=2
    )
    return out


def _correct(server: Server, clips: Sequence[Clip]) -> int:
    """Post recordings, and the label of each as feedback; return how many labels were not what was answered."""
    with httpx.Client(base_url=server.url, timeout=_DEADLINE_SECONDS, trust_env=False) as client:

        def corrected(clip: Clip) -> bool:
            assert clip.audio is not None
            answer = client.post("/predict", files={"file": (clip.audio.name, clip.audio.read_bytes())})
            document = answer.raise_for_status().json()
            for segment in document["segments"]:
                order = {"request_id": document["request_id"], "segment_id": segment["id"], "label": clip.emotion}
                client.post("/v1/feedback", json=order).raise_for_status()
            return bool(document["emotion"] != clip.emotion)

        with ThreadPoolExecutor(_CALLERS) as pool:
            return sum(pool.map(corrected, clips))


def _recorded(clip: Clip) -> Recorded:
    assert clip.audio is not None
    return Recorded(name=clip.audio.name, audio=clip.audio.read_bytes(), seconds=0.0)


def _difference(record: dict[str, Any]) -> dict[str, float]:
    nothing = {"value": float("nan"), "low": float("nan"), "high": float("nan")}
    found: dict[str, float] = record.get("decision", {}).get("overall", {}).get("recall", nothing)
    return found
