"""A worker of an archive: one recogniser, which writes what it has judged before it takes the next recordings."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from model.assets import AssetStore
from model.audio import AudioLimits
from model.errors import VcemoError
from model.heap import keep_few_arenas
from model.processors import one_blas_thread
from model.recognizer import EmotionRecognizer
from training.archive_results import row_of, write_part

Column = npt.NDArray[Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class ScorerSettings:
    """What every worker is given. Paths have to be the same on every machine."""

    bundle: Path
    cache: Path
    out: Path
    threads: int
    max_seconds: float
    with_text: bool


class Scorer:
    """Judges a few recordings at a time. Called again with the same ones, it writes the same file again."""

    def __init__(self, settings: ScorerSettings) -> None:
        """Load the bundle.

        Raises:
            BundleError: it does not verify.
            AssetError: a pre-trained part is missing.
        """
        one_blas_thread()
        keep_few_arenas()
        self._settings = settings
        self._recognizer = EmotionRecognizer.load(
            settings.bundle, assets=AssetStore(settings.cache), threads=settings.threads
        )
        self._recognizer.warm_up()

    def __call__(self, batch: dict[str, Column]) -> dict[str, Column]:
        """Judge recordings, write their results, and return for each key whether it could be used."""
        good: list[dict[str, Any]] = []
        failed: list[dict[str, Any]] = []
        for key, file in zip(batch["key"].tolist(), batch["file"].tolist(), strict=True):
            try:
                good.append(self._row(key, file))
            except VcemoError as error:
                failed.append({"key": key, "file": file, "code": error.code, "error": error.message})
            except Exception as error:  # noqa: BLE001 - one recording must not end thousands of others
                failed.append({"key": key, "file": file, "code": type(error).__name__, "error": str(error)})
        write_part(self._settings.out, good=good, failed=failed)
        used = {row["key"] for row in good}
        return {"key": batch["key"], "used": np.array([key in used for key in batch["key"].tolist()])}

    def _row(self, key: str, file: str) -> dict[str, Any]:
        facts = self._recognizer.bundle.facts
        found = self._recognizer.recognize(Path(file), limits=AudioLimits(max_seconds=self._settings.max_seconds))
        return row_of(
            key,
            file,
            found,
            labels=facts.labels,
            bundle=(facts.name, facts.version),
            with_text=self._settings.with_text,
        )
