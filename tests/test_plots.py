from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drawn_predictions import drawn_rows
from matplotlib import colors
from matplotlib.image import imread
from matplotlib.lines import Line2D

from model.labels import FOUR_EMOTIONS
from training.plots import SPLITS, confusion_plot, curves_plot, recall_plot, reliability_plot, save_plot, split_of
from training.scores import Scores, score


@pytest.fixture(scope="module")
def scores() -> Scores:
    return score(drawn_rows(certainty=3.0, seeds=(0, 1)), rounds=50)


def points(line: Line2D) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in np.asarray(line.get_xydata())]


def text_of(labels: Sequence[Any]) -> list[str]:
    return [label.get_text() for label in labels]


def test_cells_of_the_confusion_give_share_and_count_and_are_shaded_by_share(scores: Scores) -> None:
    axes = confusion_plot(scores).axes[0]
    counts = np.array(scores.confusion)
    shares = counts / counts.sum(1, keepdims=True)
    shaded = axes.images[0].get_array()
    assert shaded is not None
    assert np.asarray(shaded) == pytest.approx(shares)
    cells = {text.get_position(): text.get_text() for text in axes.texts}
    assert cells[(4, 1)] == f"{shares[1, 4]:.0%}\n{counts[1, 4]}"
    assert len(cells) == 36
    assert text_of(axes.get_xticklabels()) == text_of(axes.get_yticklabels()) == list(scores.labels)
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted", "true")
    assert "2 seeds" in axes.get_title()


def test_a_true_emotion_without_clips_is_an_empty_row() -> None:
    found = score([row for row in drawn_rows() if row.emotion != "fear"], rounds=20)
    texts = confusion_plot(found).axes[0].texts
    assert {text.get_text() for text in texts if text.get_position()[1] == 1} == {"0%\n0"}


def test_reliability_is_drawn_before_and_after_with_histograms(scores: Scores) -> None:
    before, after, histogram, _ = reliability_plot(scores.calibration).axes
    diagram = scores.calibration.reliability_before
    expected = [(x, y) for x, y in zip(diagram.confidence, diagram.accuracy, strict=True) if x is not None]
    assert points(before.lines[1]) == expected
    assert points(before.lines[0]) == [(0, 0), (1, 1)]
    heights = [patch.get_height() for patch in histogram.patches]  # type: ignore[attr-defined]
    assert heights == pytest.approx([count / sum(diagram.counts) for count in diagram.counts])
    error = scores.calibration.before["calibration_error"].value
    assert f"{error:.3f}"[1:] in before.get_title()
    assert "temperature" in after.get_title()


def test_reliability_without_a_temperature_is_drawn_once() -> None:
    assert len(reliability_plot(score(drawn_rows(speakers=("anna",)), rounds=20).calibration).axes) == 2


def test_recall_is_drawn_with_its_interval_and_chance(scores: Scores) -> None:
    axes = recall_plot(scores).axes[0]
    marks, caps, (bars,) = axes.containers[0].lines  # type: ignore[attr-defined]
    found = list(scores.recall_by_emotion.values())
    assert marks.get_xdata() == pytest.approx([one.value for one in found])
    assert caps[0].get_xdata() == pytest.approx([one.low for one in found])
    assert caps[1].get_xdata() == pytest.approx([one.high for one in found])
    assert len(bars.get_segments()) == 6
    assert text_of(axes.get_yticklabels())[0] == "angry (60)"
    assert axes.get_xlim() == (0, 1)
    (chance,) = [line for line in axes.lines if "guessing" in str(line.get_label())]
    assert np.asarray(chance.get_xdata()) == pytest.approx(1 / 6)


CURVES = {
    "anna, seed 0": [{"epoch": 1, "loss": 2.0, "dev_loss": 1.5}, {"epoch": 2, "loss": 1.0, "dev_recall": 0.5}],
    "anna, seed 1": [{"epoch": 1, "loss": 4.0, "dev_loss": 2.5}],
}


def test_runs_are_thin_lines_and_their_mean_a_thick_one() -> None:
    figure = curves_plot(CURVES)
    assert [axes.get_title() for axes in figure.axes] == ["loss", "recall"]
    train = [line for line in figure.axes[0].lines if colors.same_color(line.get_color(), SPLITS["train"])]
    assert [points(line) for line in train] == [[(1, 2), (2, 1)], [(1, 4)], [(1, 3), (2, 1)]]
    assert train[2].get_linewidth() > 2 * train[0].get_linewidth()
    dev = [line for line in figure.axes[0].lines if line.get_label() == "dev"]
    assert [points(line) for line in dev] == [[(1, 2)]]
    assert text_of(figure.legends[0].get_texts()) == ["train", "dev"]


def test_one_run_is_one_line() -> None:
    figure = curves_plot({"only": [{"epoch": 1, "loss": 2.0}, {"epoch": 2, "loss": 1.0}]})
    assert [points(line) for line in figure.axes[0].lines] == [[(1, 2), (2, 1)]]


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        ("loss", ("train", "loss")),
        ("dev_recall", ("dev", "recall")),
        ("test/loss", ("test", "loss")),
        ("learning_rate", ("train", "learning_rate")),
    ],
)
def test_a_column_names_its_split(column: str, expected: tuple[str, str]) -> None:
    assert split_of(column) == expected


def test_a_saved_plot_is_wide_enough_to_read(tmp_path: Path) -> None:
    found = score(drawn_rows(labels=FOUR_EMOTIONS, sentences=5), labels=FOUR_EMOTIONS, rounds=20)
    save_plot(confusion_plot(found), tmp_path / "confusion.png")
    pixels = imread(tmp_path / "confusion.png")
    assert pixels.shape[1] == 1080
    assert pixels[0, 0, :3].tolist() == [1, 1, 1]


def test_no_plot_touches_pyplot() -> None:
    source = Path(__file__).parents[1] / "training" / "plots.py"
    assert "pyplot" not in source.read_text(encoding="utf-8")
