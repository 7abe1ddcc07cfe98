"""Which parts two bundles share."""

from dataclasses import replace

import pytest
from service_fixtures import BUNDLE

from model.assets import AssetStore
from model.bundle import Bundle
from model.parts import Parts


@pytest.fixture(scope="module")
def loaded(bundle: Bundle, assets: AssetStore) -> Parts:
    return Parts.load(bundle, assets=assets, threads=1, device="cpu", compute_type=None)


def test_a_bundle_that_reads_the_same_loads_nothing(bundle: Bundle, assets: AssetStore, loaded: Parts) -> None:
    again = Parts.load(Bundle.load(BUNDLE), assets=assets, threads=1, device="cpu", compute_type="int8", beside=loaded)
    assert again.speech is loaded.speech
    assert again.words is loaded.words
    assert again.sentence is loaded.sentence
    assert again.lower_layers is loaded.lower_layers


def test_only_what_differs_is_loaded(assets: AssetStore, loaded: Parts) -> None:
    other = Bundle.load(BUNDLE)
    words = replace(other.facts.features.words, max_words=5)
    other.facts = replace(other.facts, features=replace(other.facts.features, words=words))
    mixed = Parts.load(other, assets=assets, threads=1, device="cpu", compute_type="float32", beside=loaded)
    assert mixed.speech.part.config.compute_type == "float32"
    assert mixed.words.part.config.max_words == 5
    assert mixed.sentence is loaded.sentence
    assert mixed.lower_layers is loaded.lower_layers


def test_lower_layers_of_another_file_are_not_shared(assets: AssetStore, loaded: Parts) -> None:
    other = Bundle.load(BUNDLE)
    other.files = {**other.files, "lower_layers.onnx": "0" * 64}
    mixed = Parts.load(other, assets=assets, threads=1, device="cpu", compute_type=None, beside=loaded)
    assert mixed.lower_layers is not loaded.lower_layers
    assert mixed.speech is loaded.speech
