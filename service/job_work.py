"""The work on one job: decode, find speech, then judge some utterances at a time and keep what they gave.

Whoever goes on with it, after a restart, begins with the first utterances that were not kept.
"""

import asyncio
import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from typing import Any, Final

import numpy as np

from model.audio import SourceFacts
from model.errors import Cancelled
from model.recognizer import JudgedUtterance, Recognition
from model.segment import Speech, Utterance, cut_utterances, find_speech_in_pieces
from model.speaker import Conversation
from model.speech import Transcript
from service.aftermath import Aftermath
from service.budget import Budget
from service.editions import Edition
from service.job_decoding import decode_upload
from service.job_folder import JobFolder, SamplesFile
from service.job_store import JobStore, StoredPiece
from service.options import Options
from service.pipeline import StageClock
from service.settings import Settings

_UTTERANCES_AT_ONCE: Final = 16
"""Two batches of recognition: what a restart repeats at most, and all that a job lets wait at a time."""
_PREPARED_PERCENT: Final = 5
_NO_STATES: Final = np.empty((0, 0), np.float32)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Prepared:
    """What is known before any utterance is judged. version: of the bundle whose voice activity and network it is."""

    version: str
    facts: SourceFacts
    speech: Sequence[Sequence[Speech]]
    timings_ms: dict[str, float]

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, written: str) -> "_Prepared":
        found = json.loads(written)
        facts = found.pop("facts")
        speech = [[Speech(**one) for one in channel] for channel in found.pop("speech")]
        return cls(facts=SourceFacts(**facts | {"warnings": tuple(facts["warnings"])}), speech=speech, **found)


@dataclass(kw_only=True, slots=True)
class JobWork:
    """One job, as one bundle version judges it."""

    name: str
    options: Options
    folder: JobFolder
    store: JobStore
    edition: Edition
    settings: Settings
    aftermath: Aftermath

    async def run(self) -> Recognition:
        """Work until the end, beginning where the work was left.

        Raises:
            AudioError: the recording cannot be used.
            InvalidOption: the bundle cannot do what is asked for.
            Cancelled: the job was ended from elsewhere.
            ServingError: a stage failed, or the service ends.
        """
        prepared = await self._prepared()
        samples = SamplesFile(self.folder.samples, prepared.facts)
        recording = prepared.facts.recording(samples.samples)
        config = self.edition.facts.features.segment
        utterances = cut_utterances(recording, prepared.speech, config=config)
        num_channels = len(recording.samples)
        conversation = self.edition.pipeline.conversation(self.options, num_channels)
        pieces = await asyncio.to_thread(self.store.pieces, self.name)
        if pieces and (heard := pieces[-1].conversation) is not None:
            conversation = Conversation.from_bytes(heard)
        may_judge = [self.options.roles.may_judge(role) for role in self.options.roles.of_channels(num_channels)]
        judged, timings_ms = _recalled(pieces, utterances, prepared.timings_ms)
        # Whoever is due within the time that a request may wait goes first; after that the job has waited long enough.
        budget = Budget(math.inf, yields_seconds=self.settings.request_timeout_seconds)
        try:
            while group := list(islice(utterances, len(judged), len(judged) + _UTTERANCES_AT_ONCE)):
                clock = StageClock()
                loaded = await asyncio.to_thread(_loaded, group)
                found = await self.edition.pipeline.judge(
                    loaded, budget, may_judge=may_judge, conversation=conversation, clock=clock
                )
                spent_ms = clock.timings_ms()
                share = (len(judged) + len(group)) / len(utterances)
                await self._keep(len(judged), _piece(found, spent_ms, conversation, self.settings), share=share)
                await self.aftermath.see(self.name, found, edition=self.edition)
                _add(timings_ms, spent_ms)
                judged += [_light(one, whole) for one, whole in zip(found, group, strict=True)]
                samples.return_memory()
        finally:
            budget.cancel()
        return self.edition.recognizer.summarise(recording, judged, timings_ms=timings_ms)

    async def _prepared(self) -> _Prepared:
        version = f"{self.edition.facts.name} {self.edition.facts.version}"
        written = await asyncio.to_thread(self.store.prepared, self.name)
        if written is not None and (kept := _Prepared.from_json(written)).version == version:
            return kept
        began = time.monotonic()
        if written is not None and self.folder.samples.exists():
            facts = _Prepared.from_json(written).facts  # of another bundle, but the samples are the same
        else:
            facts = await decode_upload(self.folder.upload, self.folder.samples, self.settings)
        decoded = time.monotonic()
        speech = await self._speech(SamplesFile(self.folder.samples, facts))
        ended = time.monotonic()
        timings_ms = {
            "decode": (decoded - began) * 1000,
            "vad": (ended - decoded) * 1000,
            **dict.fromkeys(("asr", "features", "fusion", "queue"), 0.0),
            "total": (ended - began) * 1000,
        }
        prepared = _Prepared(version=version, facts=facts, speech=speech, timings_ms=timings_ms)
        if not await asyncio.to_thread(self.store.prepare, self.name, prepared.to_json(), progress=_PREPARED_PERCENT):
            raise _ended()
        return prepared

    async def _speech(self, file: SamplesFile) -> list[list[Speech]]:
        config = self.edition.facts.features.segment
        channels = []
        for samples in file.samples:
            found: list[Speech] = []
            pieces = find_speech_in_pieces(samples, config=config)
            while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
                found += piece
                file.return_memory()
            channels.append(found)
        return channels

    async def _keep(self, number: int, piece: StoredPiece, *, share: float) -> None:
        progress = min(99, _PREPARED_PERCENT + int((100 - _PREPARED_PERCENT) * share))
        if not await asyncio.to_thread(self.store.add_piece, self.name, number, piece, progress=progress):
            raise _ended()


