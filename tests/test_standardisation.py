import numpy as np
from drawn_features import drawn_features, features_of_every_kind, small_network

from model.encoders import Standardise
from training.standardisation import fit_standardisation


def test_inputs_are_standardised_by_all_rows_of_the_training_part() -> None:
    drawn = features_of_every_kind(np.random.default_rng(0))
    network = small_network("whisper")
    fit_standardisation(network, drawn)
    assert network.states is not None
    assert isinstance(network.sentence[0], Standardise)
    for standardise, rows in (
        (network.mel.standardise, [one.mel for one in drawn if one.mel is not None]),
        (network.states.standardise, [one.states for one in drawn if one.states is not None]),
        (network.words.standardise, [one.words for one in drawn if one.words is not None]),
        (network.sentence[0], [one.sentence[None] for one in drawn if one.sentence is not None]),
    ):
        joined = np.concatenate(rows).astype(np.float64)
        np.testing.assert_allclose(standardise.get_buffer("mean"), joined.mean(0), atol=1e-6)
        np.testing.assert_allclose(standardise.get_buffer("deviation"), joined.std(0).clip(1e-3), atol=1e-6)


def test_a_modality_that_the_training_part_lacks_keeps_its_scale() -> None:
    network = small_network("whisper")
    fit_standardisation(network, [drawn_features(np.random.default_rng(0), words=0)])
    assert not network.words.standardise.get_buffer("mean").any()
