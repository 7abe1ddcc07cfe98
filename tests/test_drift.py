"""Drift: what is heard against what the bundle was judged on."""

from dataclasses import replace

import numpy as np
from service_fixtures import Running
from test_schemas import judged

from model.bundle import Bundle
from model.labels import EMOTIONS
from model.reference import Seen, reference_of
from service.drift import LEAST_UTTERANCES, Drift

pytest_plugins = ("service_fixtures",)


def test_callers_who_turn_angry_are_told_from_those_the_bundle_was_judged_on(bundle: Bundle) -> None:
    generator = np.random.default_rng(0)
    drawn = generator.dirichlet(np.ones(len(EMOTIONS)), size=400)
    reference = reference_of(
        [
            Seen.of(emotion=EMOTIONS[row.argmax()], confidence=row.max(), status="ok", seconds=1.0, features=None)
            for row in drawn
        ],
        labels=EMOTIONS,
    )
    alike, changed = (Drift(replace(bundle.facts, reference=reference)) for _ in range(2))

    def hear(drift: Drift, rows: list[list[float]]) -> None:
        for row in rows:
            drift.observe([judged(probabilities=row)])

    hear(alike, drawn[: LEAST_UTTERANCES - 1].tolist())
    assert alike.divergences() == {}
    hear(alike, drawn[LEAST_UTTERANCES:].tolist())
    hear(changed, [[0.9, 0.02, 0.02, 0.02, 0.02, 0.02]] * LEAST_UTTERANCES)
    assert alike.divergences()["emotion"] < 0.02
    assert changed.divergences()["emotion"] > 0.4
    assert changed.divergences()["confidence"] > 0.4
    assert alike.divergences()["seconds"] < 0.01


def test_the_service_exports_it_by_measure(server: Running, speech: bytes) -> None:
    drift = server.service.require_loaded().drift
    answered = server.predict(speech)
    assert answered.status_code == 200
    counts = dict(drift._num_seen)
    assert counts["emotion"] >= 1
    drift._num_seen = dict.fromkeys(counts, LEAST_UTTERANCES)
    server.predict(speech)
    assert 0 < server.metric('vcemo_drift_divergence{what="emotion"}') <= 1
    assert 0 <= server.metric('vcemo_drift_divergence{what="confidence"}') <= 1
