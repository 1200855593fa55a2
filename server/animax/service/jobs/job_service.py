"""JobService: orders in, changes and results out."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import ExitStack, aclosing
from dataclasses import replace
from functools import partial
from typing import Any

from animax.errors import JobStateError, OptionError, ResultExpiredError, UnavailableError
from animax.motion.clip import Clip
from animax.motion.control import resolve
from animax.service.access.caller import caller
from animax.service.config import ServerConfig
from animax.service.generation import Writers
from animax.service.jobs.backend import JobBackend
from animax.service.jobs.job import Job
from animax.service.jobs.job_store import unknown_job
from animax.service.jobs.messages import as_of, check_job_id, job_message, read_create_request, read_filter
from animax.service.jobs.page_token import read_page_token, write_page_token
from animax.service.jobs.result_file import read_clip
from animax.service.jobs.result_stream import ResultStream
from animax.service.jobs.schema import State
from animax.service.models import ServedModels
from animax.service.readiness import Readiness
from animax.service.readiness import State as ServerState
from animax.service.retarget_service import JobMotion
from animax.service.rig_store import RigStore
from animax.service.unread import Outlet, Unread
from animax.v1 import animation_service_pb2 as pb
from animax.v1 import job_service_pb2 as job_pb
from animax.v1 import job_service_pb2_grpc as job_pb_grpc
from animax.wire.clip import CONTENT_BYTES
from animax.wire.request import check_file_formats

DEFAULT_PAGE = 50
MAX_PAGE = 200
ALIVE_SECONDS = 10.0
"""Between two messages of a watch, so that nothing on the way takes it for dead."""
NOT_DONE_RETRY = 2.0


class JobServicer(job_pb_grpc.JobServiceServicer):
    """See proto/animax/v1/job_service.proto."""

    def __init__(
        self,
        config: ServerConfig,
        backend: JobBackend,
        *,
        models: ServedModels,
        rigs: RigStore,
        writers: Writers,
        unread: Unread,
        readiness: Readiness,
    ) -> None:
        self._config = config
        self._backend = backend
        self._store = backend.store
        self._call = backend.call
        self._feed = backend.feed
        self._models = models
        self._rigs = rigs
        self._writers = writers
        self._unread = unread
        self._readiness = readiness

    async def CreateAnimationJob(  # noqa: N802
        self, request: job_pb.CreateAnimationJobRequest, _: Any
    ) -> job_pb.CreateAnimationJobResponse:
        """Keep an order."""
        new, order = read_create_request(request, self._config.max_variants, self._models)
        self._require_open()
        who, seconds = caller(), order.request.seconds * order.variants
        mine = replace(new, owner=who.name, most_queued=who.identity.quotas.queued)
        known = await self._call(self._store.known, mine)
        if known is not None:  # a repetition costs nothing, whatever the caller has used up since
            return job_pb.CreateAnimationJobResponse(job=job_message(known))
        stored = await self._rigs.fetch(order.rig_id)
        if stored is not None:  # what the rig lacks is told now, not by a job that fails
            await asyncio.to_thread(resolve, stored.rig, order.request)
        entry = who.order(seconds)
        try:
            job = await self._call(self._store.create, mine)
        except BaseException:
            who.take_back(entry)
            raise
        if self._backend.worker is not None:
            self._backend.worker.wake()
        return job_pb.CreateAnimationJobResponse(job=job_message(job))

    async def GetJob(self, request: job_pb.GetJobRequest, _: Any) -> job_pb.GetJobResponse:  # noqa: N802
        """One job."""
        return job_pb.GetJobResponse(job=job_message(await self._get(request.job_id)))

    async def ListJobs(self, request: job_pb.ListJobsRequest, _: Any) -> job_pb.ListJobsResponse:  # noqa: N802
        """A page of jobs."""
        size = request.page_size or DEFAULT_PAGE
        if size > MAX_PAGE:
            raise OptionError("page_size", size, f"at most {MAX_PAGE}")
        who = caller()
        which = replace(read_filter(request), owner=None if who.identity.admin else who.name)
        before = read_page_token(request.page_token, which)
        found: Sequence[Job] = await self._call(self._store.list, which, before, size + 1)
        page: list[job_pb.Job] = []
        room = CONTENT_BYTES
        for job in found[:size]:
            message = job_message(job, in_list=True)
            room -= message.ByteSize()
            if room < 0 and page:
                break
            page.append(message)
        more = len(found) > len(page)
        token = write_page_token(found[len(page) - 1].sequence, which) if more else ""
        return job_pb.ListJobsResponse(jobs=page, next_page_token=token)

    async def CancelJob(self, request: job_pb.CancelJobRequest, _: Any) -> job_pb.CancelJobResponse:  # noqa: N802
        """End a job that has not ended."""
        await self._get(request.job_id)
        job = await self._call(self._store.cancel, request.job_id)
        if self._backend.worker is not None:
            self._backend.worker.nudge(job.job_id)
        self._feed.poke()
        return job_pb.CancelJobResponse(job=job_message(job))

    # writes to the context, so that every write can have a limit; the stubs know only of generators
    async def WatchJob(self, request: job_pb.WatchJobRequest, context: Any) -> None:  # type: ignore[override]  # noqa: N802
        """Every change of a job."""
        job_id, after = check_job_id(request.job_id), request.after_change
        outlet = Outlet(context, self._config.write_timeout_seconds)
        job, changes = await self._call(self._store.changes, job_id, after)
        _require_own(job)
        if after > job.latest.number:
            raise OptionError("after_change", after, f"at most {job.latest.number}, the latest change")
        while True:
            for change in changes:
                await outlet.write(job_pb.WatchJobResponse(job=job_message(as_of(job, change))))
                after = change.number
            if job.state.final:
                return
            self._require_open()
            if await self._feed.beyond(job_id, after, ALIVE_SECONDS):
                job, changes = await self._call(self._store.changes, job_id, after)
            else:
                self._require_open()
                changes = ()
                await outlet.write(job_pb.WatchJobResponse())

    async def GetJobResult(  # type: ignore[override]  # noqa: N802
        self, request: job_pb.GetJobResultRequest, context: Any
    ) -> None:
        """A result."""
        asked = check_file_formats(request.file_formats)
        job = await self._get(request.job_id)
        result = _result_of(job)
        formats = asked or tuple(pb.AnimateRequest.FromString(job.animation).file_formats)
        outlet = Outlet(context, self._config.write_timeout_seconds)
        with ExitStack() as stack:
            rig = None
            if pb.FILE_FORMAT_GLB in formats:
                await self._rigs.fetch(job.rig_id)
                rig = stack.enter_context(self._rigs.lease(job.rig_id)).rig
            opened = self._backend.blobs.opened(result)
            file = await self._call(opened.__enter__)
            try:
                if file is None:
                    raise _made_room(job)
                hold = partial(self._unread.hold, outlet)
                stream = ResultStream(file[0], formats, rig, self._writers, self._call, hold)
                async with aclosing(stream.messages()) as messages:
                    async for message in messages:
                        await outlet.write(message)
            finally:
                await self._call(opened.__exit__, None, None, None)

    async def rig_of(self, job_id: str) -> tuple[str, tuple[float, ...]]:
        """Id of the rig of a job, and the facing that the job was told.

        Raises:
            UnknownJobError: there is no job of this id, or it is another caller's.
        """
        job = await self._get(job_id)
        return job.rig_id, tuple(pb.AnimateRequest.FromString(job.animation).facing)

    async def motion(self, job_id: str, variant: int) -> JobMotion:
        """A clip of a job that succeeded.

        Raises:
            OptionError: it has no such variant.
            UnknownJobError, JobStateError, ResultExpiredError, DamagedError: as ``GetJobResult``.
        """
        job = await self._get(job_id)
        result = _result_of(job)

        def read() -> Clip:
            with self._backend.blobs.opened(result) as file:
                if file is None:
                    raise _made_room(job)
                return read_clip(file[0], variant)

        clip = await self._call(read)
        return JobMotion(job.rig_id, tuple(pb.AnimateRequest.FromString(job.animation).facing), clip)

    async def _get(self, job_id: str) -> Job:
        job: Job = await self._call(self._store.get, check_job_id(job_id))
        _require_own(job)
        return job

    def _require_open(self) -> None:
        if self._feed.closed or self._readiness.state is ServerState.DRAINING:
            raise UnavailableError("the server is shutting down", reason="DRAINING", retry_after=NOT_DONE_RETRY)


def _require_own(job: Job) -> None:
    """Return if the caller may know of a job.

    Raises:
        UnknownJobError: it may not; as of a job that is not there.
    """
    who = caller()
    if not who.identity.admin and job.owner != who.name:
        raise unknown_job(job.job_id)


def _result_of(job: Job) -> str:
    """The hash of a job's result.

    Raises:
        JobStateError: it has none.
        ResultExpiredError: it is not there any more.
    """
    if job.state in (State.QUEUED, State.RUNNING):
        raise JobStateError(f"the job is {job.state.name}", reason="JOB_NOT_DONE", retry_after=NOT_DONE_RETRY)
    if job.failure is not None:
        raise JobStateError(f"the job failed: {job.failure.message}", reason="JOB_FAILED")
    if job.result is None:
        raise JobStateError("the job was cancelled", reason="JOB_CANCELLED")
    if job.result.expired:
        raise _made_room(job)
    return job.result.sha256


def _made_room(job: Job) -> ResultExpiredError:
    return ResultExpiredError(f"the result of job {job.job_id} made room for others; order it again")
