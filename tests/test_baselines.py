"""Each comparison system against its paper: sizes, shapes, padding, and that it can learn."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from drawn_features import FEATURES, drawn_example, drawn_features
from torch import Tensor

from model.features import Features
from model.labels import EMOTIONS
from training.baselines.baseline import Baseline
from training.baselines.cme import Cme, CmeConfig, _mean_and_maximum
from training.baselines.mdre import Mdre, MdreConfig
from training.baselines.mha2 import Mha2, Mha2Config
from training.baselines.probe import Probe, ProbeConfig
from training.baselines.umons import Block, Umons, UmonsConfig
from training.baselines.xu2019 import Xu2019, Xu2019Config
from training.collation import HeardFeatures, collate_inputs
from training.dataset import TrainingSet
from training.experiment import Contrast, Experiment, load_experiment
from training.feature_cache import Example
from training.frames import PROSODY_DIMENSION, FrameConfig
from training.inference import predict_logits
from training.shapes import count_parameters
from training.systems import SYSTEMS
from training.trainer import Training
from training.weights import load_network, save_network

GLOVE: dict[str, Any] = {"word_dimension": 300, "num_classes": 4}
SMALL: dict[str, dict[str, Any]] = {
    "xu2019": {"audio_projection": 32, "hidden": 16, "heads": 2},
    "umons": {"width": 16, "heads": 2, "blocks": 2, "steps": 12},
    "mha2": {"hidden": 16},
    "mdre": {"hidden": 32, "text_features": 16},
    "cme": {"channels": (8, 16, 16), "hidden": 16},
    "probe": {},
}
"""Sizes at which 32 utterances are learnt in seconds."""
SYSTEM_NAMES = sorted(set(SYSTEMS) - {"vcemo"})


def rnn(inputs: int, hidden: int, *, gates: int, directions: int) -> int:
    return directions * gates * hidden * (inputs + hidden + 2)


def linear(inputs: int, outputs: int) -> int:
    return outputs * (inputs + 1)


def heard(generator: np.random.Generator, *, frames: int = 30, words: int = 4, shift: float = 0.0) -> HeardFeatures:
    drawn = drawn_features(generator, frames=frames, words=words, shift=shift)
    names = ("mel", "states", "words", "sentence", "ngrams", "speaker")
    prosody = (generator.normal(size=PROSODY_DIMENSION) + shift).astype(np.float32)
    return HeardFeatures(**{name: getattr(drawn, name) for name in names}, prosody=prosody)


def tensors(batch: list[Features]) -> dict[str, Tensor]:
    return {name: torch.from_numpy(array) for name, array in collate_inputs(batch, config=FEATURES).items()}


def small(system: str, **changes: Any) -> Baseline:
    torch.manual_seed(0)
    config = SYSTEMS[system].config(**(SMALL[system] | changes))
    network = SYSTEMS[system].network(config).eval()
    assert isinstance(network, Baseline)
    return network


def experiment_of(system: str, **changes: Any) -> Experiment:
    """The experiment as it is shipped, with sizes and features of the tests."""
    shipped = load_experiment({"probe": "whisper_probe"}.get(system, system))
    quick: dict[str, Any] = {
        "network": SMALL[system],
        "frames": FrameConfig(prosody=True),
        "batch_size": 16,
        "patience": None,
    }
    return replace(shipped, corpora={"casia": 1}, protocol=Experiment().protocol, **(quick | changes))


def test_xu_has_the_sizes_of_the_authors_recipe() -> None:
    network = Xu2019(Xu2019Config(frame_dimension=257, **GLOVE))
    encoders = linear(257, 512) + rnn(512, 100, gates=3, directions=2) + rnn(300, 100, gates=3, directions=2)
    alignment = 4 * linear(200, 200)
    both = rnn(400, 100, gates=3, directions=2) + linear(200, 200) + 200 + linear(200, 4)
    assert count_parameters(network) == encoders + alignment + both == 1_244_900


def test_umons_has_the_sizes_of_the_authors_command() -> None:
    """Theirs has 33 million with a trained table of words, of 300 each, which ours does not hold."""
    network = Umons(UmonsConfig(**GLOVE))
    attention, feed = 4 * linear(512, 512), linear(512, 1024) + linear(1024, 512)
    norm, glimpses = 2 * 512, linear(512, 512) + linear(512, 60)
    block = (attention + feed + 2 * norm) + (2 * attention + feed + 3 * norm)
    head = 2 * (linear(512, 512) + linear(512, 1) + linear(512, 1024)) + 2 * 1024 + linear(1024, 4)
    encoders = rnn(300, 512, gates=4, directions=1) + linear(80, 512)
    assert count_parameters(network) == 4 * block + 3 * 2 * (glimpses + norm) + encoders + head == 26_087_278


def test_mha2_has_the_sizes_of_the_nearest_code() -> None:
    network = Mha2(Mha2Config(frame_dimension=40, **GLOVE))
    both = rnn(40, 256, gates=4, directions=2) + rnn(300, 256, gates=4, directions=2)
    assert count_parameters(network) == both + linear(6 * 256, 4) == 1_759_236


def test_mdre_has_the_sizes_of_the_authors_code() -> None:
    network = Mdre(MdreConfig(frame_dimension=39, **GLOVE))
    both = rnn(39, 200, gates=3, directions=1) + rnn(300, 200, gates=3, directions=1)
    heads = linear(235, 117) + linear(200, 100) + linear(217, 4)
    assert count_parameters(network) == both + heads == 494_384


def test_cme_has_the_sizes_of_the_authors_code() -> None:
    """Theirs has a second table of words, of 256 each, where ours has a Linear on the static vectors."""
    network = Cme(CmeConfig(frame_dimension=40, **GLOVE))
    convolutions = (40 * 5 + 1) * 64 + (64 * 2 + 1) * 128 + (128 * 2 + 1) * 128
    words = 2 * linear(300, 256) + linear(256, 256)
    assert (
        count_parameters(network)
        == convolutions + words + rnn(512, 256, gates=4, directions=2) + linear(512, 4)
        == 1_861_188
    )


def test_a_probe_is_linear_in_mean_and_deviation() -> None:
    assert count_parameters(Probe(ProbeConfig(num_classes=4))) == linear(2 * 512, 4)
    other = Probe(ProbeConfig(sequence="mel", frame_dimension=768))
    assert (count_parameters(other), other.embedded_size) == (linear(2 * 768, 6), 2 * 768)


@pytest.mark.parametrize("system", SYSTEM_NAMES)
def test_what_a_batch_says_of_an_utterance_does_not_depend_on_its_mates(system: str) -> None:
    generator = np.random.default_rng(0)
    network = small(system)
    shapes = [(1, 1), (9, 3), (70, 20), (40, 0)]
    drawn: list[Features] = [heard(generator, frames=frames, words=words) for frames, words in shapes]
    with torch.inference_mode():
        together = network(**tensors(drawn))
        alone = torch.cat([network(**tensors([one])) for one in drawn])
        assert network.embed(**tensors(drawn)).shape == (4, network.embedded_size)
    assert together.shape == (4, 6)
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("system", SYSTEM_NAMES)
def test_every_parameter_of_a_system_is_trained(system: str) -> None:
    generator = np.random.default_rng(1)
    network = small(system).train()
    network(**tensors([heard(generator, frames=60, words=5) for _ in range(4)])).sum().backward()
    untouched = [name for name, parameter in network.named_parameters() if parameter.grad is None]
    assert untouched == []


@pytest.mark.parametrize("system", SYSTEM_NAMES)
def test_32_utterances_are_learnt_by_heart(system: str) -> None:
    """Drawn at random, labels and all: through the trainer, with the system's own optimiser, loss and clipping."""
    generator = np.random.default_rng(2)
    examples: list[Example] = [
        drawn_example(heard(generator, frames=16 + index % 5, words=3), key=str(index), emotion=EMOTIONS[index % 6])
        for index in range(32)
    ]
    experiment = experiment_of(system, epochs=60, learning_rate=1e-2, schedule="constant")
    training_set = TrainingSet(examples, (), experiment=experiment, features=experiment.input_config)
    network = Training(training_set, experiment=experiment, features=experiment.input_config).run()
    predicted = predict_logits(network, [one.features for one in examples], config=experiment.input_config).argmax(1)
    assert (predicted == np.arange(32) % 6).mean() == 1.0


