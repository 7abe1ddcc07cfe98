"""What has to outlive the process, in SQLite by default or in any database by URL.

The tables are where they are used; importing SQLAlchemy takes a while, so whoever serves imports this late.
"""

from pathlib import Path
from typing import Any, Final

from sqlalchemy import Engine, MetaData, create_engine, event
from sqlalchemy.engine import URL, make_url

from service.settings import Settings

metadata: Final = MetaData()
"""Every table of the service."""

_PATIENCE: Final[dict[str, dict[str, Any]]] = {
    "sqlite": {"timeout": 10},
    "postgresql": {"connect_timeout": 10, "tcp_user_timeout": 10_000},  # seconds, milliseconds
}
"""A database that does not answer holds a thread, of which there are few, no longer than this."""


def open_database(settings: Settings) -> Engine:
    """Open the database that the settings name and create the tables that are not there yet.

    Raises:
        sqlalchemy.exc.SQLAlchemyError: it cannot be reached, or written.
    """
    parsed = make_url(settings.database_url)
    is_sqlite = parsed.get_backend_name() == "sqlite"
    engine = create_engine(
        parsed,
        pool_pre_ping=True,
        connect_args=_PATIENCE.get(parsed.get_backend_name(), {}),
        hide_parameters=True,  # a transcript would be quoted in the message of an error
    )
    if is_sqlite:
        _make_folder(parsed)
        event.listen(engine, "connect", _let_readers_and_a_writer_work_together)
    metadata.create_all(engine)
    return engine


def _make_folder(url: URL) -> None:
    if url.database and url.database != ":memory:":
        Path(url.database).expanduser().parent.mkdir(parents=True, exist_ok=True)


def _let_readers_and_a_writer_work_together(connection: Any, _: object) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    # With a write-ahead log this loses nothing when the process is killed.
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.execute("PRAGMA foreign_keys=ON")
    # What is deleted is overwritten: transcripts would stay readable in the file.
    cursor.execute("PRAGMA secure_delete=ON")
    cursor.close()
