"""The second opinion on the sound: what it reads, whom it teaches, and when it is asked."""

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from drawn_features import FEATURES, drawn_features, features_of_every_kind, lived_in, small_network, tensors_of

from model.features import collate
from model.network import NetworkConfig, VcemoNetwork
from model.sound_expert import mean_of_opinions
from training.experiment import Experiment
from training.export import export_network
from training.learner import Learner, can_judge
from training.standardisation import fit_standardisation

COLUMNS = 200
READ_BY_FUSIONS = FEATURES.state_dimension - COLUMNS


def network_with_expert(**changes: Any) -> VcemoNetwork:
    return lived_in(small_network("whisper", expert_dimension=COLUMNS, **changes))


def said_of(network: VcemoNetwork, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    with torch.inference_mode():
        logits: torch.Tensor = network(**inputs)
    return logits


def test_the_answer_is_the_mean_of_both_opinions_where_there_is_sound() -> None:
    network, inputs = network_with_expert(), tensors_of(features_of_every_kind(np.random.default_rng(0)))
    with torch.inference_mode():
        embedded = network.embed(**inputs)
        fused = torch.log_softmax(network.predict(embedded), dim=-1)
        expert = torch.log_softmax(network.judged_alone(embedded)["expert"], dim=-1)
    expected = (fused + expert) / 2
    expected[-1] = fused[-1]
    torch.testing.assert_close(said_of(network, inputs), expected)
    assert (fused - expert).abs().max() > 0.01


def test_opinions_are_averaged_as_log_probabilities() -> None:
    one, other = torch.tensor([[3.0, 1.0]]), torch.tensor([[10.0, 14.0]])
    found = mean_of_opinions(one, other, torch.tensor([[True]]))
    torch.testing.assert_close(found[:, 0] - found[:, 1], torch.tensor([(2.0 - 4.0) / 2]))


@pytest.mark.parametrize(
    ("columns", "expert_moves"), [(slice(0, READ_BY_FUSIONS), False), (slice(-COLUMNS, None), True)]
)
def test_each_reads_its_own_columns_of_the_states(columns: slice, expert_moves: bool) -> None:
    network, inputs = network_with_expert(), tensors_of([drawn_features(np.random.default_rng(0))])
    with torch.inference_mode():
        before = network.embed(**inputs)
        inputs["states"][..., columns] += 1
        after = network.embed(**inputs)
        fused = [network.predict(embedded) for embedded in (before, after)]
        expert = [network.judged_alone(embedded)["expert"] for embedded in (before, after)]
    moved = {"fused": not torch.equal(*fused), "expert": not torch.equal(*expert)}
    assert moved == {"fused": not expert_moves, "expert": expert_moves}


def test_what_was_heard_of_the_speaker_moves_the_expert_too() -> None:
    network, inputs = network_with_expert(), tensors_of([drawn_features(np.random.default_rng(0), known_speaker=True)])
    with torch.inference_mode():
        known = network.judged_alone(network.embed(**inputs))["expert"]
        inputs["speaker_rows"].zero_()
        stranger = network.judged_alone(network.embed(**inputs))["expert"]
    assert (known - stranger).abs().max() > 1e-3


def test_neither_learns_from_the_errors_of_the_other() -> None:
    network = network_with_expert(dropout=0.0).train()
    learner = Learner(network, None, passes=1)
    inputs = tensors_of(features_of_every_kind(np.random.default_rng(0)))
    of_expert = {name for name, _ in network.named_parameters() if "expert" in name}
    assert {name.split(".")[0] for name in of_expert} == {"expert", "judges"}
    logits, projected, judged, _ = learner(inputs)
    (logits.square().sum() + projected.sum()).backward(retain_graph=True)
    assert all(p.grad is None or not p.grad.any() for name, p in network.named_parameters() if name in of_expert)
    network.zero_grad()
    judged[:, list(network.judges).index("expert")].square().sum().backward()
    touched = {name for name, p in network.named_parameters() if p.grad is not None and p.grad.any()}
    assert touched
    assert touched <= of_expert


def test_sound_teaches_the_expert_and_text_does_not() -> None:
    mask = torch.tensor([[1.0, 1.0, 1.0], [0.0, 1.0, 1.0]])
    assert can_judge("expert", mask).tolist() == [True, False]


def test_padding_and_batch_mates_never_change_an_answer() -> None:
    network, batch = network_with_expert(), features_of_every_kind(np.random.default_rng(0))
    alone = torch.cat([said_of(network, tensors_of([item])) for item in batch])
    torch.testing.assert_close(said_of(network, tensors_of(batch)), alone, atol=1e-5, rtol=0)


def test_the_export_asks_both(tmp_path: Path) -> None:
    network, generator = network_with_expert(), np.random.default_rng(0)
    example = collate(features_of_every_kind(generator), config=FEATURES)
    export_network(network, tmp_path / "fusion.onnx", example=example)
    session = onnxruntime.InferenceSession(str(tmp_path / "fusion.onnx"), providers=["CPUExecutionProvider"])
    read = [node.name for node in session.get_inputs()]
    for batch in (features_of_every_kind(generator), [drawn_features(generator, frames=200, steps=51, words=20)]):
        inputs = collate(batch, config=FEATURES)
        (found,) = session.run(["logits"], {name: inputs[name] for name in read})
        np.testing.assert_allclose(found, said_of(network, tensors_of(batch)).numpy(), atol=1e-4, rtol=0)


def test_each_is_standardised_by_its_own_columns() -> None:
    drawn, network = (
        features_of_every_kind(np.random.default_rng(0)),
        small_network("whisper", expert_dimension=COLUMNS),
    )
    fit_standardisation(network, drawn)
    rows = np.concatenate([one.states for one in drawn if one.states is not None]).astype(np.float64)
    assert network.states is not None
    assert network.expert is not None
    for standardise, own in (
        (network.states.standardise, rows[:, :READ_BY_FUSIONS]),
        (network.expert.steps.standardise, rows[:, READ_BY_FUSIONS:]),
    ):
        np.testing.assert_allclose(standardise.get_buffer("mean"), own.mean(0), atol=1e-6)


def test_a_network_that_reads_no_sound_has_no_expert() -> None:
    assert small_network("whisper", expert_dimension=COLUMNS, modalities=("words", "sentence")).expert is None


def test_columns_that_cannot_be_given_away_are_refused() -> None:
    with pytest.raises(ValueError, match="expert_dimension 512 leaves the fusions nothing of states of 512"):
        NetworkConfig.preset_named("whisper", expert_dimension=512)
    with pytest.raises(ValueError, match="expert_dimension goes with mel_encoder 'statistics'"):
        NetworkConfig.preset_named("paper", expert_dimension=8)


def test_an_expert_that_nobody_teaches_is_refused() -> None:
    with pytest.raises(ValueError, match="nothing else teaches the expert"):
        Experiment(network={"expert_dimension": 8})
    assert Experiment(network={"expert_dimension": 8}, judged_alone=1.0).network_config.expert_dimension == 8
