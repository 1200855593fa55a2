"""One attempt at one job: from the claim to the result, or to whatever else becomes of it."""

from __future__ import annotations

import asyncio
import logging
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import Executor
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from enum import Enum
from typing import IO, Any, TypeVar

from animax.assets.rig import Rig
from animax.errors import BusyError, Cancelled, DeadlineExceeded, EngineError, ServiceError, UnavailableError
from animax.request import Stage
from animax.service.admission import Slots, Ticket
from animax.service.generation import Animate, Generation, Model, Product, Writers
from animax.service.jobs.blob_store import BlobStore
from animax.service.jobs.job import Claim, Failure, Step, Stored
from animax.service.jobs.job_store import JobStore
from animax.service.jobs.result_file import finish, write_result
from animax.service.jobs.settings import JobSettings
from animax.service.models import ServedModels
from animax.service.observe.observer import Observer
from animax.service.observe.record import record
from animax.service.readiness import Readiness
from animax.service.rig_store import RigStore
from animax.service.stream_messages import clip_messages, clip_summary, header_message
from animax.service.waiting import within
from animax.v1 import animation_service_pb2 as pb
from animax.wire.failure import reason_of, status_of
from animax.wire.request import STAGES, Order, read_animate_request
from animax.wire.rig import faced

log = logging.getLogger(__name__)

T = TypeVar("T")
Call = Callable[..., Awaitable[Any]]
"""Runs a blocking function of the store in a thread."""
SPOOL_BYTES = 16 * 1024 * 1024
"""Of a result in memory; a larger one goes through a temporary file."""
ENGINE_PAUSE = 5.0
"""Seconds before a job is taken up again whose engine failed."""
ANY_NUMBER = 2**31
"""The order was checked when it was made, perhaps by a server with other limits."""


class End(Enum):
    """Why an attempt is to stop."""

    LOST = "the job was cancelled or taken up by another worker"
    LEAVING = "the worker is leaving"
    LATE = "the job took too long"


@dataclass(frozen=True, eq=False)
class Workshop:
    """What every attempt of a process works with."""

    settings: JobSettings
    store: JobStore
    blobs: BlobStore
    call: Call
    rigs: RigStore
    models: ServedModels
    animate: Animate
    writers: Writers
    executor: Executor
    slots: Slots
    readiness: Readiness
    observer: Observer
    changed: Callable[[], None]
    progress_seconds: float


