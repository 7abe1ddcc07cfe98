"""A trained network in, a sealed bundle out."""

import json
import shutil
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file

from model.assets import AssetStore
from model.bundle import (
    CARD_FILE,
    FACTS_FILE,
    GOLDEN_AUDIO_FILE,
    GOLDEN_AUDIO_TOLERANCE,
    GOLDEN_FILE,
    LOWER_LAYERS_FILE,
    NETWORK_FILE,
    SENTENCE_ENCODER_FOLDER,
    BundleFacts,
    calibrated,
    sealed_files,
    write_facts,
)
from model.errors import BundleInvalid, GoldenMismatch
from model.features import FeatureConfig, Features, collate
from model.network import NetworkConfig, VcemoNetwork
from model.ngrams import Ngrams
from model.recognizer import EmotionRecognizer
from model.speaker import SpeakerStatistics
from training.half_precision import keep_in_half, round_to_half
from training.inference import as_tensors
from training.weights import save_network

WEIGHTS_FILE = "network.safetensors"
"""The same network for torch; serving does not read it."""

_DYNAMIC = {
    "mel": {0: "batch", 1: "frames"},
    "states": {0: "batch", 1: "steps"},
    "words": {0: "batch", 1: "words"},
    "mel_lengths": {0: "batch"},
    "states_lengths": {0: "batch"},
    "words_lengths": {0: "batch"},
    "sentence": {0: "batch"},
    "modality_mask": {0: "batch"},
    "ngrams": {0: "batch", 1: "ngrams"},
    "ngram_weights": {0: "batch", 1: "ngrams"},
    "speaker_rows": {0: "batch"},
    "speaker_mel": {0: "batch"},
    "speaker_states": {0: "batch"},
    "logits": {0: "batch"},
}


def export_network(network: VcemoNetwork, path: Path, *, example: Mapping[str, Any]) -> None:
    """Write ``network`` as ONNX with dynamic batch and lengths; the projector stays behind.

    example: one collated batch of at least two utterances.
    """
    network.eval()
    inputs = as_tensors(example)
    with warnings.catch_warnings():
        # The exporter that replaces it takes 38 s where this one takes 0.1 s, for the same probabilities.
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        warnings.filterwarnings("ignore", category=torch.jit._trace.TracerWarning)
        warnings.filterwarnings("ignore", message="Exporting a model to ONNX with a batch_size other than 1")
        torch.onnx.export(
            network,
            tuple(inputs[name] for name in VcemoNetwork.INPUTS),
            str(path),
            input_names=list(VcemoNetwork.INPUTS),
            output_names=["logits"],
            dynamic_axes=_DYNAMIC,
            opset_version=17,
            dynamo=False,
        )
    keep_in_half(path)


def write_bundle(
    directory: Path,
    *,
    network: VcemoNetwork,
    facts: BundleFacts,
    card: str,
    assets: AssetStore,
    compute_types: Sequence[str] = ("int8", "float32"),
    sentence_encoder: Path | None = None,
    lower_layers: Path | None = None,
    threads: int = 1,
) -> EmotionRecognizer:
    """Write a bundle beside its place, prove it from features and from audio, and move it there.

    The network's weights are rounded to half precision, which halves the file.

    compute_types: the golden recording is recognised under each; one that gives another answer than the
    first is left out of the bundle. sentence_encoder: folder of an exported BERT, for kind ``onnx``.
    lower_layers: file of the layers of Whisper that the features read besides the last.

    Raises:
        GoldenMismatch: the export does not reproduce the network.
    """
    directory.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=directory.parent, prefix=f".{directory.name}-") as folder:
        draft = Path(folder) / "bundle"
        draft.mkdir()
        round_to_half(network)
        save_network(network, draft / WEIGHTS_FILE)
        if lower_layers is not None:
            shutil.copyfile(lower_layers, draft / LOWER_LAYERS_FILE)
        if sentence_encoder is not None:
            shutil.copytree(sentence_encoder, draft / SENTENCE_ENCODER_FOLDER)
        batch = collate(golden_features(facts.features), config=facts.features)
        export_network(network, draft / NETWORK_FILE, example=batch)
        with torch.inference_mode():
            logits = network(**as_tensors(batch)).numpy()
        expected = calibrated(logits, facts.temperature)
        np.savez_compressed(draft / GOLDEN_FILE, allow_pickle=False, probabilities=expected, **batch)
        (draft / CARD_FILE).write_text(card, encoding="utf-8")
        with resources.as_file(resources.files("training") / "golden" / "speech.wav") as recording:
            shutil.copyfile(recording, draft / GOLDEN_AUDIO_FILE)
        _seal(draft, facts)
        golden_audio = _golden_audio(draft, assets=assets, compute_types=compute_types, threads=threads)
        _seal(draft, replace(facts, golden_audio=golden_audio))
        if directory.exists():
            directory.rename(Path(folder) / "replaced")
        draft.rename(directory)
    recognizer = EmotionRecognizer.load(directory, assets=assets, threads=threads)
    recognizer.check_golden_audio()
    return recognizer


