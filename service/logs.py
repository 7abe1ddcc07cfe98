"""Structured records on stderr; never a transcript, audio or a file name."""

import json
import logging
import logging.config
import traceback
from datetime import UTC, datetime
from typing import Any, Literal


class JsonFormatter(logging.Formatter):
    """One JSON object a line; a record's ``facts`` become its fields."""

    def format(self, record: logging.LogRecord) -> str:
        """Write one record."""
        fields = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **_facts(record),
        }
        return json.dumps(fields, ensure_ascii=False, default=str)


class TextFormatter(logging.Formatter):
    """The same for people."""

    def format(self, record: logging.LogRecord) -> str:
        """Write one record."""
        time = datetime.fromtimestamp(record.created).astimezone().strftime("%H:%M:%S")
        facts = "  ".join(f"{name}={value}" for name, value in _facts(record).items())
        return f"{time} {record.levelname.lower():7} {record.getMessage()}  {facts}".rstrip()


def configure_logging(*, level: str, style: Literal["json", "text"]) -> None:
    """Send our records and uvicorn's warnings through one handler."""
    formatter = JsonFormatter if style == "json" else TextFormatter
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {"one": {"()": formatter}},
            "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "one"}},
            "root": {"handlers": ["stderr"], "level": "WARNING"},
            "loggers": {"service": {"level": level.upper()}},
        }
    )


def stack_of(error: BaseException) -> list[str]:
    """Return an error and its causes as types and places, without messages: those may quote what was said."""
    lines = []
    link: BaseException | None = error
    while link is not None:
        frames = traceback.extract_tb(link.__traceback__)
        lines += [type(link).__name__, *(f"  {frame.filename}:{frame.lineno} {frame.name}" for frame in frames)]
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)
    return lines


def _facts(record: logging.LogRecord) -> dict[str, Any]:
    facts: dict[str, Any] = dict(getattr(record, "facts", {}))
    if record.exc_info and record.exc_info[1]:
        facts["stack"] = stack_of(record.exc_info[1])
    return facts
