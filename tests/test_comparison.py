import io
import json
from dataclasses import replace

import numpy as np
import pytest
from drawn_predictions import drawn_rows
from rich.console import Console

from model.errors import CorpusError
from model.labels import EMOTIONS
from training.comparison import compare, print_comparison
from training.metrics import FIGURES
from training.prediction_rows import PredictionRow


def mixed(rows: list[PredictionRow], *, noise: float, seed: int = 0) -> list[PredictionRow]:
    generator = np.random.default_rng(seed)
    return [
        replace(row, logits=tuple((np.array(row.logits) + noise * generator.normal(size=6)).tolist())) for row in rows
    ]


def test_a_real_difference_is_found() -> None:
    rows = drawn_rows(skill=2.0, sentences=50)
    found = compare(rows, mixed(rows, noise=1.5), rounds=300)
    for name in ("unweighted_average_recall", "macro_f1", "accuracy", "weighted_f1"):
        assert found.differences[name].low > 0, name
        assert found.differences[name].share_better == 1.0


def test_less_is_better_for_calibration_figures() -> None:
    rows = drawn_rows(skill=2.0, sentences=50)
    sure = [replace(row, logits=tuple(6 * value for value in row.logits)) for row in rows]
    found = compare(rows, sure, rounds=200).differences
    assert found["negative_log_likelihood"].high < 0
    assert found["negative_log_likelihood"].share_better == 1.0
    assert found["accuracy"].value == 0.0
    assert found["accuracy"].share_better == 0.5


def test_a_null_difference_is_found_about_as_rarely_as_promised() -> None:
    # Two runs equally good on the same clips: 95 % of the intervals hold zero.
    holds = 0
    for draw in range(60):
        rows = drawn_rows(sentences=15, draw=draw)
        first, second = (mixed(rows, noise=1.0, seed=2 * draw + run) for run in (0, 1))
        gap = compare(first, second, rounds=200).differences["accuracy"]
        holds += gap.low <= 0 <= gap.high
    assert holds >= 50


def test_pairing_makes_the_interval_narrower_than_two_apart() -> None:
    rows = drawn_rows(sentences=40)
    found = compare(rows, mixed(rows, noise=0.2), rounds=300).differences["accuracy"]
    shuffled = compare(rows, drawn_rows(sentences=40, draw=1), rounds=300).differences["accuracy"]
    assert (found.high - found.low) < 0.6 * (shuffled.high - shuffled.low)


def test_the_difference_is_first_minus_second_over_seeds() -> None:
    first, second = drawn_rows(skill=2.0, seeds=(0, 1)), drawn_rows(skill=1.0, seeds=(0, 1))
    found = compare(first, second, names=("strong", "weak"), rounds=50)

    def share(rows: list[PredictionRow]) -> float:
        return sum(EMOTIONS[int(np.argmax(row.logits))] == row.emotion for row in rows) / len(rows)

    gap = found.differences["accuracy"]
    assert (gap.first, gap.second) == pytest.approx((share(first), share(second)))
    assert gap.value == pytest.approx(share(first) - share(second))
    assert (found.seeds, found.clips, found.groups, found.dropped) == ((0, 1), 360, 20, 0)


def test_only_common_clips_and_seeds_are_compared_in_any_order() -> None:
    rows = drawn_rows(seeds=(0, 1, 2))
    fewer = [row for row in rows if row.speaker != "carla" and row.seed != 1][::-1]
    found = compare(rows, fewer, rounds=20)
    assert (found.seeds, found.clips) == ((0, 2), 240)
    assert found.dropped == len(rows) - len(fewer)
    assert all(gap.low == gap.value == gap.high == 0 for gap in found.differences.values())


def test_runs_without_a_common_clip_or_label_are_refused() -> None:
    rows = drawn_rows(sentences=2)
    with pytest.raises(CorpusError, match="no clip and seed in common"):
        compare(rows, [replace(row, seed=7) for row in rows])
    with pytest.raises(CorpusError, match="no clip and seed in common"):
        compare(rows, [replace(row, key=f"x{row.key}") for row in rows])
    with pytest.raises(CorpusError, match="do not agree on the emotion of anna-angry-0"):
        compare(rows, [replace(rows[0], emotion="sad"), *rows[1:]])


def test_a_comparison_is_plain_json_and_printed_with_both_names() -> None:
    found = compare(drawn_rows(skill=2.0), drawn_rows(), names=("full [s]", "plain"), rounds=50)
    document = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert document["differences"]["accuracy"]["share_better"] == found.differences["accuracy"].share_better
    file = io.StringIO()
    print_comparison(found, Console(file=file, width=160))
    printed = file.getvalue()
    for expected in ("full [s] against plain, 360 clips in common", "full [s] better", *FIGURES.values()):
        assert expected in printed
    assert str(found.differences["macro_f1"]) in printed
