"""Takes jobs up, as many at a time as it has lanes, whenever a slot is left for them."""

from __future__ import annotations

import asyncio
import logging
import math
from contextlib import suppress

from animax.errors import ServiceError
from animax.service.admission import Ticket
from animax.service.jobs.attempt import Attempt, End, Workshop
from animax.service.readiness import State
from animax.service.waiting import within

log = logging.getLogger(__name__)

HOUSEKEEPING_SECONDS = 60.0


class Worker:
    """Works until it is stopped. Belongs to one event loop.

    Attributes:
        attempts: at work.
    """

    def __init__(self, shop: Workshop, lanes: int) -> None:
        self._shop = shop
        self._count = lanes
        self.attempts: set[Attempt] = set()
        self._woken = asyncio.Event()
        self._leaving: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._tasks: list[asyncio.Task[None]] = []
        self._keeping_house: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to look for jobs."""
        self._tasks = [asyncio.create_task(self._lane()) for _ in range(self._count)]
        self._keeping_house = asyncio.create_task(self._keep_house())

    def wake(self) -> None:
        """There is a new job: look at once."""
        self._woken.set()

    def nudge(self, job_id: str) -> None:
        """A job was changed from outside: let its attempt see at once."""
        for attempt in self.attempts:
            if attempt.job_id == job_id:
                attempt.nudge()

    def leave(self) -> None:
        """Take up no more jobs."""
        if not self._leaving.done():
            self._leaving.set_result(None)

    async def idle(self) -> None:
        """Wait until no job is at work; ``leave`` first."""
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def stop(self) -> None:
        """Stop jobs at work before their next denoising step and queue them again."""
        self.leave()
        for attempt in self.attempts:
            attempt.stop(End.LEAVING)
        await self.idle()
        if self._keeping_house is not None:
            self._keeping_house.cancel()
            await asyncio.wait({self._keeping_house})

    async def _lane(self) -> None:
        while not self._leaving.done():
            try:
                ready = self._shop.readiness.state is State.READY
                if not (
                    ready
                    and await self._shop.call(self._shop.store.work_waits, self._models())
                    and await self._take_one()
                ):
                    await self._rest()
            except ServiceError as error:
                log.warning("%s", error)
                await self._rest()
            except Exception:
                log.exception("a defect in a worker; it goes on")
                await self._rest()

    async def _take_one(self) -> bool:
        """Work on a job, if one is left by the time there is a slot for it."""
        ticket = self._shop.slots.enter(background=True)
        try:
            granted = await self._granted(ticket)
            claim = await self._shop.call(self._shop.store.claim, self._models()) if granted else None
            if claim is None:
                return False
            self._shop.changed()
            attempt = Attempt(self._shop, claim)
            self.attempts.add(attempt)
            try:
                if self._leaving.done():
                    attempt.stop(End.LEAVING)
                await attempt.run(ticket)
            finally:
                self.attempts.remove(attempt)
            return True
        finally:
            ticket.release()

    def _models(self) -> list[str]:
        return [model.name for model in self._shop.models]

    async def _granted(self, ticket: Ticket) -> bool:
        with suppress(TimeoutError):
            await within(ticket.granted.wait(), math.inf, self._leaving)
        return not self._leaving.done()

    async def _rest(self) -> None:
        with suppress(TimeoutError):
            await within(self._woken.wait(), self._shop.settings.poll_seconds, self._leaving)
        self._woken.clear()

    async def _keep_house(self) -> None:
        """Delete what is old or was left behind."""
        while True:
            try:
                await self._shop.call(self._shop.store.purge)
                await self._shop.call(self._shop.blobs.sweep)
            except ServiceError as error:
                log.warning("%s", error)
            except Exception:  # of the database or the disk: the next time may go better
                log.exception("housekeeping failed")
            await asyncio.sleep(HOUSEKEEPING_SECONDS)