def network_of(bundle: Path) -> VcemoNetwork:
    """Rebuild the torch network of a bundle: to go on training, or to compare with its export.

    Raises:
        BundleInvalid: the bundle carries no weights for torch.
    """
    path = bundle / WEIGHTS_FILE
    if not path.is_file():
        raise BundleInvalid(f"{bundle} carries no {WEIGHTS_FILE}", value=str(path))
    config = json.loads((bundle / FACTS_FILE).read_text(encoding="utf-8"))["network"]
    network = VcemoNetwork(NetworkConfig.from_json(config))
    network.load_state_dict(load_file(path))
    return network.eval()


def _seal(draft: Path, facts: BundleFacts) -> None:
    write_facts(draft, facts.to_json(files=sealed_files(draft)))


def _golden_audio(
    draft: Path, *, assets: AssetStore, compute_types: Sequence[str], threads: int
) -> dict[str, dict[str, float]]:
    """Recognise the golden recording under each compute type; keep those that agree with the first."""
    kept: dict[str, dict[str, float]] = {}
    for compute_type in compute_types:
        recognizer = EmotionRecognizer.load(draft, assets=assets, threads=threads, compute_type=compute_type)
        found = recognizer.recognize(draft / GOLDEN_AUDIO_FILE).probabilities
        if found is None:
            raise GoldenMismatch("no speech was found in the golden recording", value=compute_type)
        first = next(iter(kept.values()), dict(found))
        if max(abs(found[label] - first[label]) for label in found) <= GOLDEN_AUDIO_TOLERANCE:
            kept[compute_type] = {label: round(value, 6) for label, value in found.items()}
    return kept


def golden_features(config: FeatureConfig, *, count: int = 6, seed: int = 0) -> list[Features]:
    """Draw features of every modality, several lengths, a known speaker; it must not carry a corpus's speech."""
    generator = np.random.default_rng(seed)

    def normal(*shape: int) -> Any:
        return generator.normal(size=shape).astype(np.float32)

    drawn = [
        Features(
            mel=normal(100 + 70 * index, config.mel.num_mels) * 3 - 7,
            states=normal(13 + 9 * index, config.step_dimension),
            words=normal(1 + 2 * index, config.words.dimension),
            sentence=normal(config.sentence.dimension) / 20,
            ngrams=Ngrams(
                buckets=generator.integers(0, config.ngrams.buckets, 5 + 9 * index),
                weights=1 + generator.random(5 + 9 * index, dtype=np.float32),
            ),
        )
        for index in range(count)
    ]
    assert drawn[2].mel is not None
    assert drawn[2].states is not None
    heard = SpeakerStatistics.of(mel=drawn[2].mel, states=drawn[2].states)
    silent = drawn[1].without_sound()
    return [*drawn, drawn[0].with_text_of(None), silent, replace(drawn[2], speaker=heard)]
