from dataclasses import replace

import numpy as np
import pytest
from drawn_predictions import drawn_rows

from model.bundle import calibrated
from model.labels import EMOTIONS
from training.calibration import Calibration, calibration
from training.metrics import Floats, Integers, expected_calibration_error, fit_temperature
from training.prediction_rows import PredictionRow
from training.seed_runs import seed_runs


def judged(rows: list[PredictionRow], dev_rows: list[PredictionRow] | None = None) -> Calibration:
    return calibration(seed_runs(rows, labels=EMOTIONS), labels=EMOTIONS, dev_rows=dev_rows or [], rounds=20)


def arrays(rows: list[PredictionRow]) -> tuple[Floats, Integers]:
    return np.array([row.logits for row in rows]), np.array([EMOTIONS.index(row.emotion) for row in rows])


def test_each_fold_takes_the_temperature_of_the_others() -> None:
    rows = drawn_rows(certainty=4.0)
    found = judged(rows)
    assert found.fitted_on == "the other folds"
    others = [row for row in rows if row.speaker != "anna"]
    assert found.temperatures["anna, seed 0"] == pytest.approx(fit_temperature(*arrays(others)))
    scaled = [calibrated(arrays([row])[0], found.temperatures[f"{row.speaker}, seed 0"])[0] for row in rows]
    assert found.after is not None
    assert found.after["calibration_error"].value == pytest.approx(
        expected_calibration_error(np.array(scaled), arrays(rows)[1]), abs=1e-6
    )
    assert found.before["calibration_error"].value > 2 * found.after["calibration_error"].value


def test_a_fold_is_not_judged_by_a_temperature_of_its_own() -> None:
    # Anna's network is sure, the others' are shy: the temperature of the others makes hers worse.
    sure, shy = drawn_rows(certainty=6.0, speakers=("anna",)), drawn_rows(certainty=0.3, speakers=("bernd",))
    found = judged(sure + shy)
    assert found.temperatures["anna, seed 0"] < 0.6
    assert found.temperatures["bernd, seed 0"] > 2
    assert found.after is not None
    assert found.after["negative_log_likelihood"].value > found.before["negative_log_likelihood"].value


def test_seeds_do_not_share_temperatures() -> None:
    rows = drawn_rows(certainty=4.0) + [replace(row, seed=1) for row in drawn_rows(certainty=1.0)]
    found = judged(rows)
    assert len(found.temperatures) == 6
    ratio = found.temperatures["anna, seed 0"] / found.temperatures["anna, seed 1"]
    assert ratio == pytest.approx(4, rel=0.01)


def test_dev_rows_go_to_the_fold_and_seed_of_their_network() -> None:
    rows = drawn_rows(speakers=("anna", "bernd"), certainty=4.0)
    dev = [
        replace(row, fold=fold, logits=tuple(certainty * value for value in row.logits))
        for fold, certainty in (("anna", 4.0), ("bernd", 2.0))
        for row in drawn_rows(speakers=(f"dev of {fold}",), draw=9)
    ]
    found = judged(rows, dev)
    assert found.fitted_on == "the dev set"
    for_anna = fit_temperature(*arrays([row for row in dev if row.fold == "anna"]))
    assert found.temperatures["anna, seed 0"] == pytest.approx(for_anna)
    assert found.temperatures["bernd, seed 0"] < 0.8 * for_anna


def test_dev_rows_without_a_fold_go_for_all() -> None:
    dev = drawn_rows(speakers=("dora",), certainty=3.0)
    found = judged(drawn_rows(certainty=3.0), dev)
    assert set(found.temperatures.values()) == {fit_temperature(*arrays(dev))}


@pytest.mark.parametrize(
    ("rows", "dev", "reason"),
    [
        (drawn_rows(speakers=("anna",)), [], "one fold and no dev set"),
        (drawn_rows(), drawn_rows(speakers=("anna",)), "the dev set is the test set"),
        (drawn_rows(seeds=(0, 1)), drawn_rows(speakers=("dora",)), "lacks a fold or a seed"),
    ],
    ids=["one fold", "dev is test", "seed without dev"],
)
def test_nothing_is_fitted_on_what_it_is_judged_by(
    rows: list[PredictionRow], dev: list[PredictionRow], reason: str
) -> None:
    found = judged(rows, dev)
    assert found.after is None
    assert found.reliability_after is None
    assert found.temperatures == {}
    assert reason in found.fitted_on


def test_the_diagram_counts_every_clip_and_gives_the_calibration_error_again() -> None:
    found = judged(drawn_rows(certainty=2.0))
    diagram = found.reliability_before
    assert sum(diagram.counts) == 360
    gaps = [
        count * abs(confidence - accuracy) / 360
        for count, confidence, accuracy in zip(diagram.counts, diagram.confidence, diagram.accuracy, strict=True)
        if confidence is not None and accuracy is not None
    ]
    assert sum(gaps) == pytest.approx(found.before["calibration_error"].value, abs=1e-6)
    assert diagram.counts[0] == 0
    assert diagram.confidence[0] is None
