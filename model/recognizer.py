"""The whole way as one object: a recording in, emotions with calibrated probabilities out.

:meth:`EmotionRecognizer.recognize` is the synchronous whole; the service calls the same stages one by
one, so that utterances of many requests share batches.
"""

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np

from model.assets import AssetStore
from model.audio import AudioLimits, Recording, decode_audio
from model.bundle import GOLDEN_AUDIO_FILE, GOLDEN_AUDIO_TOLERANCE, Bundle, BundleFacts
from model.errors import BundleInvalid, GoldenMismatch
from model.features import Array, FeatureExtractor, Features
from model.parts import Parts
from model.segment import Utterance, find_utterances
from model.speaker import Conversation
from model.speech import SpeechRecognizer, Transcript, TranscriptStatus


@dataclass(frozen=True, kw_only=True, slots=True)
class JudgedUtterance:
    """One utterance with its transcript; probabilities (labels,) are None where nothing was said, or was not judged.

    judged: False where nobody asked for the emotion of who speaks here: it was written down, no more.
    """

    utterance: Utterance
    transcript: Transcript
    probabilities: Array | None
    judged: bool = True
    features: Features | None = None
    """What the network saw of it, for as long as the answer is made."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Recognition:
    """The answer for one recording.

    emotion, confidence and probabilities are None when there is no speech, or none that was judged: silence gets no
    label.
    """

    recording: Recording
    segments: tuple[JudgedUtterance, ...]
    emotion: str | None
    confidence: float | None
    probabilities: Mapping[str, float] | None
    text: str
    language: str
    """The one spoken longest; the configured one where nobody speaks."""
    status: TranscriptStatus
    avg_logprob: float | None
    no_speech_probability: float | None
    speech_ms: int
    warnings: tuple[str, ...]
    timings_ms: Mapping[str, float]


class EmotionRecognizer:
    """Every stage from bytes to probabilities, as one bundle configures them."""

    def __init__(
        self, bundle: Bundle, *, speech: SpeechRecognizer, features: FeatureExtractor, parts: Parts | None = None
    ) -> None:
        """Join a bundle and what it reads. parts: where another recogniser may share them."""
        self.bundle = bundle
        self.parts = parts
        self._speech = speech
        self._features = features

    @classmethod
    def load(
        cls,
        directory: Path,
        *,
        assets: AssetStore,
        threads: int = 1,
        device: str = "cpu",
        compute_type: str | None = None,
        beside: "EmotionRecognizer | None" = None,
    ) -> Self:
        """Load a bundle and the pre-trained parts it was trained with.

        compute_type: None keeps the one the bundle was trained with; another has to pass
        :meth:`check_golden_audio`. beside: one that is loaded already; parts that are the same are shared with it.

        Raises:
            BundleError: the bundle does not verify, or was trained with other parts than the cache holds.
            AssetMissing: a part has not been fetched.
        """
        providers = ("CUDAExecutionProvider", "CPUExecutionProvider") if device == "cuda" else ("CPUExecutionProvider",)
        bundle = Bundle.load(directory, threads=threads, providers=providers)
        _check_assets(bundle.facts, assets)
        parts = Parts.load(
            bundle,
            assets=assets,
            threads=threads,
            device=device,
            compute_type=compute_type,
            beside=beside.parts if beside is not None else None,
        )
        features = FeatureExtractor(
            bundle.facts.features,
            lower_layers=parts.lower_layers.part,
            words=parts.words.part,
            sentence=parts.sentence.part,
        )
        return cls(bundle, speech=parts.speech.part, features=features, parts=parts)

    def check_golden_audio(self) -> float:
        """Recognise the bundle's recording; return the largest difference of a probability.

        Raises:
            GoldenMismatch: another label, a difference above :data:`GOLDEN_AUDIO_TOLERANCE`, or a compute
                type that the bundle does not support.
        """
        compute_type = self._speech.config.compute_type
        expected = self.bundle.facts.golden_audio.get(compute_type)
        if expected is None:
            supported = sorted(self.bundle.facts.golden_audio)
            raise GoldenMismatch(
                f"the bundle was not checked under compute type {compute_type}; it supports {', '.join(supported)}",
                value=compute_type,
                limit=supported,
            )
        found = self.recognize(self.bundle.directory / GOLDEN_AUDIO_FILE).probabilities or {}
        difference = max(abs(found.get(label, 0.0) - expected[label]) for label in expected)
        same_label = bool(found) and max(found, key=found.__getitem__) == max(expected, key=expected.__getitem__)
        if not same_label or difference > GOLDEN_AUDIO_TOLERANCE:
            raise GoldenMismatch(
                f"the golden recording gives {found}, expected {dict(expected)} to {GOLDEN_AUDIO_TOLERANCE}",
                value=difference,
                limit=GOLDEN_AUDIO_TOLERANCE,
            )
        return difference

    def warm_up(self) -> None:
        """Run every stage once on a second of noise: pools start, buffers are taken."""
        noise = np.random.default_rng(0).normal(0, 0.05, 16_000).astype(np.float32)
        with ThreadPoolExecutor(1) as pool:
            beside = pool.submit(self._features.of_text, "预热")
            find_utterances(_silent_recording(noise), config=self.bundle.facts.features.segment)
            (transcript,) = self.transcribe_batch([noise])
            beside.result()
        self.classify([self.features(noise, transcript)])

    @property
    def speech_workers(self) -> int:
        """Calls to :meth:`transcribe_batch` that run at the same time; more would wait."""
        return self._speech.workers

    def utterances(self, recording: Recording, *, max_utterances: int | None = None) -> list[Utterance]:
        """Find the utterances of a recording.

        Raises:
            TooManyUtterances: there are more than ``max_utterances``.
        """
        return find_utterances(recording, config=self.bundle.facts.features.segment, max_utterances=max_utterances)

    def bucket_of(self, samples: Array) -> float:
        """Bucket of an utterance (samples,); only those of one bucket share a call to :meth:`transcribe_batch`."""
        return self._speech.bucket_of(samples)

    def transcribe_batch(self, utterances: Sequence[Array]) -> list[Transcript]:
        """Transcribe utterances (samples,) of one bucket."""
        return self._speech.transcribe_batch(utterances)

    def transcribe(self, utterances: Sequence[Array]) -> list[Transcript]:
        """Transcribe utterances (samples,) of any length."""
        return self._speech.transcribe(utterances)

    @property
    def reads_lower_layers(self) -> bool:
        """Whether the bundle reads layers of Whisper besides the last: see :meth:`lower_layers`."""
        return bool(self.bundle.facts.features.lower_layers.layers)

    def lower_layers(self, samples: Array) -> Array | None:
        """Compute the lower layers of one utterance (samples,), which need no transcript; None where none are read."""
        return self._features.lower_layers(samples)

    def features(self, samples: Array, transcript: Transcript, lower_layers: Array | None = None) -> Features:
        """Compute what the network sees of one utterance (samples,); lower_layers: where they are known already."""
        return self._features.of_speech(samples, transcript, lower_layers)

    def classify(self, batch: Sequence[Features]) -> list[Array]:
        """Return calibrated probabilities (labels,) for each of a batch."""
        return list(self.bundle.predict(batch))

    def recognize(
        self,
        source: bytes | Path,
        *,
        limits: AudioLimits = AudioLimits(),
        conversation: Conversation | None = None,
    ) -> Recognition:
        """Go the whole way for one recording.

        conversation: the call that this recording goes on with, one speaker a channel. Every utterance is then
            judged by what was heard of its speaker up to its end, and added to it; None judges each alone.

        Raises:
            AudioError: the recording cannot be used.
            ValueError: a conversation was given to a bundle that does not adapt to speakers.
        """
        if conversation is not None and not self.bundle.adapts_to_speakers:
            raise ValueError(f"{self.bundle.facts.name} {self.bundle.facts.version} does not adapt to speakers")
        clock = _Clock()
        recording = decode_audio(source, limits=limits)
        clock.lap("decode")
        utterances = self.utterances(recording)
        clock.lap("vad")
        transcripts = self.transcribe([utterance.samples for utterance in utterances])
        clock.lap("asr")
        spoken = [index for index, transcript in enumerate(transcripts) if transcript.status != "no_speech"]
        features = [self.features(utterances[index].samples, transcripts[index]) for index in spoken]
        if conversation is not None:
            channels = [utterances[index].channel for index in spoken]
            features = [heard_in(conversation, one, channel) for one, channel in zip(features, channels, strict=True)]
        clock.lap("features")
        probabilities = dict(zip(spoken, self.classify(features) if features else [], strict=True))
        clock.lap("fusion")
        judged = [
            JudgedUtterance(utterance=utterance, transcript=transcript, probabilities=probabilities.get(index))
            for index, (utterance, transcript) in enumerate(zip(utterances, transcripts, strict=True))
        ]
        return self.summarise(recording, judged, timings_ms=clock.laps_ms())

    def summarise(
        self, recording: Recording, judged: Sequence[JudgedUtterance], *, timings_ms: Mapping[str, float]
    ) -> Recognition:
        """Fold judged utterances into the answer: probabilities weighted by the length of speech."""
        spoken = [one for one in judged if one.transcript.status != "no_speech"]
        probabilities = self._weighted([one for one in spoken if one.probabilities is not None])
        emotion = max(probabilities, key=probabilities.__getitem__) if probabilities else None
        confidence = probabilities[emotion] if probabilities and emotion else None
        trusted = [one for one in judged if one.transcript.status == "ok"]
        status: TranscriptStatus = "ok" if trusted else "low_confidence" if spoken else "no_speech"
        return Recognition(
            recording=recording,
            segments=tuple(judged),
            emotion=emotion,
            confidence=confidence,
            probabilities=probabilities,
            text="".join(one.transcript.text for one in spoken),
            language=self._language(spoken),
            status=status,
            avg_logprob=_mean([one.transcript.avg_logprob for one in spoken]),
            no_speech_probability=_mean([one.transcript.no_speech_probability for one in judged]),
            speech_ms=sum(one.utterance.end_ms - one.utterance.start_ms for one in spoken),
            warnings=(
                *_warnings(recording, judged, status, language=self.bundle.facts.features.speech.language),
                *(["uncertain"] if confidence is not None and confidence < self.bundle.facts.abstain_below else []),
            ),
            timings_ms=timings_ms,
        )

    def _language(self, spoken: Sequence[JudgedUtterance]) -> str:
        seconds: defaultdict[str, float] = defaultdict(float)
        for one in spoken:
            seconds[one.transcript.language] += one.utterance.seconds
        return max(seconds, key=seconds.__getitem__, default=self.bundle.facts.features.speech.language)

    def _weighted(self, spoken: Sequence[JudgedUtterance]) -> dict[str, float] | None:
        if not spoken:
            return None
        rows = np.stack([one.probabilities for one in spoken if one.probabilities is not None]).astype(np.float64)
        mean = np.average(rows, axis=0, weights=[one.utterance.seconds for one in spoken])
        return dict(zip(self.bundle.facts.labels, (mean / mean.sum()).tolist(), strict=True))


def heard_in(conversation: Conversation, features: Features, channel: int) -> Features:
    """Add an utterance's sound to the conversation, and what is known of its speaker to its features."""
    assert features.mel is not None
    assert features.states is not None
    return replace(features, speaker=conversation.hear(channel, mel=features.mel, states=features.states))


