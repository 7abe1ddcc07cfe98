"""The report of a run: one HTML file that needs nothing else, its plots and ``metrics.json`` beside it."""

import json
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.figure import Figure

from training.comparison import Comparison
from training.metrics import CALIBRATION_FIGURES, FIGURES, short
from training.plots import Curves, confusion_plot, curves_plot, recall_plot, reliability_plot, save_plot
from training.scores import Scores, counted

METRICS_FILE: Final = "metrics.json"


def write_report(
    path: Path,
    *,
    title: str,
    scores: Scores,
    curves: Curves,
    settings: Mapping[str, Any],
    against: Comparison | None = None,
    views: Mapping[str, Scores] | None = None,
    trained: str = "",
    protocol: str = "",
    command: str = "",
    warnings: Sequence[str] = (),
) -> None:
    """Write the report as ``path``, an HTML file in a folder of its own.

    curves: may be empty. settings: may be nested. views: other views of the same clips, as controls.
    trained, protocol: a sentence each. warnings: come before those of the scores.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    said = {
        "title": title,
        "trained": trained,
        "protocol": protocol,
        "command": command,
        "settings": settings,
        "warnings": [*warnings, *scores.warnings],
    }
    document = said | {
        "scores": scores.to_json(),
        "views": {name: view.to_json() for name, view in (views or {}).items()},
        "against": against.to_json() if against else None,
    }
    text = json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False, default=str)
    (path.parent / METRICS_FILE).write_text(text + "\n", encoding="utf-8")
    shown = said | {"settings": dict(_flat(settings)), "scores": scores, "views": views or {}, "against": against}
    plots = _saved_plots(_plots(scores, curves), path.parent)
    path.write_text(_page(shown, scores=scores, plots=plots, num_runs=len(curves)), encoding="utf-8")


def _page(shown: Mapping[str, Any], *, scores: Scores, plots: Mapping[str, str], num_runs: int) -> str:
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            shown,
            folds_are_speakers=scores.by_fold == scores.by_speaker,
            num_runs=num_runs,
            plots=plots,
            names=FIGURES,
            recognition=[name for name in FIGURES if name not in CALIBRATION_FIGURES],
        )
    )


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("training"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"short": short, "counted": counted}
    return environment


def _plots(scores: Scores, curves: Curves) -> dict[str, Figure]:
    plots = {
        "recall": recall_plot(scores),
        "confusion": confusion_plot(scores),
        "reliability": reliability_plot(scores.calibration),
    }
    return plots | ({"curves": curves_plot(curves)} if curves else {})


def _saved_plots(plots: Mapping[str, Figure], folder: Path) -> dict[str, str]:
    """Save every plot; return its PNG in base64."""
    encoded = {}
    for name, plot in plots.items():
        target = folder / f"{name}.png"
        save_plot(plot, target)
        encoded[name] = b64encode(target.read_bytes()).decode("ascii")
    return encoded


def _flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in settings.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{name}.")
        else:
            listed = isinstance(value, Sequence) and not isinstance(value, str)
            yield f"{prefix}{name}", ", ".join(map(str, value)) if listed else value
