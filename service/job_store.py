"""Jobs in the database: what was asked, how far it is, what came of it. Importing SQLAlchemy takes a while."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Column,
    Engine,
    ForeignKey,
    Integer,
    LargeBinary,
    Row,
    String,
    Table,
    Text,
    delete,
    func,
    insert,
    select,
    update,
)

from service.database import metadata
from service.job import JobStatus

_JOBS: Final = Table(
    "jobs",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("owner", String(32), nullable=False, index=True),
    Column("status", String(9), nullable=False, index=True),
    Column("progress", Integer, nullable=False, default=0),
    Column("attempts", Integer, nullable=False, default=0),
    Column("created_ms", BigInteger, nullable=False),
    Column("finished_ms", BigInteger),
    Column("expires_ms", BigInteger),
    Column("options", Text, nullable=False),
    Column("prepared", Text),
    Column("error", Text),
    Column("result", Text),
)
_PIECES: Final = Table(
    "job_pieces",
    metadata,
    Column("job_id", String(32), ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("judged", Text, nullable=False),
    Column("conversation", LargeBinary),
)
_SHOWN: Final = tuple(column for column in _JOBS.columns if column.name not in ("prepared", "result"))
_UNFINISHED: Final = ("queued", "running")
_LONGEST_UNFINISHED_MS: Final = 7 * 86_400_000
"""Of a job whose files are nowhere to be seen, as when a disk was lost."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredJob:
    """One job. Moments are milliseconds of Unix time; options and error are JSON."""

    id: str
    owner: str
    status: JobStatus
    progress: int
    attempts: int
    created_ms: int
    finished_ms: int | None
    expires_ms: int | None
    options: str
    error: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredPiece:
    """Some utterances that are judged, as JSON, and what was heard of the speakers up to their end."""

    judged: str
    conversation: bytes | None


