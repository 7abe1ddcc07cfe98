"""What is counted, for Prometheus; one registry an application, so that two in a process do not clash."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

from model.bundle import BundleFacts
from model.recognizer import JudgedUtterance, Recognition
from model.speech import SpeechConfig
from service.batching import BatchFacts
from service.schemas import Alert
from service.shadow import Agreement

_REQUEST_SECONDS: Final = (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 60)
_STAGE_SECONDS: Final = (0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_BATCH_SIZES: Final = (1, 2, 4, 8, 16, 32, 64, 128)
_REAL_TIME_FACTORS: Final = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)


class Metrics:
    """Every metric of the service."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._requests = self._counter("requests", "Answers by route and outcome code", "route", "code")
        self._request_seconds = self._histogram("request_seconds", "From head to answer", _REQUEST_SECONDS, "route")
        about = "Answers by API key, by its name, and outcome code; an unknown key is in vcemo_requests alone"
        self.key_requests = self._counter("key_requests", about, "key", "code")
        self.in_flight = self._gauge("requests_in_flight", "Recordings held now")
        about = "Connections ended for want of time or room, by reason"
        self._connections_cut = self._counter("connections_cut", about, "reason")
        self.ready = self._gauge("ready", "1 while recordings are welcome")
        about = "Work of a stage, or waiting (queue), in one request"
        self._stage_seconds = self._histogram("stage_seconds", about, _STAGE_SECONDS, "stage")
        about = "An item's wait before a stage"
        self._queue_seconds = self._histogram("queue_wait_seconds", about, _STAGE_SECONDS, "stage")
        self._batch_size = self._histogram("batch_size", "Items in a batch", _BATCH_SIZES, "stage")
        self._batch_seconds = self._histogram("batch_seconds", "Work on a batch", _STAGE_SECONDS, "stage")
        about = "Processor time of a stage's own threads; CTranslate2's own and decode workers' is not in it"
        self._stage_cpu_seconds = self._counter("stage_cpu_seconds", about, "stage")
        self._queue_depth = self._gauge("queue_depth", "Items that wait", "stage")
        self._utterances = self._counter("utterances", "Utterances by transcript status", "status")
        self._emotions = self._counter("emotions", "Recordings by emotion, none on silence", "emotion")
        self._audio_seconds = self._counter("audio_seconds", "Recordings answered, in seconds")
        self._speech_seconds = self._counter("speech_seconds", "Speech judged, in seconds")
        about = "Time spent by length of recording"
        self._real_time_factor = self._histogram("real_time_factor", about, _REAL_TIME_FACTORS)
        about = "Recordings that joined the same one, uploaded by another caller and still under way"
        self.duplicates = self._counter("duplicate_uploads", about)
        about = "Processes that decode, ended by a recording or from outside, by reason; each was replaced"
        self._decode_workers_lost = self._counter("decode_workers_lost", about, "reason")
        self._fallbacks = self._counter("asr_fallbacks", "Utterances recognised a second time")
        self._tokens = self._counter("asr_tokens", "Tokens that recognition wrote")
        about = "Seconds that Whisper's encoder was given: speech, its padding and the tail behind it"
        self._encoded_seconds = self._counter("asr_encoded_seconds", about)
        self.jobs = self._counter("jobs", "Jobs that have ended by what came of them", "code")
        self.corrections = self._counter("corrections", "Labels that people corrected")
        about = "Jensen-Shannon divergence of what is heard from what the bundle was judged on, in bits, 0 to 1"
        self._drift = self._gauge("drift_divergence", about, "what")
        about = "Looks at the bundle store by what came of them"
        self.store_looks = self._counter("bundle_store_looks", about, "code")
        about = "Utterances that the candidate judged as well, by whether it gave the same emotion"
        self._candidate = self._counter("candidate_utterances", about, "version", "outcome")
        about = "Probability by which the candidate's judgements differ, summed over those utterances, 1 each at most"
        self._candidate_distance = self._counter("candidate_distance", about, "version")
        self.reloads = self._counter("reloads", "Reloads of the bundle by what came of them", "code")
        self._streams = self._counter("streams", "Connections of live calls that ended, by what ended them", "code")
        about = "From the moment that an utterance's end is certain (two seconds of silence) to its label"
        self._live_label_seconds = self._histogram("live_label_seconds", about, _STAGE_SECONDS)
        self._live_calls = self._gauge("live_calls", "Live calls, those included that wait for their client")
        self._alerts = self._counter("alerts", "Alerts raised", "rule", "severity")
        self._webhooks = self._counter("webhooks", "Alerts sent to a webhook, by what came of it", "outcome")
        facts = ("name", "version", "asr", "git_commit")
        self._bundle = self._gauge("bundle_info", "The bundle that is served", *facts)

    def watch_queue(self, stage: str, depth: Callable[[], float]) -> None:
        """Read a stage's queue whenever metrics are collected."""
        self._queue_depth.labels(stage).set_function(depth)

    def forget_queue(self, stage: str) -> None:
        """Say nothing more of a stage that no bundle has."""
        self._queue_depth.remove(stage)

    def bundle_loaded(self, facts: BundleFacts) -> None:
        """Name the bundle, and no other."""
        self._bundle.clear()
        self._drift.clear()
        self._bundle.labels(facts.name, facts.version, facts.features.speech.asset, facts.git_commit).set(1)

    def drifted(self, divergences: Mapping[str, float]) -> None:
        """Say how far what is heard has drifted, by measure."""
        for what, value in divergences.items():
            self._drift.labels(what).set(value)

    def candidate_compared(self, agreement: Agreement) -> None:
        """Count utterances that a candidate judged as well."""
        self._candidate.labels(agreement.version, "agreed").inc(agreement.agreed)
        self._candidate.labels(agreement.version, "disagreed").inc(agreement.disagreed)
        self._candidate_distance.labels(agreement.version).inc(agreement.distance)

    def request_ended(self, *, route: str, code: str, seconds: float, request_id: str) -> None:
        """Count an answer; its id is the example of how long such answers took, for who asks in OpenMetrics."""
        example = {"request_id": request_id}
        self._requests.labels(route, code).inc(exemplar=example)
        self._request_seconds.labels(route).observe(seconds, exemplar=example)

    def batch_ended(self, batch: BatchFacts) -> None:
        """Count a batch; called from worker threads."""
        self._batch_size.labels(batch.stage).observe(batch.size)
        self._batch_seconds.labels(batch.stage).observe(batch.seconds)
        self._stage_cpu_seconds.labels(batch.stage).inc(batch.cpu_seconds)
        for seconds in batch.queue_seconds:
            self._queue_seconds.labels(batch.stage).observe(seconds)

    def connection_cut(self, reason: str) -> None:
        """Count a connection that was ended."""
        self._connections_cut.labels(reason).inc()

    def watch_live_calls(self, number: Callable[[], float]) -> None:
        """Count the live calls whenever metrics are collected."""
        self._live_calls.set_function(number)

    def stream_ended(self, code: str) -> None:
        """Count a connection."""
        self._streams.labels(code).inc()

    def live_utterance_judged(self, judged: JudgedUtterance, seconds: float) -> None:
        """Count an utterance of a live call, and how long its label took."""
        self._utterances.labels(judged.transcript.status).inc()
        self._live_label_seconds.observe(seconds)

    def alert_raised(self, alert: Alert) -> None:
        """Count an alert; rules are the operator's own, so there are few."""
        self._alerts.labels(alert.rule, alert.severity).inc()

    def webhook_ended(self, outcome: str) -> None:
        """Count a delivery."""
        self._webhooks.labels(outcome).inc()

    def decode_worker_lost(self, reason: str) -> None:
        """Count a decode worker that is no more; called from worker threads."""
        self._decode_workers_lost.labels(reason).inc()

    def recording_answered(self, recognition: Recognition, *, speech: SpeechConfig) -> None:
        """Count what a recording held and cost. speech: of the bundle that judged it."""
        for stage, milliseconds in recognition.timings_ms.items():
            if stage != "total":
                self._stage_seconds.labels(stage).observe(milliseconds / 1000)
        for segment in recognition.segments:
            self._utterances.labels(segment.transcript.status).inc()
            self._fallbacks.inc(segment.transcript.fell_back)
            self._tokens.inc(segment.transcript.num_tokens)
            bucket = speech.bucket(segment.utterance.seconds)
            self._encoded_seconds.inc(speech.padded_seconds(bucket))
        self._emotions.labels(recognition.emotion or "none").inc()
        audio_seconds = recognition.recording.duration_ms / 1000
        self._audio_seconds.inc(audio_seconds)
        self._speech_seconds.inc(recognition.speech_ms / 1000)
        if audio_seconds:
            self._real_time_factor.observe(recognition.timings_ms["total"] / 1000 / audio_seconds)

    def _counter(self, name: str, about: str, *labels: str) -> Counter:
        return Counter(f"vcemo_{name}", about, labels, registry=self.registry)

    def _gauge(self, name: str, about: str, *labels: str) -> Gauge:
        return Gauge(f"vcemo_{name}", about, labels, registry=self.registry)

    def _histogram(self, name: str, about: str, buckets: Sequence[float], *labels: str) -> Histogram:
        return Histogram(f"vcemo_{name}", about, labels, buckets=buckets, registry=self.registry)