def _light(one: JudgedUtterance, whole: Utterance) -> JudgedUtterance:
    """Let go of what only judging needs: of an hour it would be a gigabyte."""
    without_states = replace(one.transcript, states=_NO_STATES)
    return replace(one, utterance=whole, transcript=without_states, features=None)


def _loaded(utterances: Sequence[Utterance]) -> list[Utterance]:
    """Read their samples from the file."""
    return [replace(one, samples=np.array(one.samples)) for one in utterances]


def _piece(
    found: Sequence[JudgedUtterance],
    spent_ms: Mapping[str, float],
    conversation: Conversation | None,
    settings: Settings,
) -> StoredPiece:
    judged = [_written(one, redact_transcript=settings.redact_transcript) for one in found]
    return StoredPiece(
        judged=json.dumps({"timings_ms": dict(spent_ms), "utterances": judged}, ensure_ascii=False),
        conversation=None if conversation is None else conversation.to_bytes(),
    )


def _written(one: JudgedUtterance, *, redact_transcript: bool) -> dict[str, Any]:
    transcript = one.transcript
    return {
        "text": "" if redact_transcript else transcript.text,
        "language": transcript.language,
        "status": transcript.status,
        "avg_logprob": transcript.avg_logprob,
        "no_speech_probability": transcript.no_speech_probability,
        "num_tokens": transcript.num_tokens,
        "fell_back": transcript.fell_back,
        "judged": one.judged,
        "probabilities": None if one.probabilities is None else one.probabilities.tolist(),
    }


def _recalled(
    pieces: Sequence[StoredPiece], utterances: Sequence[Utterance], timings_ms: dict[str, float]
) -> tuple[list[JudgedUtterance], dict[str, float]]:
    """Return what was judged before, and the time that all of it took."""
    judged: list[JudgedUtterance] = []
    timings_ms = dict(timings_ms)
    for piece in pieces:
        kept = json.loads(piece.judged)
        _add(timings_ms, kept["timings_ms"])
        for found in kept["utterances"]:
            probabilities = found.pop("probabilities")
            judged.append(
                JudgedUtterance(
                    utterance=utterances[len(judged)],
                    judged=found.pop("judged"),
                    transcript=Transcript(states=_NO_STATES, **found),
                    probabilities=None if probabilities is None else np.array(probabilities, np.float32),
                )
            )
    return judged, timings_ms


def _add(timings_ms: dict[str, float], more: Mapping[str, float]) -> None:
    for name, milliseconds in more.items():
        timings_ms[name] += milliseconds


def _ended() -> Cancelled:
    return Cancelled("the job was ended")
