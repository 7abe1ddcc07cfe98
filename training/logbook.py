"""The curves of a run: ``metrics.csv`` and TensorBoard events, both beside its checkpoint."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from torch.utils.tensorboard import SummaryWriter

CURVES_FILE: Final = "metrics.csv"

Row = Mapping[str, float]
"""What is known after an epoch: ``epoch``, ``loss``, ``dev_recall``, ..."""


class Logbook:
    """Writes one row an epoch; a run that is resumed goes on where its checkpoint ends."""

    def __init__(self, folder: Path, *, history: Sequence[Row] = ()) -> None:
        self._path = folder / CURVES_FILE
        self.history = list(history)
        folder.mkdir(parents=True, exist_ok=True)
        # Steps that a killed run wrote after its last checkpoint are hidden again.
        self._events = SummaryWriter(str(folder), purge_step=len(self.history) + 1)
        self._write_curves()

    def add(self, row: Row) -> None:
        """Append the figures of an epoch."""
        self.history.append(dict(row))
        self._write_curves()
        for name, value in row.items():
            if name != "epoch":
                self._events.add_scalar(name, value, int(row["epoch"]))
        self._events.flush()

    def close(self) -> None:
        """Finish the event file."""
        self._events.close()

    def _write_curves(self) -> None:
        columns = list(dict.fromkeys(name for row in self.history for name in row))
        temporary = self._path.with_suffix(".part")
        with temporary.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(self.history)
        temporary.replace(self._path)


def read_curves(folder: Path) -> list[dict[str, float]]:
    """Read the curves of a run; an absent value is left out."""
    with (folder / CURVES_FILE).open(encoding="utf-8", newline="") as file:
        return [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(file)]