class Attempt:
    """Works on one claimed job. Belongs to one event loop.

    Attributes:
        end: why it is to stop; None while it may go on.
    """

    def __init__(self, shop: Workshop, claim: Claim) -> None:
        self._shop = shop
        self._claim = claim
        self._deadline = time.monotonic() + shop.settings.max_job_seconds
        self.end: End | None = None
        self._ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._nudged = asyncio.Event()
        self._generation: Generation | None = None

    @property
    def job_id(self) -> str:
        """Of the job."""
        return self._claim.job.job_id

    def stop(self, end: End) -> None:
        """Stop before the next denoising step."""
        if self.end is None:
            self.end = end
            self._ended.set_result(None)
            if self._generation is not None:
                self._generation.stop()

    def nudge(self) -> None:
        """See at once whether the job is still this attempt's."""
        self._nudged.set()

    async def run(self, ticket: Ticket) -> None:
        """Make the job and write down what became of it. Never raises but for a cancellation.

        Args:
            ticket: with its slot; released in any case.
        """
        with self._shop.observer.attempt(self.job_id):
            keeping = asyncio.create_task(self._keep())
            try:
                await self._make(ticket)
            except Exception as error:
                await self._give_up(error)
            finally:
                keeping.cancel()
                ticket.release()
                self._shop.changed()

    async def _make(self, ticket: Ticket) -> None:
        shop, job = self._shop, self._claim.job
        order = read_animate_request(pb.AnimateRequest.FromString(job.animation), ANY_NUMBER)
        model = shop.models.get(order.model)
        record().note(
            order.request.prompt,
            rig_id=order.rig_id,
            model=model.name,
            seed=order.request.seed,
            variants=order.variants,
            attempt=job.latest.attempts,
        )
        await shop.rigs.fetch(order.rig_id)
        with ExitStack() as stack:
            stored = stack.enter_context(shop.rigs.lease(order.rig_id))
            rig = faced(stored.rig, order.facing)
            spool = stack.enter_context(tempfile.SpooledTemporaryFile(SPOOL_BYTES))
            header = header_message(order, rig, stored.message, model)
            await self._write(spool, [pb.AnimateResponse(header=header)])
            summaries = []
            began, queued = time.monotonic(), 0.0
            for variant in range(order.variants):
                if variant:
                    ticket = shop.slots.enter(admitted=True, background=True)
                    queued += await self._wait(ticket)
                product = await self._generate(order, variant, rig, model, ticket)
                seed = order.variant(variant).seed
                await self._write(spool, clip_messages(variant, seed, product))
                summaries.append(clip_summary(variant, seed, product))
            took = time.monotonic() - began
            summary = pb.Summary(clips=summaries, queued_seconds=queued, total_seconds=took)
            await self._write(spool, [pb.AnimateResponse(summary=summary)])
            await self._commit(spool, summary)

    async def _wait(self, ticket: Ticket) -> float:
        """Wait for a slot; returns the seconds it took."""
        began = time.monotonic()
        try:
            await within(ticket.granted.wait(), self._deadline - began, self._ended)
        except TimeoutError:
            ticket.release()
            raise self._stopped() from None
        waited = time.monotonic() - began
        record().queued(waited)
        return waited

    async def _generate(self, order: Order, variant: int, rig: Rig, model: Model, ticket: Ticket) -> Product:
        """The slot is free again once the thread has ended."""
        shop = self._shop
        held = ExitStack()
        held.callback(ticket.release)
        held.enter_context(shop.rigs.lease(order.rig_id))
        generation = Generation.start(shop.executor, shop.animate, model, rig, order.variant(variant), (), shop.writers)
        generation.done.add_done_callback(lambda _: held.close())
        self._generation = generation
        try:
            if self.end is not None:
                generation.stop()
            await self._watch(generation, variant, order.variants)
            return generation.done.result()
        except EngineError:
            await shop.readiness.engine_failed()
            raise
        finally:
            generation.stop()
            record().went_through(generation.clock.spans())
            self._generation = None

    async def _watch(self, generation: Generation, variant: int, variants: int) -> None:
        told = Step()
        while not await generation.news(self._shop.progress_seconds):
            if time.monotonic() > self._deadline:
                self.stop(End.LATE)
            step = step_of(generation, variant, variants)
            if step != told and self.end is None:
                told = step
                await self._renew(lambda step=step: self._shop.store.progress(self._claim, step))  # type: ignore[misc]
                self._shop.changed()
            await asyncio.wait({generation.done}, timeout=self._shop.progress_seconds)

    async def _keep(self) -> None:
        """Renew the lease for as long as the attempt lasts, whatever it is waiting for."""
        while True:
            with suppress(TimeoutError):
                await within(self._nudged.wait(), self._shop.settings.lease_seconds / 3)
            self._nudged.clear()
            await self._renew(lambda: self._shop.store.keep(self._claim))

    async def _renew(self, renew: Callable[[], bool]) -> None:
        try:
            if not await self._shop.call(renew):
                self.stop(End.LOST)
        except ServiceError as error:  # the store may come back before the lease ends; if not, the commit finds out
            log.warning("job %s: %s", self.job_id, error)

    async def _write(self, spool: IO[bytes], messages: Iterable[pb.AnimateResponse]) -> None:
        await self._shop.call(write_result, spool, messages)

    async def _commit(self, spool: IO[bytes], summary: pb.Summary) -> None:
        shop = self._shop
        written = await shop.call(finish, spool)
        result = Stored(written.sha256, written.size, summary.SerializeToString())

        def commit() -> bool:
            spool.seek(0)
            with shop.blobs.writing(result.sha256, result.size, spool) as pending:
                return shop.store.succeed(self._claim, result, lambda connection: shop.blobs.adopt(connection, pending))

        if await self._insist(commit):
            record().code = "succeeded"
        else:
            log.info("job %s was lost before its result was stored", self.job_id)

    async def _give_up(self, error: Exception) -> None:
        """Write down an attempt without a result."""
        shop, claim = self._shop, self._claim
        if self.end is End.LOST:
            log.info("job %s: %s", self.job_id, self.end.value)
            return
        outcome, reason = "given_back", ""
        if self.end is End.LEAVING:
            write = lambda: shop.store.give_back(claim)  # noqa: E731
        elif isinstance(error, (EngineError, BusyError, UnavailableError)):
            pause = (error.retry_after if isinstance(error, ServiceError) else None) or ENGINE_PAUSE
            failure = failure_of(error)
            log.warning("job %s: attempt %d failed: %s", self.job_id, claim.job.latest.attempts, error)
            reason = failure.reason
            if claim.job.latest.attempts >= shop.settings.max_attempts:
                outcome = "failed"
            write = lambda: shop.store.give_back(claim, failure, pause)  # noqa: E731
        else:
            failure = failure_of(self._stopped() if isinstance(error, Cancelled) else error)
            outcome, reason = "failed", failure.reason
            write = lambda: shop.store.fail(claim, failure)  # noqa: E731
        with suppress(ServiceError):  # the lease runs out, and another worker takes the job up
            if await self._insist(write):
                record().code, record().reason = outcome, reason

    async def _insist(self, write: Callable[[], bool]) -> bool:
        """What ``write`` returns; tried again while the store cannot be reached and the lease may still hold."""
        until = time.monotonic() + self._shop.settings.lease_seconds
        while True:
            try:
                done: bool = await self._shop.call(write)
                return done
            except UnavailableError:
                if time.monotonic() > until:
                    raise
                await asyncio.sleep(self._shop.settings.poll_seconds)

    def _stopped(self) -> Cancelled:
        if self.end in (End.LOST, End.LEAVING):
            return Cancelled(self.end.value)
        limit = self._shop.settings.max_job_seconds
        return DeadlineExceeded(f"the job took {limit:g} s; accepted: no longer")


def step_of(generation: Generation, variant: int, variants: int) -> Step:
    """Where a generation stands, as a step of its whole job."""
    latest = generation.latest
    if latest is None:
        return Step(pb.STAGE_TEMPLATE, variant / variants, variant=variant)
    fraction = (variant + min(max(latest.fraction, 0.0), 1.0)) / variants
    denoising = latest.stage is Stage.DENOISE
    return Step(
        STAGES[latest.stage],
        round(fraction, 4),
        latest.step if denoising else 0,
        latest.steps if denoising else 0,
        variant,
    )


def failure_of(error: Exception) -> Failure:
    """An error as it is kept: no more than a caller of Animate would be told."""
    status = status_of(error)
    return Failure(status.code, reason_of(status), status.message)