class _Clock:
    def __init__(self) -> None:
        self._start = self._last = time.perf_counter()
        self._laps: dict[str, float] = {}

    def lap(self, stage: str) -> None:
        now = time.perf_counter()
        self._laps[stage] = (now - self._last) * 1000
        self._last = now

    def laps_ms(self) -> dict[str, float]:
        return self._laps | {"queue": 0.0, "total": (time.perf_counter() - self._start) * 1000}


def _check_assets(facts: BundleFacts, assets: AssetStore) -> None:
    for name, expected in facts.assets.items():
        found = assets.sha256(name)
        for file, checksum in expected.items():
            if found.get(file) != checksum:
                raise BundleInvalid(
                    f"the bundle was trained with {name}/{file} of {checksum}; the cache holds {found.get(file)}",
                    value=found.get(file),
                    limit=checksum,
                )


def _warnings(
    recording: Recording, judged: Sequence[JudgedUtterance], status: TranscriptStatus, *, language: str
) -> tuple[str, ...]:
    warnings = list(recording.warnings)
    if recording.clipped:
        warnings.append("clipped")
    if status == "no_speech":
        warnings.append("no_speech")
    if any(one.transcript.status == "low_confidence" for one in judged):
        warnings.append("text_not_trusted")
    if any(one.transcript.language != language for one in judged):
        warnings.append("other_language")
    return tuple(warnings)


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None


def _silent_recording(samples: Array) -> Recording:
    return Recording(samples=samples[None], source_sample_rate_hz=16_000, source_channels=1, clipped=False)
