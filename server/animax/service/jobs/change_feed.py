"""Waiting for a job to change, whichever process changes it: one question to the store for all who wait."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection
from contextlib import suppress

from animax.errors import ServiceError
from animax.service.waiting import within

log = logging.getLogger(__name__)

Latest = Callable[[Collection[str]], Awaitable[dict[str, int]]]
"""Numbers of the latest changes of some jobs."""
ASKED_AT_ONCE = 500
GONE = 2**63
"""For a job that is not there any more, which is a change too."""


class ChangeFeed:
    """Belongs to one event loop; asks the store only while somebody waits."""

    def __init__(self, latest: Latest, poll_seconds: float) -> None:
        self._latest = latest
        self._poll_seconds = poll_seconds
        self._waiting: dict[asyncio.Future[None], tuple[str, int]] = {}
        self._poked = asyncio.Event()
        self._asking: asyncio.Task[None] | None = None
        self.closed = False

    async def beyond(self, job_id: str, after: int, seconds: float) -> bool:
        """Wait until a job has a change after number ``after``, for at most ``seconds``; False when it had none, or the
        feed was closed."""
        if self.closed:
            return False
        changed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[changed] = job_id, after
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._ask())
        try:
            await within(changed, seconds)
        except TimeoutError:
            return False
        finally:
            self._waiting.pop(changed, None)
        return not self.closed

    def poke(self) -> None:
        """Something was changed by this process: look at once."""
        self._poked.set()

    def close(self) -> None:
        """Let nobody wait any more."""
        self.closed = True
        self.poke()  # whoever asks the store ends too
        for changed in self._waiting:
            if not changed.done():
                changed.set_result(None)

    async def _ask(self) -> None:
        while self._waiting and not self.closed:
            self._poked.clear()
            try:
                await self._look()
            except ServiceError as error:  # the next look may work
                log.warning("%s", error)
            with suppress(TimeoutError):
                await within(self._poked.wait(), self._poll_seconds)

    async def _look(self) -> None:
        ids = sorted({job_id for job_id, _ in self._waiting.values()})
        latest: dict[str, int] = dict.fromkeys(ids, GONE)
        for start in range(0, len(ids), ASKED_AT_ONCE):
            latest |= await self._latest(ids[start : start + ASKED_AT_ONCE])
        for changed, (job_id, after) in self._waiting.items():
            if latest.get(job_id, 0) > after and not changed.done():
                changed.set_result(None)