class JobStore:
    """Every change is one transaction. Called from threads, for it waits for the disk."""

    def __init__(self, engine: Engine, *, expiry_seconds: float) -> None:
        self._engine = engine
        self._expiry_ms = round(expiry_seconds * 1000)

    def add(self, name: str, *, owner: str, options: str) -> StoredJob:
        """Queue a job."""
        now = _now_ms()
        values = {"id": name, "owner": owner, "status": "queued", "created_ms": now, "options": options}
        with self._engine.begin() as connection:
            connection.execute(insert(_JOBS).values(**values))
            return _stored(connection.execute(select(*_SHOWN).where(_JOBS.c.id == name)).one())

    def find(self, name: str, *, owner: str | None = None) -> StoredJob | None:
        """Return a job; None where there is none, or it is not of this owner, if one is given."""
        query = select(*_SHOWN).where(_JOBS.c.id == name)
        if owner is not None:
            query = query.where(_JOBS.c.owner == owner)
        with self._engine.connect() as connection:
            row = connection.execute(query).one_or_none()
        return None if row is None else _stored(row)

    def newest(self, *, owner: str, limit: int) -> list[StoredJob]:
        """Return an owner's jobs, the newest first."""
        query = select(*_SHOWN).where(_JOBS.c.owner == owner).order_by(_JOBS.c.created_ms.desc(), _JOBS.c.id)
        with self._engine.connect() as connection:
            return [_stored(row) for row in connection.execute(query.limit(limit))]

    def unfinished(self) -> list[StoredJob]:
        """Return all that are queued or running, the oldest first."""
        query = select(*_SHOWN).where(_JOBS.c.status.in_(_UNFINISHED)).order_by(_JOBS.c.created_ms, _JOBS.c.id)
        with self._engine.connect() as connection:
            return [_stored(row) for row in connection.execute(query)]

    def num_unfinished(self) -> int:
        """Return how many are queued or running."""
        with self._engine.connect() as connection:
            query = select(func.count()).select_from(_JOBS).where(_JOBS.c.status.in_(_UNFINISHED))
            return connection.execute(query).scalar_one()

    def begin(self, name: str) -> bool:
        """Turn it running and count the attempt; False where it has ended meanwhile."""
        return self._change(name, status="running", attempts=_JOBS.c.attempts + 1)

    def put_back(self, name: str) -> None:
        """Leave it for the next start of the service; the attempt was not to blame."""
        self._change(name, status="queued", attempts=0)

    def prepared(self, name: str) -> str | None:
        """Return what :meth:`prepare` kept."""
        with self._engine.connect() as connection:
            return connection.execute(select(_JOBS.c.prepared).where(_JOBS.c.id == name)).scalar_one_or_none()

    def prepare(self, name: str, prepared: str, *, progress: int) -> bool:
        """Keep what is known of the recording before its utterances are judged, and forget those that were."""
        with self._engine.begin() as connection:
            connection.execute(delete(_PIECES).where(_PIECES.c.job_id == name))
            changed = update(_JOBS).where(_JOBS.c.id == name, _JOBS.c.status == "running")
            found = connection.execute(changed.values(prepared=prepared, progress=progress, attempts=0))
            return found.rowcount == 1

    def pieces(self, name: str) -> list[StoredPiece]:
        """Return what is judged, in order."""
        query = select(_PIECES.c.judged, _PIECES.c.conversation).where(_PIECES.c.job_id == name)
        with self._engine.connect() as connection:
            rows = connection.execute(query.order_by(_PIECES.c.number)).all()
        return [StoredPiece(judged=row.judged, conversation=row.conversation) for row in rows]

    def add_piece(self, name: str, number: int, piece: StoredPiece, *, progress: int) -> bool:
        """Keep a piece and how far the job is, both or neither; False where it is not running any more."""
        with self._engine.begin() as connection:
            running = update(_JOBS).where(_JOBS.c.id == name, _JOBS.c.status == "running")
            if connection.execute(running.values(progress=progress, attempts=0)).rowcount != 1:
                return False
            values = {"job_id": name, "number": number, "judged": piece.judged, "conversation": piece.conversation}
            connection.execute(insert(_PIECES).values(**values))
        return True

    def finish(self, name: str, result: str) -> bool:
        """Keep the result and forget the pieces; False where it is not running any more."""
        return self._end(name, status="done", progress=100, result=result)

    def fail(self, name: str, error: str) -> bool:
        """Keep why there is no result; False where it is not running any more."""
        return self._end(name, status="failed", error=error)

    def cancel(self, name: str) -> bool:
        """End it without a result; False where it has ended."""
        return self._end(name, status="cancelled")

    def result(self, name: str) -> str | None:
        """Return the result, as it was kept."""
        with self._engine.connect() as connection:
            return connection.execute(select(_JOBS.c.result).where(_JOBS.c.id == name)).scalar_one_or_none()

    def forget(self, names: Sequence[str]) -> None:
        """Delete jobs and all that is known of them."""
        with self._engine.begin() as connection:
            connection.execute(delete(_PIECES).where(_PIECES.c.job_id.in_(names)))
            connection.execute(delete(_JOBS).where(_JOBS.c.id.in_(names)))

    def forget_expired(self) -> int:
        """Delete what is due; return how many."""
        oldest = _JOBS.c.created_ms + max(_LONGEST_UNFINISHED_MS, self._expiry_ms)
        query = select(_JOBS.c.id).where(func.coalesce(_JOBS.c.expires_ms, oldest) <= _now_ms())
        with self._engine.connect() as connection:
            names = connection.execute(query).scalars().all()
        if names:
            self.forget(names)
        return len(names)

    def _end(self, name: str, **values: Any) -> bool:
        now = _now_ms()
        with self._engine.begin() as connection:
            connection.execute(delete(_PIECES).where(_PIECES.c.job_id == name))
            changed = update(_JOBS).where(_JOBS.c.id == name, _JOBS.c.status.in_(_UNFINISHED))
            moments = {"finished_ms": now, "expires_ms": now + self._expiry_ms, "prepared": None}
            return connection.execute(changed.values(**values, **moments)).rowcount == 1

    def _change(self, name: str, **values: Any) -> bool:
        with self._engine.begin() as connection:
            changed = update(_JOBS).where(_JOBS.c.id == name, _JOBS.c.status.in_(_UNFINISHED))
            return connection.execute(changed.values(**values)).rowcount == 1


def _stored(row: Row[Any]) -> StoredJob:
    return StoredJob(**row._mapping)


def _now_ms() -> int:
    return round(time.time() * 1000)
