"""Real recordings over real HTTP: what a newcomer's curl prints."""

import io
import json
from typing import Any

import jsonschema
import numpy as np
import soundfile

from bench.figures import Figure, Report
from bench.serving.corpus import joined_samples
from bench.workbench import Workbench, posted, running_service
from model.audio import SAMPLE_RATE_HZ, decode_audio
from model.features import Array
from model.labels import EMOTIONS
from model.script import bare
from service.schemas import predict_schema

_LONG_SECONDS = 180
_TELEPHONE_HZ = 8_000


def measure(workbench: Workbench) -> Report:
    """Post a CASIA clip, the same as mu-law telephony, three joined minutes, and silence."""
    clip = workbench.clips("casia")[0]
    assert clip.audio is not None
    samples = decode_audio(clip.audio).samples[0]
    minutes = joined_samples(workbench, "spontaneous_zh", seconds=_LONG_SECONDS, pause_seconds=0.5)
    with running_service(workbench.bundle, workbench.cache) as client:
        plain = posted(client, clip.audio.read_bytes(), name=clip.audio.name)
        telephone = posted(client, _mu_law(samples))
        long = posted(client, _flac(minutes), name="joined.flac")
        silence = posted(client, _flac(np.zeros(5 * SAMPLE_RATE_HZ, dtype=np.float32)), name="silence.flac")
    for answer in (plain, telephone, long, silence):
        jsonschema.validate(answer, predict_schema())
    spoken = bare(clip.text or "")
    figures = [
        Figure(
            name="CASIA clip: transcript is right", value=_share(bare(plain["transcript"]["text"]) == spoken), floor=1
        ),
        Figure(name="mu-law 8 kHz: answer with a label", value=_share(telephone["emotion"] in EMOTIONS), floor=1),
        Figure(name="3 minutes: segments", value=len(long["segments"]), floor=5),
        Figure(name="silence: no_speech, no label", value=_share(_is_silent(silence)), floor=1),
        *(
            Figure(name=f"{name}: sum of probabilities off one", value=_off_one(answer), floor=1e-3, better="lower")
            for name, answer in (("CASIA clip", plain), ("mu-law", telephone), ("3 minutes", long))
        ),
    ]
    remarks = [
        "CASIA clip: " + json.dumps(plain, ensure_ascii=False),
        f"mu-law: {telephone['transcript']['text']} ({telephone['emotion']} {telephone['confidence']:.2f})",
        f"3 minutes: {len(long['segments'])} segments, {long['audio']['speech_ms']} ms of speech,"
        f" answered in {long['timings_ms']['total']} ms",
        f"silence: {silence['transcript']['status']}, emotion {silence['emotion']}",
    ]
    return Report(title="POST /predict with real recordings", figures=figures, remarks=remarks)


def _mu_law(samples: Array) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples[::2], _TELEPHONE_HZ, subtype="ULAW", format="WAV")
    return buffer.getvalue()


def _flac(samples: Array) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, SAMPLE_RATE_HZ, format="FLAC")
    return buffer.getvalue()


def _is_silent(answer: dict[str, Any]) -> bool:
    return answer["transcript"]["status"] == "no_speech" and answer["emotion"] is None


def _off_one(answer: dict[str, Any]) -> float:
    return float(abs(sum(answer["probabilities"].values()) - 1.0))


def _share(holds: bool) -> float:
    return 1.0 if holds else 0.0
