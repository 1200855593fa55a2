"""Streams over gRPC, many at a time, each of them timed and checked against the contract."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import count

import numpy as np

from animax.client import AsyncClient, Event
from animax.errors import AnimaxError
from animax.request import Request
from animax.v1 import animation_service_pb2 as pb

Leave = Callable[[Event], bool]
"""Whether to cancel the stream at this event of it."""
OK = "OK"
CUT = "STREAM_CUT"


@dataclass(frozen=True)
class Outcome:
    """What became of one stream; seconds from its start.

    Attributes:
        code: name of the status code.
        reason: of the failure; empty without one.
        seconds: to the status.
        first_frame: to the first frame; None when none came.
        gaps: between one message with frames and the next.
        began: ``time.monotonic`` at its start.
    """

    code: str
    reason: str
    seconds: float
    first_frame: float | None
    gaps: tuple[float, ...]
    began: float

    @property
    def ok(self) -> bool:
        """Whether the whole stream came, and as the contract has it."""
        return self.code == OK and not self.reason


@dataclass(frozen=True)
class Spread:
    """Percentiles; None where there is nothing."""

    p50: float | None
    p95: float | None
    p99: float | None


def spread(values: Iterable[float]) -> Spread:
    """The percentiles of some values."""
    found = list(values)
    return Spread(*(map(float, np.percentile(found, [50, 95, 99])) if found else (None, None, None)))


@dataclass(frozen=True)
class Driver:
    """Asks for one rig again and again, with a new seed each time.

    Attributes:
        clients: to ask by in turn, each with a connection of its own.
        rig_id: of the rig on the server.
        request: what to ask for, but for its seed.
        seeds: where the next seed comes from.
        model: to ask for; empty takes the server's default.
    """

    clients: Sequence[AsyncClient]
    rig_id: str
    request: Request
    seeds: count[int]
    model: str = ""

    async def stream(
        self, *, leave: Leave | None = None, timeout: float | None = None, client: AsyncClient | None = None
    ) -> Outcome:
        """One stream, read to its end.

        Args:
            leave: cancels the stream at the first event of which it says so.
            timeout: deadline in seconds.
            client: to ask by, in place of one of the driver's own.
        """
        began, now = time.monotonic(), 0.0
        first, last, whole, reason = None, 0.0, False, ""
        gaps: list[float] = []
        seed = next(self.seeds)
        client = client or self.clients[seed % len(self.clients)]
        request = replace(self.request, seed=seed)
        stream = client.animate(self.rig_id, request, model=self.model, timeout=timeout)
        try:
            async for event in stream:
                now = time.monotonic()
                if isinstance(event, pb.Frames):
                    if first is None:
                        first = now - began
                    else:
                        gaps.append(now - last)
                    last = now
                whole = isinstance(event, pb.Summary)
                if leave is not None and leave(event):
                    stream.cancel()
        except AnimaxError as error:
            reason = getattr(error, "reason", "") or type(error).__name__
        seconds = time.monotonic() - began
        code = (await stream.code()).name
        if code == OK and not whole and not reason:
            reason = CUT
        return Outcome(code, reason, seconds, first, tuple(gaps), began)

    async def closed(self, streams: int, clips: int) -> list[Outcome]:
        """``clips`` streams, always ``streams`` at a time."""
        left = iter(range(clips))

        async def reader() -> list[Outcome]:
            return [await self.stream() for _ in left]

        return [one for many in await asyncio.gather(*(reader() for _ in range(streams))) for one in many]

    async def closed_for(self, streams: int, seconds: float) -> list[Outcome]:
        """``streams`` at a time; none begins after ``seconds``."""
        end = time.monotonic() + seconds

        async def reader() -> list[Outcome]:
            made = []
            while time.monotonic() < end:
                made.append(await self.stream())
            return made

        return [one for many in await asyncio.gather(*(reader() for _ in range(streams))) for one in many]

    async def open_for(self, rate: float, seconds: float) -> list[Outcome]:
        """``rate`` streams begin each second, whatever has become of the others; each is tried once."""
        began = time.monotonic()
        running: list[asyncio.Task[Outcome]] = []
        for number in range(max(1, round(rate * seconds))):
            await asyncio.sleep(max(0.0, began + number / rate - time.monotonic()))
            running.append(asyncio.create_task(self.stream()))
        return list(await asyncio.gather(*running))


def by_code(outcomes: Iterable[Outcome]) -> Counter[str]:
    """How many ended with each status code."""
    return Counter(one.code for one in outcomes)


def failures(outcomes: Sequence[Outcome]) -> dict[str, int]:
    """How many failed in each way: code and reason."""
    return dict(Counter(f"{one.code} {one.reason}".strip() for one in outcomes if not one.ok).most_common())
