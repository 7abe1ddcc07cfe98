"""Real parts that many tests share, loaded once: assets, encoders, the committed bundle, recordings."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from model.assets import AssetStore
from model.audio import decode_audio
from model.bundle import LOWER_LAYERS_FILE, Bundle
from model.errors import AssetMissing
from model.features import FeatureConfig, FeatureExtractor
from model.lower_layers import load_lower_layers
from model.processors import usable_processors
from model.recognizer import EmotionRecognizer
from model.sentence import E5Encoder
from model.speech import SpeechRecognizer
from model.words import WordVectors

ROOT = Path(__file__).parents[1]
DATA = Path(os.environ.get("VCEMO_DATA", ROOT.parent / "shared" / "data"))
FEATURES = FeatureConfig()
CLIPS = ("liuchanhg-angry-201", "wangzhe-neutral-215", "zhaoquanyin-surprise-230")

Samples = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, slots=True)
class MandarinClip:
    """A clip of CASIA and what was read."""

    samples: Samples
    text: str


@pytest.fixture(scope="session")
def assets() -> AssetStore:
    store = AssetStore()
    try:
        for name in store.default_names():
            store.path(name)
    except AssetMissing as error:
        pytest.skip(f"pre-trained parts are missing: {error.message}")
    return store


@pytest.fixture(scope="session")
def bundle() -> Bundle:
    """The committed bundle."""
    return Bundle.load(ROOT / "artifacts" / "vcemo-whisper-zh", threads=usable_processors())


@pytest.fixture(scope="session")
def speech_recognizer(assets: AssetStore) -> SpeechRecognizer:
    return SpeechRecognizer(assets.path(FEATURES.speech.asset), config=FEATURES.speech, threads=usable_processors())


@pytest.fixture(scope="session")
def word_vectors(assets: AssetStore) -> WordVectors:
    return WordVectors.load(assets.path(FEATURES.words.asset), config=FEATURES.words)


@pytest.fixture(scope="session")
def sentence_encoder() -> E5Encoder:
    return E5Encoder()


@pytest.fixture(scope="session")
def feature_extractor(word_vectors: WordVectors, sentence_encoder: E5Encoder) -> FeatureExtractor:
    return FeatureExtractor(FEATURES, words=word_vectors, sentence=sentence_encoder)


@pytest.fixture(scope="session")
def bundle_extractor(bundle: Bundle, word_vectors: WordVectors, sentence_encoder: E5Encoder) -> FeatureExtractor:
    """What the committed bundle reads."""
    config = bundle.facts.features
    lower_layers = load_lower_layers(bundle.directory / LOWER_LAYERS_FILE, config.lower_layers)
    return FeatureExtractor(config, words=word_vectors, sentence=sentence_encoder, lower_layers=lower_layers)


@pytest.fixture(scope="session")
def recognizer(
    bundle: Bundle, speech_recognizer: SpeechRecognizer, bundle_extractor: FeatureExtractor
) -> EmotionRecognizer:
    """The committed bundle and its parts, warm; the tests of the service use this one as well."""
    ear = bundle.facts.features.speech
    assert ear == FEATURES.speech, "the committed bundle was trained with another ear: train it again"
    joined = EmotionRecognizer(bundle, speech=speech_recognizer, features=bundle_extractor)
    joined.warm_up()
    return joined


@pytest.fixture(scope="session")
def recordings() -> Mapping[str, Samples]:
    """Real telephone speech at 16 kHz, by file name without the ending."""
    paths = sorted((ROOT / "tests" / "recordings").glob("*.wav"))
    return {path.stem: decode_audio(path).samples[0] for path in paths}


@pytest.fixture(scope="session")
def mandarin_clips() -> Mapping[str, MandarinClip]:
    """One clip of each CASIA speaker; their sound and text stay outside the repository."""
    manifest = DATA / "casia" / "manifest.jsonl"
    if not manifest.is_file():
        pytest.skip(f"CASIA is not below {DATA}: set VCEMO_DATA")
    rows = [json.loads(line) for line in manifest.read_text(encoding="utf-8").splitlines()]
    row_of_key = {row["key"].removeprefix("casia/"): row for row in rows}
    return {
        key: MandarinClip(
            samples=decode_audio(manifest.parent / row_of_key[key]["audio"]).samples[0], text=row_of_key[key]["text"]
        )
        for key in CLIPS
    }
