"""Plots of a run's figures, each a :class:`Figure` of its own: no state is shared, no screen is needed."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator, PercentFormatter

from training.calibration import Calibration, Reliability
from training.metrics import CALIBRATION_BINS, short
from training.scores import Scores

DOTS_PER_INCH: Final = 150
WIDTH_INCHES: Final = 7.2
"""At 800 pixels a page, 10 point letters are 15 pixels high."""

# Okabe and Ito 2008: told apart with any colour vision.
BLUE, ORANGE, GREEN, VERMILLION, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#7F7F7F"
SPLITS: Final[Mapping[str, str]] = {"train": BLUE, "dev": VERMILLION, "test": GREEN}

Curves = Mapping[str, Sequence[Mapping[str, float]]]
"""By run (a fold and a seed, say): a row an epoch, as ``metrics.csv`` has them; a column may be absent."""


def save_plot(figure: Figure, path: Path) -> None:
    """Write ``figure`` as PNG."""
    figure.savefig(path, dpi=DOTS_PER_INCH, facecolor="white")


def confusion_plot(scores: Scores) -> Figure:
    """Draw the confusion matrix: shade is the share of the true emotion's row, cells give share and count."""
    counts = np.array(scores.confusion, dtype=np.int64)
    shares = counts / np.maximum(1, counts.sum(1, keepdims=True))
    side = 0.42 * WIDTH_INCHES + 0.62 * len(scores.labels)
    figure, axes = _panel(height=min(side, 0.92 * WIDTH_INCHES))
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), share in np.ndenumerate(shares):
        text = f"{share:.0%}\n{counts[row, column]}"
        axes.text(column, row, text, ha="center", va="center", color="white" if share > 0.55 else "black")
    positions = range(len(scores.labels))
    axes.set_xticks(positions, scores.labels, rotation=30, ha="right", rotation_mode="anchor")
    axes.set_yticks(positions, scores.labels)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    over_seeds = f", counts over {len(scores.seeds)} seeds" if len(scores.seeds) > 1 else ""
    axes.set_title(f"Confusion{over_seeds}")
    bar = figure.colorbar(image, ax=axes, fraction=0.046, pad=0.03, format=PercentFormatter(1))
    bar.set_label("share of the true emotion")
    return figure


def reliability_plot(calibration: Calibration) -> Figure:
    """Draw accuracy against confidence, before and after temperature scaling, over histograms of confidence."""
    shown = [("as trained", calibration.reliability_before, calibration.before)]
    if calibration.reliability_after is not None and calibration.after is not None:
        shown.append(("with a temperature", calibration.reliability_after, calibration.after))
    figure = Figure(figsize=(WIDTH_INCHES, 5.0), layout=ConstrainedLayoutEngine(wspace=0.06))
    grid = figure.subplots(2, 2, sharex=True, sharey="row", height_ratios=(3, 1), squeeze=False)
    for column, (title, reliability, found) in enumerate(shown):
        error = short(found["calibration_error"].value)
        _draw_reliability(grid[0, column], reliability, title=f"{title}, ECE {error}")
        _draw_histogram(grid[1, column], reliability)
    for axes in grid[:, len(shown) :].flat:
        axes.remove()
    grid[0, 0].set_ylabel("accuracy")
    grid[1, 0].set_ylabel("share of clips")
    return figure


def recall_plot(scores: Scores) -> Figure:
    """Draw the recall of each emotion with its 95 % interval, against guessing."""
    emotions = list(scores.recall_by_emotion)
    figure, axes = _panel(height=1.4 + 0.42 * len(emotions))
    found = [scores.recall_by_emotion[emotion] for emotion in emotions]
    values = np.array([one.value for one in found])
    # A percentile interval need not hold its value.
    sides = np.maximum(0, [values - [one.low for one in found], [one.high for one in found] - values])
    axes.errorbar(values, range(len(emotions)), xerr=sides, fmt="o", color=BLUE, capsize=4, label="recall")
    axes.axvline(scores.chance, color=VERMILLION, linestyle="--", label=f"guessing, {short(scores.chance)}")
    axes.set_yticks(range(len(emotions)), [f"{emotion} ({scores.support[emotion]})" for emotion in emotions])
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    axes.set_xlabel("recall, 95 % interval")
    axes.set_title("Recall by emotion (clips)")
    axes.grid(axis="x", alpha=0.3)
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    return figure


