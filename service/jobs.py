"""Jobs: recordings that are worked on in the background, one at a time, and across restarts."""

import asyncio
import json
import logging
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

from model.errors import Cancelled, JobInterrupted, JobNotDone, JobUnknown, NotReady, Overloaded, VcemoError
from model.heap import return_free_memory
from service.aftermath import Aftermath
from service.alerting import Alerting
from service.answers import answer_of
from service.editions import Edition
from service.job_folder import JobFolder
from service.job_storage import may_hold_jobs, open_store, storing
from service.logs import stack_of
from service.metrics import Metrics
from service.options import Options
from service.problems import problem_of
from service.roles import Roles
from service.settings import Settings

if TYPE_CHECKING:
    from service.job_store import JobStore, StoredJob

logger = logging.getLogger(__name__)

Result = TypeVar("Result")

_LOOK_SECONDS: Final = 30.0
"""Between looks for what has expired, and for what another process has left."""
_AFTER_FAILURE_SECONDS: Final = 5.0
_MOST_ATTEMPTS: Final = 3
"""Without any progress: a recording that brings the process down must not do so for ever."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where the upload of a job goes."""

    name: str
    folder: JobFolder


class Jobs:
    """Takes jobs in, works on them, and answers for them; nothing is opened before somebody needs it."""

    def __init__(
        self,
        settings: Settings,
        *,
        edition: Callable[[], Edition],
        metrics: Metrics,
        alerting: Alerting,
        aftermath: Aftermath,
    ) -> None:
        """edition: the version that is served now; raises NotReady where none is."""
        self._settings = settings
        self._edition = edition
        self._metrics = metrics
        self._alerting = alerting
        self._aftermath = aftermath
        self._root = settings.state_folder.expanduser() / "jobs"
        self._store: JobStore | None = None
        self._opening = asyncio.Lock()
        self._runner: asyncio.Task[None] | None = None
        self._current: tuple[str, asyncio.Task[None]] | None = None
        self._woken = asyncio.Event()
        self._num_arriving = 0
        self._is_stopping = False

    def start(self) -> None:
        """Go on with what an earlier process has left, where there is anything; to be called when ready."""
        if may_hold_jobs(self._settings.database_url, self._root):
            self._ensure_runner()

    async def stop(self) -> None:
        """Leave what is not done for the next process."""
        self._is_stopping = True
        tasks = {task for task in (self._runner, self._current and self._current[1]) if task is not None}
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    @asynccontextmanager
    async def place(self) -> AsyncIterator[Place]:
        """Hold one of the places for a job that waits, and a folder for its upload; without :meth:`add` it is removed.

        Raises:
            Overloaded: every place is taken.
            NotReady: nothing can be stored.
        """
        store = await self._opened()
        limit = self._settings.max_waiting_jobs
        self._num_arriving += 1
        folder = None
        try:
            taken = await asyncio.to_thread(store.num_unfinished) + self._num_arriving - 1
            if taken >= limit:
                raise Overloaded("every place for a job is taken", value=taken, limit=limit, retry_after_seconds=60)
            name = uuid.uuid4().hex
            with storing():
                folder = await asyncio.to_thread(JobFolder.created, self._root, name)
            yield Place(name=name, folder=folder)
        finally:
            self._num_arriving -= 1
            if folder is not None:
                await asyncio.to_thread(self._settle, folder)
                self._woken.set()

    async def add(self, place: Place, options: Options, *, owner: str) -> "StoredJob":
        """Queue a job whose upload is complete; from now on it outlives this process."""
        written = json.dumps(
            {"names": options.roles.names, "unjudged": sorted(options.roles.unjudged), "adapt": options.adapt}
        )
        job = await self._asked(lambda store: store.add(place.name, owner=owner, options=written))
        self._ensure_runner()
        return job

    async def find(self, name: str, *, owner: str) -> "StoredJob":
        """Return one of the owner's jobs.

        Raises:
            JobUnknown: there is none of that name.
        """
        job = await self._asked(lambda store: store.find(name, owner=owner))
        if job is None:
            raise JobUnknown("there is no job of this name, or it has expired", value=name)
        return job

    async def newest(self, *, owner: str, limit: int) -> "list[StoredJob]":
        """Return the owner's jobs, the newest first."""
        return await self._asked(lambda store: store.newest(owner=owner, limit=limit))

    async def result(self, name: str, *, owner: str) -> str:
        """Return the answer of a job that is done, as JSON.

        Raises:
            JobUnknown: there is none of that name.
            JobNotDone: it has no result.
        """
        job = await self.find(name, owner=owner)
        result = await self._asked(lambda store: store.result(name))
        if result is None:
            raise JobNotDone(f"the job has no result: it is {job.status}", value=job.status, limit="done")
        return result

    async def end(self, name: str, *, owner: str) -> None:
        """Cancel a job that is not done, forget one that has ended.

        Raises:
            JobUnknown: there is none of that name.
        """
        await self.find(name, owner=owner)
        if not await self._asked(lambda store: store.cancel(name)):
            await self._asked(lambda store: store.forget([name]))
            return
        self._metrics.jobs.labels("cancelled").inc()
        if self._current is not None and self._current[0] == name:
            self._current[1].cancel()
        elif (folder := JobFolder(self._root, name)).hold():
            await asyncio.to_thread(folder.remove)

    async def _opened(self) -> "JobStore":
        async with self._opening:
            if self._store is None:
                with storing():
                    self._store = await asyncio.to_thread(open_store, self._settings)
            return self._store

    async def _asked(self, question: "Callable[[JobStore], Result]") -> Result:
        store = await self._opened()
        with storing():
            return await asyncio.to_thread(question, store)

    def _ensure_runner(self) -> None:
        if self._runner is None and not self._is_stopping:
            self._runner = asyncio.create_task(self._run())
        self._woken.set()

    async def _run(self) -> None:
        while True:
            self._woken.clear()
            try:
                await self._asked(lambda store: store.forget_expired())
                claimed = await self._asked(self._claim)
                if claimed is not None:
                    await self._work_on(*claimed)
                    continue
            except NotReady:
                await asyncio.sleep(_AFTER_FAILURE_SECONDS)
            with suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_SECONDS):
                    await self._woken.wait()

    def _claim(self, store: "JobStore") -> "tuple[StoredJob, JobFolder] | None":
        """Hold the oldest job whose files are here and nobody has; remove files that no job needs."""
        waiting = {job.id: job for job in store.unfinished()}
        for folder in JobFolder.all_below(self._root):
            if folder.path.name not in waiting and folder.hold():
                self._settle_with(store, folder)
        for job in waiting.values():
            folder = JobFolder(self._root, job.id)
            if folder.hold():
                if store.begin(job.id):
                    return job, folder
                folder.remove()
        return None

    async def _work_on(self, job: "StoredJob", folder: JobFolder) -> None:
        task = asyncio.create_task(self._work(job, folder))
        self._current = job.id, task
        try:
            await asyncio.wait({task})
        finally:
            self._current = None
            await asyncio.to_thread(self._settle, folder)
            await asyncio.to_thread(return_free_memory)

    async def _work(self, job: "StoredJob", folder: JobFolder) -> None:
        assert self._store is not None
        store = self._store
        try:
            if job.attempts >= _MOST_ATTEMPTS:
                raise JobInterrupted(
                    f"the work on this recording was interrupted {job.attempts} times without progress"
                )
            result = await self._answer(job, folder, store)
            code = "ok" if await asyncio.to_thread(store.finish, job.id, result) else "cancelled"
        except asyncio.CancelledError:
            if self._is_stopping:
                store.put_back(job.id)
            raise
        except Exception as error:  # noqa: BLE001 - the next job is none the worse for it
            code = await asyncio.to_thread(self._failed, job, store, error)
        self._metrics.jobs.labels(code).inc()
        logger.info("job", extra={"facts": {"job": job.id, "code": code}})

    async def _answer(self, job: "StoredJob", folder: JobFolder, store: "JobStore") -> str:
        # Here, because it imports SQLAlchemy.
        from service.job_work import JobWork

        options = _options_of(job)
        with self._edition().held() as edition:
            work = JobWork(
                name=job.id,
                options=options,
                folder=folder,
                store=store,
                edition=edition,
                settings=self._settings,
                aftermath=self._aftermath,
            )
            recognition = await work.run()
            self._metrics.recording_answered(recognition, speech=edition.facts.features.speech)
            answer = answer_of(
                recognition,
                request_id=job.id,
                facts=edition.facts,
                roles=options.roles,
                rules=self._alerting.rules,
                redact_transcript=self._settings.redact_transcript,
            )
        self._alerting.tell_all(answer.alerts, job.id)
        return answer.model_dump_json()

    def _failed(self, job: "StoredJob", store: "JobStore", error: Exception) -> str:
        if isinstance(error, Cancelled):  # ended from elsewhere: what there is to say of it is said
            return error.code
        problem = problem_of(error, request_id=job.id)
        if not isinstance(error, VcemoError) or problem.status == 500:
            logger.error("unexpected error", extra={"facts": {"job": job.id, "stack": stack_of(error)}})
        store.fail(job.id, problem.model_dump_json())
        return problem.code

    def _settle(self, folder: JobFolder) -> None:
        assert self._store is not None
        self._settle_with(self._store, folder)

    def _settle_with(self, store: "JobStore", folder: JobFolder) -> None:
        """Let go of a folder; where its job has ended, or was never queued, remove it."""
        job = store.find(folder.path.name)
        if job is not None and job.status in ("queued", "running"):
            folder.let_go()
        else:
            folder.remove()


def _options_of(job: "StoredJob") -> Options:
    kept: dict[str, Any] = json.loads(job.options)
    return Options(roles=Roles(names=tuple(kept["names"]), unjudged=frozenset(kept["unjudged"])), adapt=kept["adapt"])
