"""What a user would write in an afternoon: faster-whisper's ``transcribe`` and the torch network, per request.

A rival for ``python -m bench compare``, at its best: the same weights, arithmetic and answer as ours. Emotion needs
the encoder's states; this one keeps those that ``transcribe`` has computed, where most would encode again.
"""

import argparse
import os
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import librosa
import numpy as np
import torch
import uvicorn
from fastapi import FastAPI, UploadFile
from faster_whisper import WhisperModel

from model.assets import AssetStore
from model.bundle import LOWER_LAYERS_FILE, Bundle, calibrated
from model.encoder_states import averaged, num_states
from model.features import FeatureExtractor, collate
from model.lower_layers import load_lower_layers
from model.processors import one_blas_thread
from model.sentence import load_sentence_encoder
from model.speech import Transcript
from model.words import WordVectors
from training.export import network_of
from training.inference import as_tensors

THREADS: Final = 2


class _KeepingStates(WhisperModel):  # type: ignore[misc]
    """faster-whisper's model, which remembers what each thread encoded first."""

    kept = threading.local()

    def encode(self, features: Any) -> Any:
        encoded = super().encode(features)
        if self.kept.states is None:
            self.kept.states = np.array(encoded, dtype=np.float32)
        return encoded


def application(bundle_folder: Path, cache: Path, *, greedy: bool) -> FastAPI:
    """Load everything and return an application with one endpoint, ``/predict``."""
    torch.set_num_threads(THREADS)
    one_blas_thread()  # as ours: it is faster with it
    assets, bundle = AssetStore(cache), Bundle.load(bundle_folder, threads=1)
    config = bundle.facts.features
    whisper = _KeepingStates(
        str(assets.path(config.speech.asset)), device="cpu", compute_type="int8", cpu_threads=THREADS
    )
    extractor = FeatureExtractor(
        config,
        lower_layers=load_lower_layers(bundle_folder / LOWER_LAYERS_FILE, config.lower_layers),
        words=WordVectors.load(assets.path(config.words.asset), config=config.words),
        sentence=load_sentence_encoder(config.sentence, threads=1),
    )
    network = network_of(bundle_folder)
    app = FastAPI()

    @app.get("/health")
    def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.post("/predict")
    def predict(file: UploadFile) -> dict[str, Any]:
        samples, _ = librosa.load(file.file, sr=16_000, mono=True)
        whisper.kept.states = None
        options: dict[str, Any] = {"beam_size": 1, "temperature": 0.0} if greedy else {}
        segments, _ = whisper.transcribe(samples, language="zh", **options)
        text = "".join(segment.text for segment in segments)
        features = extractor.of_speech(samples, _transcript(text, whisper.kept.states, samples, config.speech))
        with torch.inference_mode():
            logits = network(**as_tensors(collate([features], config=config))).numpy()
        probabilities = calibrated(logits, bundle.facts.temperature)[0]
        return {"text": text, "probabilities": dict(zip(bundle.facts.labels, probabilities.tolist(), strict=True))}

    return app


def _transcript(text: str, states: Any, samples: Any, speech: Any) -> Transcript:
    """Average the states under the sound into steps, as the network reads them."""
    real = states.reshape(-1, states.shape[-1])[: num_states(len(samples))]
    return Transcript(
        text=text,
        language=speech.language,
        status="ok",
        avg_logprob=0.0,
        no_speech_probability=0.0,
        states=averaged(real, states_per_step=speech.states_per_step),
        num_tokens=0,
        fell_back=False,
    )


def from_environment() -> FastAPI:
    """Build the application in each of uvicorn's worker processes, from what :func:`main` left for them."""
    bundle, cache, greedy = os.environ["PLAIN_SERVICE"].split(os.pathsep)
    return application(Path(bundle), Path(cache), greedy=greedy == "greedy")


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until a signal comes."""
    parser = argparse.ArgumentParser(prog="python -m bench.serving.plain_service", description=__doc__)
    parser.add_argument("--bundle", required=True, help="folder of the bundle")
    parser.add_argument("--cache", required=True, help="folder of the pre-trained parts")
    parser.add_argument("--greedy", action="store_true", help="beam size 1, temperature 0; else its defaults")
    parser.add_argument("--workers", type=int, default=1, help="processes (default %(default)s)")
    parser.add_argument("--port", type=int, default=8001, help="default %(default)s")
    options = parser.parse_args(arguments)
    os.environ["PLAIN_SERVICE"] = os.pathsep.join(
        [options.bundle, options.cache, "greedy" if options.greedy else "defaults"]
    )
    uvicorn.run(
        "bench.serving.plain_service:from_environment",
        factory=True,
        port=options.port,
        workers=options.workers,
        log_level="error",
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
