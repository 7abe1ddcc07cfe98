"""Corrected labels in the database. Imported when the first one comes: SQLAlchemy takes a while."""

import datetime
import io
import uuid
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import soundfile
from sqlalchemy import Engine, Row, insert, select, update
from sqlalchemy.exc import IntegrityError

from model.audio import SAMPLE_RATE_HZ
from model.feedback import feedback_table, pack_features
from service.database import metadata
from service.recent import JudgedSegment

TABLE: Final = feedback_table(metadata)
_ANSWERED: Final = (TABLE.c.id, TABLE.c.request_id, TABLE.c.segment_id, TABLE.c.label, TABLE.c.note, TABLE.c.created_at)


@dataclass(frozen=True, kw_only=True, slots=True)
class Correction:
    """A label that somebody gave a segment; created_at is when it was given last, in ISO 8601 and UTC."""

    id: str
    request_id: str
    segment_id: str
    label: str
    note: str
    created_at: str


class Corrections:
    """One row a segment: who corrects again, replaces the label and the note."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def amend(self, request_id: str, segment_id: str, *, label: str, note: str) -> Correction | None:
        """Correct a segment that was corrected before, whose features are here already; None where it was not."""
        mine = (TABLE.c.request_id == request_id) & (TABLE.c.segment_id == segment_id)
        with self._engine.begin() as connection:
            connection.execute(update(TABLE).where(mine).values(label=label, note=note, created_at=_now()))
            row = connection.execute(select(*_ANSWERED).where(mine)).one_or_none()
        return None if row is None else _correction(row)

    def add(self, segment: JudgedSegment, *, label: str, note: str) -> Correction:
        """Keep a correction with what the network saw of the segment."""
        values: dict[str, Any] = {
            "id": uuid.uuid4().hex,
            "request_id": segment.request_id,
            "segment_id": segment.segment_id,
            "label": label,
            "note": note,
            "created_at": _now(),
        }
        seen = {
            "predicted": segment.predicted,
            "confidence": segment.confidence,
            "bundle": segment.facts.name,
            "bundle_version": segment.facts.version,
            "features_digest": segment.facts.features_digest,
            "transcript_status": segment.transcript_status,
            "seconds": segment.seconds,
            "features": pack_features(segment.features),
            "audio": None if segment.samples is None else _flac(segment.samples),
        }
        try:
            with self._engine.begin() as connection:
                connection.execute(insert(TABLE).values(**values, **seen))
        except IntegrityError:
            # Somebody else has corrected it at this moment: one row a segment.
            amended = self.amend(segment.request_id, segment.segment_id, label=label, note=note)
            if amended is None:
                raise
            return amended
        return Correction(**values)

    def of(self, request_id: str) -> list[Correction]:
        """Return the corrections of one request, oldest first."""
        query = select(*_ANSWERED).where(TABLE.c.request_id == request_id).order_by(TABLE.c.created_at, TABLE.c.id)
        with self._engine.connect() as connection:
            return [_correction(row) for row in connection.execute(query)]

    def close(self) -> None:
        """Give the connections back."""
        self._engine.dispose()


def _correction(row: Row[*tuple[Any, ...]]) -> Correction:
    return Correction(**row._mapping)


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")


def _flac(samples: npt.NDArray[np.int16]) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, SAMPLE_RATE_HZ, format="FLAC", subtype="PCM_16")
    return file.getvalue()
