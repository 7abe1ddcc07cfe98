import numpy as np
from drawn_features import FEATURES, features_of_every_kind, small_network

from training.inference import predict_logits


def test_predictions_do_not_depend_on_the_batch_size() -> None:
    network, drawn = small_network("whisper"), features_of_every_kind(np.random.default_rng(0))
    at_once = predict_logits(network.train(), drawn, config=FEATURES)
    assert at_once.shape == (5, 6)
    np.testing.assert_allclose(predict_logits(network, drawn, config=FEATURES, batch_size=2), at_once, atol=1e-5)


def test_nothing_to_predict_gives_no_logits() -> None:
    assert predict_logits(small_network("paper"), [], config=FEATURES).shape == (0, 6)
