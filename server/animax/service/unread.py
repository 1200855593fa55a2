"""What was generated and waits for its reader.

A reader that does not read is shed, and so is the slowest when memory runs out.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc

from animax.errors import BusyError, Cancelled
from animax.service.waiting import within


class Outlet:
    """The sending end of one stream."""

    def __init__(self, context: Any, timeout: float) -> None:
        self._context = context
        self._timeout = timeout
        self._shed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.since = time.monotonic()

    async def write(self, message: Any) -> None:
        """Send one message; waits as long as the transport's buffers are full.

        Raises:
            BusyError: the reader took nothing for the timeout, or was shed.
            Cancelled: the reader is gone.
        """
        try:
            await within(self._context.write(message), self._timeout, self._shed)
        except TimeoutError:
            why = (
                "memory for unread clips is full" if self._shed.done() else f"nothing was read for {self._timeout:g} s"
            )
            raise BusyError(f"the stream is not read fast enough: {why}", reason="READER_TOO_SLOW") from None
        except grpc.aio.BaseError as error:  # the call ended; its cancellation is on the way
            raise Cancelled("the stream is closed") from error

    def shed(self) -> None:
        """End this stream at its next, or present, write."""
        if not self._shed.done():
            self._shed.set_result(None)


class Unread:
    """At most ``max_bytes`` of generated clips for all streams together, and the one that was finished last."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._held: dict[Outlet, int] = {}

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return sum(self._held.values())

    @contextmanager
    def hold(self, outlet: Outlet, nbytes: int) -> Iterator[None]:
        """Count ``nbytes`` for a stream while it is being sent; if need be, shed those that have been at it longest."""
        outlet.since = time.monotonic()
        excess = self.nbytes + nbytes - self._max_bytes
        for other in sorted(self._held, key=lambda held: held.since):
            if excess <= 0:
                break
            excess -= self._held[other]
            other.shed()
        self._held[outlet] = nbytes
        try:
            yield
        finally:
            del self._held[outlet]