def curves_plot(curves: Curves) -> Figure:
    """Draw a panel a quantity: a thin line a run, a thick one for their mean; train, dev and test by colour.

    A column is ``loss``, ``dev_loss`` or ``dev/loss``; without a split it is of the training part.
    """
    columns = dict.fromkeys(name for rows in curves.values() for row in rows for name in row if name != "epoch")
    quantities = list(dict.fromkeys(split_of(column)[1] for column in columns))
    height = 0.6 + 2.4 * max(1, -(-len(quantities) // 2))
    figure = Figure(figsize=(WIDTH_INCHES, height), layout="constrained")
    panels = figure.subplots(max(1, -(-len(quantities) // 2)), 2, squeeze=False).flatten()
    for axes, quantity in zip(panels, quantities, strict=False):
        for column in columns:
            split, found = split_of(column)
            if found == quantity:
                _draw_runs(axes, curves, column=column, split=split)
        axes.set_title(quantity.replace("_", " "))
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
        axes.grid(alpha=0.3)
    for axes in panels[len(quantities) :]:
        axes.remove()
    shown = {line.get_label(): line for axes in panels for line in axes.lines if line.get_label() in SPLITS}
    handles = [shown[split] for split in SPLITS if split in shown]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False)
    return figure


def split_of(column: str) -> tuple[str, str]:
    """Return the split and the quantity of a column: ``dev_recall`` is ``("dev", "recall")``."""
    for split in SPLITS:
        if column.startswith((f"{split}_", f"{split}/")):
            return split, column[len(split) + 1 :]
    return "train", column


def _panel(*, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(WIDTH_INCHES, height), layout="constrained")
    return figure, figure.subplots()


def _draw_runs(axes: Axes, curves: Curves, *, column: str, split: str) -> None:
    values_at: dict[float, list[float]] = {}
    runs = [[(row["epoch"], row[column]) for row in rows if column in row] for rows in curves.values()]
    runs = [points for points in runs if points]
    for points in runs:
        if len(runs) > 1:
            axes.plot(*zip(*points, strict=True), color=SPLITS[split], linewidth=0.8, alpha=0.5)
        for epoch, value in points:
            values_at.setdefault(epoch, []).append(value)
    epochs = sorted(values_at)
    means = [float(np.mean(values_at[epoch])) for epoch in epochs]
    marker = "o" if len(epochs) == 1 else None
    axes.plot(epochs, means, color=SPLITS[split], linewidth=2.2, label=split, marker=marker)


def _draw_reliability(axes: Axes, reliability: Reliability, *, title: str) -> None:
    known = [(x, y) for x, y in zip(reliability.confidence, reliability.accuracy, strict=True) if x is not None]
    axes.plot([0, 1], [0, 1], color=GREY, linestyle="--", label="calibrated")
    axes.plot(*zip(*known, strict=True), color=BLUE, marker="o", label="found")
    axes.set_title(title)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.grid(alpha=0.3)
    axes.legend(loc="upper left", frameon=False)


def _draw_histogram(axes: Axes, reliability: Reliability) -> None:
    edges = np.linspace(0, 1, CALIBRATION_BINS + 1)
    shares = np.array(reliability.counts) / max(1, sum(reliability.counts))
    axes.bar(edges[:-1], shares, width=1 / CALIBRATION_BINS, align="edge", color=ORANGE, edgecolor="white")
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.set_xlabel("confidence")
