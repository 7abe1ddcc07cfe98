"""The database: made where it is not there, kept where it is."""

from pathlib import Path

import pytest
from sqlalchemy import Column, MetaData, String, Table, insert, select

from service import database
from service.database import open_database
from service.settings import Settings


def test_what_is_written_is_there_when_it_is_opened_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tables = MetaData()
    note = Table("note", tables, Column("text", String, primary_key=True))
    monkeypatch.setattr(database, "metadata", tables)
    settings = Settings(database_url=f"sqlite:///{tmp_path}/not/there/yet/vcemo.sqlite3")

    first = open_database(settings)
    with first.begin() as connection:
        connection.execute(insert(note).values(text="愤怒"))
    first.dispose()

    with open_database(settings).connect() as connection:
        assert connection.execute(select(note.c.text)).scalars().all() == ["愤怒"]


def test_sqlite_is_read_while_it_is_written(tmp_path: Path) -> None:
    with open_database(Settings(database_url=f"sqlite:///{tmp_path}/vcemo.sqlite3")).connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
