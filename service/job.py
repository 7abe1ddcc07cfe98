"""A job as its caller sees it."""

from datetime import datetime
from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

from service.problems import Problem

JobStatus: TypeAlias = Literal["queued", "running", "done", "failed", "cancelled"]


class JobLinks(BaseModel):
    """Where to ask again. result: null as long as there is none."""

    model_config = ConfigDict(frozen=True)

    self: str
    result: str | None


class Job(BaseModel):
    """A recording that is worked on in the background."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    id: str
    """Its result's request_id as well."""
    status: JobStatus
    progress: Annotated[int, Field(ge=0, le=100)]
    """In percent."""
    created_at: datetime
    finished_at: datetime | None
    expires_at: datetime | None
    """When it is forgotten, its result with it; null as long as it has not ended."""
    error: Problem | None
    """Why it failed, as a request would have been told."""
    links: JobLinks


class JobList(BaseModel):
    """The caller's jobs, newest first."""

    jobs: list[Job]
