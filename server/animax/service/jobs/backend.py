"""All that a process needs to keep jobs and to work on them, put together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Any, TypeVar

from animax.service.admission import Slots
from animax.service.generation import Animate, Writers
from animax.service.jobs.attempt import Workshop
from animax.service.jobs.blob_store import BlobStore
from animax.service.jobs.change_feed import ChangeFeed
from animax.service.jobs.database import Database
from animax.service.jobs.job_store import JobStore
from animax.service.jobs.settings import JobSettings
from animax.service.jobs.worker import Worker
from animax.service.models import ServedModels
from animax.service.observe.observer import Observer
from animax.service.readiness import Readiness
from animax.service.rig_store import RigStore
from animax.v1 import animation_service_pb2 as pb

T = TypeVar("T")
THREADS = 8
"""For calls to database and storage."""


class JobBackend:
    """The shared store as one process sees it; a ``RigDisk``. Belongs to one event loop once it is used.

    Args:
        settings: places and limits.
        reader_seconds: for how long a client may leave a result unread.

    Raises:
        OptionError: a place that cannot be used.
        UnavailableError: a place that cannot be reached.
        ServiceError: the store belongs to a later version.
    """

    def __init__(self, settings: JobSettings, reader_seconds: float) -> None:
        self.settings = settings
        self.database = Database(settings.database)
        self.store = JobStore(self.database, settings)
        self.blobs = BlobStore(self.database, settings.blobs, settings.blob_bytes, max(120.0, 3 * reader_seconds))
        self.feed = ChangeFeed(lambda job_ids: self.call(self.store.latest, job_ids), settings.poll_seconds)
        self.worker: Worker | None = None
        self._threads = ThreadPoolExecutor(THREADS, "animax-store")

    @property
    def running(self) -> int:
        """Jobs that this process works on."""
        return len(self.worker.attempts) if self.worker is not None else 0

    async def call(self, function: Callable[..., T], *arguments: Any) -> T:
        """A blocking call of store or blobs, in a thread."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, function, *arguments)

    def employ(
        self,
        lanes: int,
        *,
        rigs: RigStore,
        models: ServedModels,
        animate: Animate,
        writers: Writers,
        executor: Executor,
        slots: Slots,
        readiness: Readiness,
        observer: Observer,
        progress_seconds: float,
    ) -> None:
        """Get a worker with ``lanes`` lanes; it begins with ``start``."""
        shop = Workshop(
            settings=self.settings,
            store=self.store,
            blobs=self.blobs,
            call=self.call,
            rigs=rigs,
            models=models,
            animate=animate,
            writers=writers,
            executor=executor,
            slots=slots,
            readiness=readiness,
            observer=observer,
            changed=self.feed.poke,
            progress_seconds=progress_seconds,
        )
        self.worker = Worker(shop, lanes)

    def start(self) -> None:
        """Begin to work."""
        if self.worker is not None:
            self.worker.start()

    def leave(self) -> None:
        """Take up no more jobs and let nobody wait for changes."""
        self.feed.close()
        if self.worker is not None:
            self.worker.leave()

    async def idle(self) -> None:
        """Wait until no job is at work; ``leave`` first."""
        if self.worker is not None:
            await self.worker.idle()

    async def stop(self) -> None:
        """Queue again what is at work, and close all connections."""
        if self.worker is not None:
            await self.worker.stop()
        await asyncio.to_thread(self._threads.shutdown, cancel_futures=True)
        self.database.close()

    def limits(self) -> pb.JobLimits:
        """For GetCapabilities."""
        settings = self.settings
        return pb.JobLimits(
            max_queued=settings.max_queued,
            max_attempts=settings.max_attempts,
            max_job_seconds=settings.max_job_seconds,
            retention_seconds=settings.retention_seconds,
        )

    async def touch(self, rig_id: str) -> bool:
        """See ``RigDisk``."""
        return await self.call(self.blobs.touch, rig_id)

    async def read(self, rig_id: str) -> tuple[bytes, str] | None:
        """See ``RigDisk``."""
        return await self.call(self.blobs.read, rig_id)

    async def put(self, rig_id: str, data: bytes, name: str, owner: str, most: int | None) -> None:
        """See ``RigDisk``."""
        await self.call(self.blobs.put, rig_id, data, name, owner, most)

    async def owned(self, owner: str) -> int:
        """See ``RigDisk``."""
        return await self.call(self.blobs.owned, owner)