def test_the_weights_of_a_system_come_back_from_their_file(tmp_path: Any) -> None:
    network = small("cme")
    save_network(network, tmp_path / "network.safetensors")
    again = load_network(tmp_path / "network.safetensors", config=network.config)
    drawn = tensors([heard(np.random.default_rng(3))])
    with torch.inference_mode():
        assert torch.equal(again(**drawn), network(**drawn))


def test_umons_guides_the_sound_by_the_words_as_they_came_into_the_block() -> None:
    torch.manual_seed(0)
    block = Block(UmonsConfig(width=8, heads=2, steps=5), glimpses=False).eval()
    words, sound = torch.randn(1, 5, 8), torch.randn(1, 5, 8)
    mask = torch.ones(1, 5, dtype=torch.bool)
    with torch.inference_mode():
        _, (guided, _) = block((words, mask), (sound, mask))
        expected = block.sound(sound, mask, words, mask) + sound
    assert torch.equal(guided, expected)


def test_mean_and_maximum_of_a_word_are_those_of_its_frames() -> None:
    x = torch.tensor([[[1.0], [5.0], [2.0], [7.0], [3.0]]])
    mean, most = _mean_and_maximum(x, torch.tensor([[0, 2, 4]]), torch.tensor([[2, 3, 5]]))
    assert mean.flatten().tolist() == [3, 2, 3]
    assert most.flatten().tolist() == [5, 2, 3]


def test_a_word_that_is_shorter_than_a_frame_is_heard_at_its_start() -> None:
    x = torch.tensor([[[1.0], [5.0], [2.0]]])
    _, most = _mean_and_maximum(x, torch.tensor([[1, 1]]), torch.tensor([[2, 2]]))
    assert most.flatten().tolist() == [5, 5]


def test_what_only_vcemo_has_is_refused_for_the_others() -> None:
    with pytest.raises(ValueError, match=r"contrast\.alpha are VCEMO's own; system 'mdre' goes without"):
        Experiment(system="mdre", contrast=Contrast(alpha=0.1))
    with pytest.raises(ValueError, match="frames are what other systems hear"):
        Experiment(frames=FrameConfig(kind="fbank"))
    with pytest.raises(ValueError, match="network has unknown fields fusion_steps"):
        Experiment(system="cme", contrast=Contrast(alpha=0), network={"fusion_steps": 8})


def test_a_run_of_before_keeps_its_name() -> None:
    """Networks that were trained before there were other systems are found again."""
    assert load_experiment("default").digest == "b4061032d137"
