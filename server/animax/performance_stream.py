"""The client's end of ``AnimateInteractive``: events out, changes in, at any time.

with client.perform(rig.rig_id, "walks", real_time=True) as stream:
    for event in stream:
        if isinstance(event, pb.Frames) and event.first_seconds > 3:
            stream.change(prompt="trots", heading=(1, 0, 0))
            stream.close()
clip = stream.clip
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from queue import SimpleQueue
from types import TracebackType
from typing import Any

from animax.errors import Cancelled
from animax.motion.clip import Clip
from animax.v1 import animation_service_pb2 as pb
from animax.wire.failure import typed_errors
from animax.wire.interactive import PerformanceReader


class _Changes:
    """Numbers the changes of one performance."""

    def __init__(self) -> None:
        self._last = 0

    def message(self, **fields: Any) -> pb.AnimateInteractiveRequest:
        self._last += 1
        return pb.AnimateInteractiveRequest(change=pb.AnimateInteractiveChange(change_id=self._last, **fields))


class PerformanceStream:
    """A performance that is being watched: iterate over its events, ``change`` it meanwhile, from any thread.

    Events are ``Header``, ``Progress``, ``PerformanceStart``, ``Frames``, ``ChangeTaken``, ``PerformanceSummary``.
    Leaving the loop or the ``with`` block before the end cancels it.
    """

    def __init__(self, method: Callable[..., Any], opening: pb.AnimateInteractiveOpening) -> None:
        self.reader = PerformanceReader()
        self._changes = _Changes()
        self._outgoing: SimpleQueue[pb.AnimateInteractiveRequest | None] = SimpleQueue()
        self._outgoing.put(pb.AnimateInteractiveRequest(opening=opening))
        self._call = method(iter(self._outgoing.get, None))

    def __enter__(self) -> PerformanceStream:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.cancel()

    def __iter__(self) -> Iterator[Any]:
        try:
            with typed_errors():
                for message in self._call:
                    event = self.reader.feed(message)
                    if event is not None:
                        yield event
        finally:
            self.cancel()

    def change(
        self,
        *,
        prompt: str | None = None,
        guidance: float | None = None,
        speed: float | None = None,
        heading: Sequence[float] = (),
        target: Sequence[float] = (),
        stop: bool = False,
    ) -> int:
        """Send a change; returns its ``change_id``. See ``AnimateInteractiveChange`` in the contract."""
        message = self._changes.message(
            prompt=prompt, guidance=guidance, speed=speed, heading=heading, target=target, stop=stop
        )
        self._outgoing.put(message)
        return int(message.change.change_id)

    def close(self) -> None:
        """No change follows; a performance without a length ends with what is generated."""
        self._outgoing.put(None)

    def cancel(self) -> None:
        """Stop at once; harmless after the end."""
        self._outgoing.put(None)
        self._call.cancel()

    @property
    def clip(self) -> Clip:
        """What came so far.

        Raises:
            StreamError: nothing came.
        """
        return self.reader.clip()


class AsyncPerformanceStream:
    """The same for asyncio."""

    def __init__(self, method: Callable[..., Any], opening: pb.AnimateInteractiveOpening) -> None:
        self.reader = PerformanceReader()
        self._changes = _Changes()
        self._opening: pb.AnimateInteractiveOpening | None = opening
        self._call = method()
        self._cancelled = False

    async def __aenter__(self) -> AsyncPerformanceStream:
        return self

    async def __aexit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.cancel()

    async def __aiter__(self) -> AsyncIterator[Any]:
        try:
            with typed_errors():
                await self._open()
                async for message in self._call:
                    event = self.reader.feed(message)
                    if event is not None:
                        yield event
        except asyncio.CancelledError:
            # grpc.aio raises this also for a call that was cancelled while its reader's task was not
            if self._cancelled:
                raise Cancelled("the performance was cancelled") from None
            raise
        finally:
            self.cancel()

    async def change(self, **fields: Any) -> int:
        """See ``PerformanceStream.change``."""
        message = self._changes.message(**fields)
        with typed_errors():
            await self._open()
            await self._call.write(message)
        return int(message.change.change_id)

    async def close(self) -> None:
        """See ``PerformanceStream.close``."""
        with typed_errors():
            await self._open()
            await self._call.done_writing()

    def cancel(self) -> None:
        """See ``PerformanceStream.cancel``."""
        self._cancelled = True
        self._call.cancel()

    @property
    def clip(self) -> Clip:
        """See ``PerformanceStream.clip``."""
        return self.reader.clip()

    async def _open(self) -> None:
        opening, self._opening = self._opening, None
        if opening is not None:
            await self._call.write(pb.AnimateInteractiveRequest(opening=opening))
