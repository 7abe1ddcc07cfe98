"""Character error rate and time of ``model.speech`` against faster-whisper's own greedy ``transcribe``."""

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from faster_whisper import WhisperModel
from rapidfuzz.distance import Levenshtein
from rich.progress import track

from bench.figures import Figure, Report
from bench.workbench import Workbench
from model.audio import Recording, decode_audio
from model.features import Array
from model.processors import usable_processors
from model.script import bare
from model.segment import find_utterances
from model.speech import SpeechConfig, SpeechRecognizer
from training.corpora.manifest import Clip

_BATCH_SIZE = 8
_CLIPS_PER_ROUND = 32
_BASELINES: dict[str, dict[str, Any]] = {
    "greedy": {"beam_size": 1, "temperature": 0.0},
    "greedy, no timestamps": {"beam_size": 1, "temperature": 0.0, "without_timestamps": True},
    "greedy, temperature fallback": {"beam_size": 1},
}
_RUNS: dict[str, int] = {"greedy, temperature fallback": 3}
"""Above temperature zero faster-whisper samples, and its error rate is another in every run: the mean counts."""
System = Callable[[Sequence[Array]], list[str]]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Outcome:
    errors: list[float]
    seconds: float


def measure(workbench: Workbench) -> Report:
    """Run ours and every baseline over the same rounds of clips, in turn."""
    casia = random.Random(0).sample(workbench.clips("casia"), 100)  # noqa: S311 - a fixed choice of clips
    directory = workbench.assets.path(SpeechConfig().asset)
    systems = {"ours": _ours(directory)} | {name: _baseline(directory, name) for name in _BASELINES}
    figures: list[Figure] = []
    for corpus, clips, time_floor in (
        ("casia", casia, 0.35),
        ("spontaneous_zh", workbench.clips("spontaneous_zh"), 0.7),
    ):
        figures += _compare(corpus, clips, systems, time_floor=time_floor)
    return Report(
        title="Speech recognition against faster-whisper's own greedy transcribe, same weights",
        figures=figures,
        settings={
            "both": f"int8, {usable_processors()} threads, language zh; rounds of {_CLIPS_PER_ROUND} clips in turn",
            "ours": f"voice activity included, batches of up to {_BATCH_SIZE}; {SpeechConfig()}",
        }
        | {f"faster-whisper, {name}": str(settings) for name, settings in _BASELINES.items()},
        remarks=(
            "error rates are compared with the best baseline, times with the fastest",
            *(f"{name}: mean of {runs} runs, for it samples" for name, runs in _RUNS.items()),
        ),
    )


def _ours(directory: Path) -> System:
    speech = SpeechRecognizer(directory, threads=usable_processors())

    def transcribe(clips: Sequence[Array]) -> list[str]:
        found = [(index, utterance) for index, samples in enumerate(clips) for utterance in _utterances(samples)]
        transcripts = speech.transcribe([samples for _, samples in found], max_batch_size=_BATCH_SIZE)
        texts = [""] * len(clips)
        for (index, _), transcript in zip(found, transcripts, strict=True):
            texts[index] += transcript.text
        return texts

    return transcribe


def _utterances(samples: Array) -> list[Array]:
    recording = Recording(samples=samples[None], source_sample_rate_hz=16_000, source_channels=1, clipped=False)
    return [utterance.samples for utterance in find_utterances(recording)]


def _baseline(directory: Path, name: str) -> System:
    whisper = WhisperModel(str(directory), device="cpu", compute_type="int8", cpu_threads=usable_processors())

    def transcribe(clips: Sequence[Array]) -> list[str]:
        return [
            "".join(segment.text for segment in whisper.transcribe(samples, language="zh", **_BASELINES[name])[0])
            for samples in clips
        ]

    return transcribe


def _compare(corpus: str, clips: Sequence[Clip], systems: dict[str, System], *, time_floor: float) -> list[Figure]:
    audio = [decode_audio(clip.audio).samples[0] for clip in clips if clip.audio]
    truth = [bare(clip.text or "") for clip in clips]
    outcomes = _run(corpus, audio, truth, systems)
    rates = {name: sum(outcome.errors) / sum(map(len, truth)) for name, outcome in outcomes.items()}
    baselines = [name for name in systems if name != "ours"]
    best = min(baselines, key=lambda name: rates[name])
    fastest = min(baselines, key=lambda name: outcomes[name].seconds)
    difference = _interval(outcomes["ours"].errors, outcomes[best].errors, list(map(len, truth)))
    return [
        Figure(name=f"{corpus}: character error rate, ours", value=rates["ours"], floor=rates[best], better="lower"),
        *(Figure(name=f"{corpus}: character error rate, {name}", value=rates[name]) for name in baselines),
        Figure(
            name=f"{corpus}: error rate, ours less {best}",
            value=rates["ours"] - rates[best],
            floor=0.0,
            better="lower",
            interval=difference,
        ),
        *(
            Figure(name=f"{corpus}: ms a clip, {name}", value=outcome.seconds / len(clips) * 1000)
            for name, outcome in outcomes.items()
        ),
        Figure(
            name=f"{corpus}: time, ours / {fastest}",
            value=outcomes["ours"].seconds / outcomes[fastest].seconds,
            floor=time_floor,
            better="lower",
        ),
    ]


def _run(corpus: str, audio: Sequence[Array], truth: Sequence[str], systems: dict[str, System]) -> dict[str, _Outcome]:
    for transcribe in systems.values():
        transcribe(audio[:2])
    errors: dict[str, list[float]] = {name: [] for name in systems}
    seconds = dict.fromkeys(systems, 0.0)
    for start in track(range(0, len(audio), _CLIPS_PER_ROUND), description=corpus):
        chunk = slice(start, start + _CLIPS_PER_ROUND)
        for name, transcribe in systems.items():
            runs = _RUNS.get(name, 1)
            began = time.perf_counter()
            texts = [transcribe(audio[chunk]) for _ in range(runs)]
            seconds[name] += (time.perf_counter() - began) / runs
            errors[name] += [
                sum(Levenshtein.distance(one, bare(text)) for text in written) / runs
                for one, *written in zip(truth[chunk], *texts, strict=True)
            ]
    return {name: _Outcome(errors=errors[name], seconds=seconds[name]) for name in systems}


def _interval(ours: Sequence[float], theirs: Sequence[float], lengths: Sequence[int]) -> tuple[float, float]:
    """Paired bootstrap over clips of the difference of error rates."""
    generator = np.random.default_rng(0)
    difference, length = np.subtract(ours, theirs), np.asarray(lengths)
    drawn = generator.integers(0, len(length), (2000, len(length)))
    low, high = np.quantile(difference[drawn].sum(1) / length[drawn].sum(1), [0.025, 0.975])
    return float(low), float(high)
