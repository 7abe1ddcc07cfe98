import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import pytest
import torch
from conftest import ROOT
from drawn_features import FEATURES, small_network
from tiny_bert import DIMENSION, write_tiny_bert
from transformers import AutoModel, AutoTokenizer

from model.assets import AssetStore
from model.bundle import FACTS_FILE, Bundle
from model.labels import EMOTIONS
from model.recognizer import EmotionRecognizer
from model.sentence import OnnxEncoder, SentenceConfig
from model.speech import Transcript
from training.__main__ import main
from training.export import write_bundle
from training.sentence_export import export_bert

TEXTS = ["你", "今天天气很好", "我不高兴，下雨也去。", "请留言 hello", ""]

Samples = npt.NDArray[np.float32]


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bert") / "bert-tiny-chinese"
    write_tiny_bert(folder)
    return folder


def in_torch(bert: Path, text: str, pooling: str) -> npt.NDArray[np.float32]:
    inputs = AutoTokenizer.from_pretrained(bert)(text, return_tensors="pt")
    with torch.inference_mode():
        hidden = AutoModel.from_pretrained(bert)(**inputs).last_hidden_state[0]
    pooled: npt.NDArray[np.float32] = (hidden[0] if pooling == "cls" else hidden.mean(0)).numpy()
    return pooled


@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_an_exported_bert_gives_the_vectors_of_torch(
    bert: Path, tmp_path: Path, pooling: Literal["cls", "mean"]
) -> None:
    config = export_bert(bert, tmp_path, pooling=pooling)
    assert config == SentenceConfig(kind="onnx", name="bert-tiny-chinese", dimension=DIMENSION, max_tokens=128)
    found = OnnxEncoder(tmp_path, config=config).encode(TEXTS)
    for text, row in zip(TEXTS, found, strict=True):
        np.testing.assert_allclose(row, in_torch(bert, text, pooling), atol=1e-5)


def test_the_command_exports_what_serving_needs(bert: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export-bert", "--model", str(bert), "--out", str(tmp_path / "out"), "--pooling", "mean"]) == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"model.onnx", "tokenizer.json"}
    assert "wrote" in capsys.readouterr().err


def test_a_bert_goes_the_whole_way_from_its_folder_into_a_bundle_that_recognises(
    bert: Path, tmp_path: Path, bundle: Bundle, assets: AssetStore, recordings: Mapping[str, Samples]
) -> None:
    config = export_bert(bert, tmp_path / "exported")
    network = small_network("whisper", sentence_dimension=DIMENSION)
    facts = replace(
        bundle.facts,
        name="with-bert",
        features=replace(FEATURES, sentence=config),
        network=network.config.to_json(),
        assets={name: bundle.facts.assets[name] for name in ("whisper-base", "word-vectors-zh")},
        golden_audio={},
    )
    folder = tmp_path / "bundles" / "with-bert"
    recognizer = write_bundle(
        folder,
        network=network,
        facts=facts,
        card="# with a BERT",
        assets=assets,
        compute_types=("int8",),
        sentence_encoder=tmp_path / "exported",
        threads=2,
    )
    assert isinstance(recognizer, EmotionRecognizer)
    document = json.loads((folder / FACTS_FILE).read_text(encoding="utf-8"))
    assert {"sentence_encoder/model.onnx", "sentence_encoder/tokenizer.json"} < set(document["files"])
    assert set(document["golden_audio"]) == {"int8"}

    answer = recognizer.recognize(ROOT / "tests" / "recordings" / "leave_a_message.wav")
    assert answer.probabilities is not None
    assert set(answer.probabilities) == set(EMOTIONS)
    transcript = Transcript(
        text="今天下雨",
        language="zh",
        status="ok",
        avg_logprob=-0.1,
        no_speech_probability=0.0,
        states=np.zeros((13, 512), dtype=np.float32),
        num_tokens=4,
        fell_back=False,
    )
    features = recognizer.features(recordings["leave_a_message"][:16_000], transcript)
    assert features.sentence is not None
    np.testing.assert_allclose(features.sentence, in_torch(bert, "今天下雨", "cls"), atol=1e-5)
    (probabilities,) = recognizer.classify([features])
    assert probabilities.sum() == pytest.approx(1.0, abs=1e-5)
