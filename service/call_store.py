"""Live calls in the database: what was sent of each, and where it has to go on after the process was killed."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from sqlalchemy import (
    Column,
    Connection,
    Engine,
    ForeignKey,
    Integer,
    LargeBinary,
    RowMapping,
    String,
    Table,
    Text,
    delete,
    insert,
    select,
    update,
)

from service.call_format import CallFormat
from service.call_record import RESERVED
from service.call_sound import CallSound
from service.database import metadata
from service.live_call import CallFacts

_ENDING: Final = ".frames"

_calls = Table(
    "live_calls",
    metadata,
    Column("session_id", String(64), primary_key=True),
    Column("key_name", String(64), nullable=False),
    Column("started_at", String(40), nullable=False),
    Column("ended_at", String(40)),
    Column("format", Text, nullable=False),
    Column("roles", Text, nullable=False),
    Column("reserved_seq", Integer, nullable=False),
    Column("sound_file", String(120), nullable=False),
    Column("sound_first_frame", Integer, nullable=False),
    Column("checkpoint_frame", Integer, nullable=False),
    Column("checkpoint", Text, nullable=False),
    Column("conversation", LargeBinary, nullable=False),
)
_events = Table(
    "live_events",
    metadata,
    Column("session_id", String(64), ForeignKey("live_calls.session_id", ondelete="CASCADE"), primary_key=True),
    Column("seq", Integer, primary_key=True, autoincrement=False),
    Column("document", Text, nullable=False),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class KeptCall:
    """A live call as it was kept. checkpoint: of its listener, behind ``checkpoint_frame`` frames; empty at first."""

    session_id: str
    key_name: str
    started_at: datetime
    format: CallFormat
    roles: tuple[str, ...]
    reserved_seq: int
    sound_file: str
    sound_first_frame: int
    checkpoint_frame: int
    checkpoint: Mapping[str, Any]
    conversation: bytes
    events: tuple[tuple[int, str], ...] = ()


class CallStore:
    """Reads and writes them; every method may block on the disk."""

    def __init__(self, engine: Engine, folder: Path) -> None:
        self._engine = engine
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def add(self, call: CallFacts) -> CallSound:
        """Keep a call that begins; return the file that its sound goes to."""
        path = self._folder / sound_name(call.session_id, 0)
        row = {
            "session_id": call.session_id,
            "key_name": call.key_name,
            "started_at": call.started_at.isoformat(),
            "format": json.dumps([call.format.encoding, call.format.sample_rate_hz, call.format.channels]),
            "roles": json.dumps(call.roles.names),
            "reserved_seq": RESERVED,
            "sound_file": path.name,
            "sound_first_frame": 0,
            "checkpoint_frame": 0,
            "checkpoint": "{}",
            "conversation": b"",
        }
        sound = CallSound(path, first_frame=0, frame_bytes=call.format.frame_bytes)
        with self._engine.begin() as connection:
            connection.execute(insert(_calls).values(row))
        return sound

    def sound_of(self, call: KeptCall) -> CallSound:
        """Open the file that the sound of a call is in."""
        return CallSound(
            self._folder / call.sound_file, first_frame=call.sound_first_frame, frame_bytes=call.format.frame_bytes
        )

    def reserve(self, session_id: str, seq: int) -> None:
        """Keep up to which number messages may have been sent."""
        self._update(session_id, reserved_seq=seq)

    def add_events(
        self, session_id: str, events: Sequence[tuple[int, str]], *, conversation: bytes | None = None
    ) -> None:
        """Keep messages (seq, document), and with them what has been heard of the speakers: all of it or nothing."""
        rows = [{"session_id": session_id, "seq": seq, "document": document} for seq, document in events]
        with self._engine.begin() as connection:
            connection.execute(insert(_events), rows)
            if conversation is not None:
                of_call = update(_calls).where(_calls.c.session_id == session_id)
                connection.execute(of_call.values(conversation=conversation))

    def checkpoint(self, session_id: str, *, frame: int, listener: Mapping[str, Any], sound: CallSound) -> None:
        """Keep where the listener stands behind ``frame`` frames, and which file has the sound since."""
        self._update(
            session_id,
            checkpoint_frame=frame,
            checkpoint=json.dumps(listener),
            sound_file=sound.path.name,
            sound_first_frame=sound.first_frame,
        )

    def trimmed(self, session_id: str, sound: CallSound, *, first_frame: int) -> CallSound:
        """Copy the sound from ``first_frame`` on to a file of its own; the one before goes once nobody points to it."""
        return sound.from_frame(first_frame, self._folder / sound_name(session_id, first_frame))

    def end(self, session_id: str) -> None:
        """Remember that a call is over."""
        self._update(session_id, ended_at=datetime.now(UTC).isoformat())

    def forget(self, session_id: str) -> None:
        """Remove all that is known of a call."""
        with self._engine.begin() as connection:
            connection.execute(delete(_events).where(_events.c.session_id == session_id))
            connection.execute(delete(_calls).where(_calls.c.session_id == session_id))

    def unfinished(self) -> list[tuple[KeptCall, CallSound]]:
        """Return the calls that were not over, oldest first, whose sound is here; sound of no call is removed.

        Calls that another process has are passed over.
        """
        with self._engine.begin() as connection:
            rows = connection.execute(
                select(_calls).where(_calls.c.ended_at.is_(None)).order_by(_calls.c.started_at)
            ).mappings()
            calls = {row["sound_file"]: _kept(row, self._events_of(connection, row["session_id"])) for row in rows}
        found = []
        for path in self._folder.glob(f"*{_ENDING}"):
            call = calls.get(path.name)
            try:
                if call is not None:
                    found.append((call, self.sound_of(call)))
                else:
                    CallSound(path, first_frame=0, frame_bytes=1).delete()
            except BlockingIOError:
                continue
        return sorted(found, key=lambda pair: pair[0].started_at)

    def _events_of(self, connection: Connection, session_id: str) -> list[tuple[int, str]]:
        rows = connection.execute(select(_events).where(_events.c.session_id == session_id).order_by(_events.c.seq))
        return [(row["seq"], row["document"]) for row in rows.mappings()]

    def forget_ended(self, *, before: datetime) -> None:
        """Remove calls that were over before that moment."""
        with self._engine.begin() as connection:
            old = select(_calls.c.session_id).where(_calls.c.ended_at < before.isoformat())
            connection.execute(delete(_events).where(_events.c.session_id.in_(old)))
            connection.execute(delete(_calls).where(_calls.c.ended_at < before.isoformat()))

    def close(self) -> None:
        """Close the database."""
        self._engine.dispose()

    def _update(self, session_id: str, **values: Any) -> None:
        with self._engine.begin() as connection:
            connection.execute(update(_calls).where(_calls.c.session_id == session_id).values(values))


def sound_name(session_id: str, first_frame: int) -> str:
    """Name the file of a call's sound from a frame on."""
    return f"{session_id}.{first_frame}{_ENDING}"


def _kept(row: RowMapping, events: Sequence[tuple[int, str]]) -> KeptCall:
    encoding, sample_rate_hz, channels = json.loads(row["format"])
    return KeptCall(
        session_id=row["session_id"],
        key_name=row["key_name"],
        started_at=datetime.fromisoformat(row["started_at"]),
        format=CallFormat(encoding=encoding, sample_rate_hz=sample_rate_hz, channels=channels),
        roles=tuple(json.loads(row["roles"])),
        reserved_seq=row["reserved_seq"],
        sound_file=row["sound_file"],
        sound_first_frame=row["sound_first_frame"],
        checkpoint_frame=row["checkpoint_frame"],
        checkpoint=json.loads(row["checkpoint"]),
        conversation=row["conversation"],
        events=tuple(events),
    )
