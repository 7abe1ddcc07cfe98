"""The database of jobs: opened late, and an answer where it cannot be used."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from model.errors import NotReady
from service.logs import stack_of
from service.settings import Settings

if TYPE_CHECKING:
    from service.job_store import JobStore

logger = logging.getLogger(__name__)


def open_store(settings: Settings) -> "JobStore":
    """Open it, and make it where it is not there."""
    # Here, because to import SQLAlchemy takes time and memory that a service without jobs does not need.
    from service.database import open_database
    from service.job_store import JobStore

    return JobStore(open_database(settings), expiry_seconds=settings.job_expiry_seconds)


@contextmanager
def storing() -> Iterator[None]:
    """Say that nothing can be stored where the disk or the database says so.

    Raises:
        NotReady: that is the case.
    """
    try:
        yield
    except Exception as error:
        if not isinstance(error, OSError) and type(error).__module__.partition(".")[0] != "sqlalchemy":
            raise
        logger.error("nothing can be stored", extra={"facts": {"stack": stack_of(error)}})
        raise NotReady("what has to outlive the process cannot be stored now") from error


def may_hold_jobs(database_url: str, folder: Path) -> bool:
    """Whether an earlier process may have left some, as files in ``folder`` or in the database."""
    scheme, _, path = database_url.partition(":///")
    is_new = scheme.startswith("sqlite") and not Path(path.partition("?")[0]).expanduser().is_file()
    return not is_new or (folder.is_dir() and any(folder.iterdir()))
