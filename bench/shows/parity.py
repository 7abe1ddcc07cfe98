"""The exported network against the network that was trained, on real utterances."""

import numpy as np
import torch

from bench.figures import Figure, Report
from bench.workbench import Workbench
from model.audio import decode_audio
from model.bundle import calibrated
from model.features import Features
from model.recognizer import EmotionRecognizer
from training.export import network_of
from training.inference import predict_logits

_NUM_UTTERANCES = 200


def measure(workbench: Workbench) -> Report:
    """Compare probabilities of both runtimes on the same features, in batches of mixed length."""
    recognizer = workbench.recognizer()
    features = _features(recognizer, workbench)
    facts = recognizer.bundle.facts
    network = network_of(workbench.bundle)
    with torch.inference_mode():
        logits = predict_logits(network, features, config=facts.features, batch_size=16)
    exported = np.concatenate([recognizer.classify(features[k : k + 16]) for k in range(0, len(features), 16)])
    difference = np.abs(calibrated(logits, facts.temperature) - exported.reshape(len(features), -1))
    return Report(
        title="ONNX against torch",
        figures=[
            Figure(name="utterances", value=len(features), floor=_NUM_UTTERANCES),
            Figure(
                name="largest difference of a probability", value=float(difference.max()), floor=1e-4, better="lower"
            ),
        ],
        settings={"bundle": f"{facts.name} {facts.version}", "batches": "16 utterances, lengths mixed"},
    )


def _features(recognizer: EmotionRecognizer, workbench: Workbench) -> list[Features]:
    """Features of every third clip of CASIA and of the spontaneous clips, up to the number asked for."""
    clips = workbench.clips("spontaneous_zh") + workbench.clips("casia")[::4]
    features: list[Features] = []
    for clip in clips:
        assert clip.audio is not None
        utterances = recognizer.utterances(decode_audio(clip.audio))
        transcripts = recognizer.transcribe([utterance.samples for utterance in utterances])
        features += [
            recognizer.features(utterance.samples, transcript)
            for utterance, transcript in zip(utterances, transcripts, strict=True)
        ]
        if len(features) >= _NUM_UTTERANCES:
            break
    return features[:_NUM_UTTERANCES]
