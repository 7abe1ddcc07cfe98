"""Predictions as they are kept: one JSON object a line, from which every figure can be computed again."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

from model.errors import CorpusError

EVERYTHING = "all"
"""The fold of rows that name neither a fold nor a speaker."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PredictionRow:
    """Logits of one clip that the network was not trained on, in the order of the labels."""

    key: str
    emotion: str
    logits: tuple[float, ...]
    view: str = ""
    speaker: str = ""
    sentence: str = ""
    group: str = ""
    """Clips that are not independent, where it is not the sentence: a dialogue, say."""
    fold: str = ""
    seed: int = 0

    @property
    def fold_name(self) -> str:
        """The fold, or the speaker left out."""
        return self.fold or self.speaker or EVERYTHING

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "PredictionRow":
        """Read one row; absent and null mean unknown.

        Raises:
            KeyError, TypeError, ValueError: a field is missing or is of the wrong kind.
        """
        names = {name: str(document[name]) for name in _OPTIONAL if document.get(name) is not None}
        logits = tuple(float(value) for value in document["logits"])
        if not all(map(isfinite, logits)):
            raise ValueError(f"logits {logits} are not finite")
        key, emotion = str(document["key"]), str(document["emotion"])
        return cls(key=key, emotion=emotion, logits=logits, seed=int(document.get("seed") or 0), **names)


_OPTIONAL = ("view", "speaker", "sentence", "group", "fold")


def read_predictions(path: Path, *, view: str | None = None) -> list[PredictionRow]:
    """Read the rows of a ``predictions.jsonl``, all or those of one view.

    Raises:
        CorpusError: a line is not such a row, or no row has the view.
    """
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            rows.append(PredictionRow.from_json(json.loads(line)))
        except (KeyError, TypeError, ValueError) as error:
            raise CorpusError(f"{path}, line {number} is no prediction: {error!r}", value=line[:200]) from error
    found = [row for row in rows if view is None or row.view == view]
    if not found:
        views = sorted({row.view for row in rows})
        raise CorpusError(f"{path} holds no prediction of view {view!r}; it has {views}", value=view, limit=views)
    return found
