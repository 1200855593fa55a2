"""Readers that stall, vanish or are slow: when they are shed, and what the others notice.

    python -m tests.reliability.readers --readers 6

The server gives a reader ``write_timeout_seconds`` for each message. The engine is a stand-in; a clip's file is large
enough that no buffer on the way holds it.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import grpc
import numpy as np

from animax.client import AsyncClient
from animax.request import Request
from animax.v1 import animation_service_pb2 as pb
from tests.reliability.fault_proxy import Fault, proxy_to
from tests.service.conftest import Running, serving, until
from tests.service.engine import FakeEngine
from tests.service.web_client import ANIMATION, frame, post

FILE_BYTES = 8_000_000
SLOW_SECONDS = 0.02
"""Between two messages of a reader that is slow, but reads."""
KINDS = ("none", "slow", "stalled", "vanished", "stalled, gRPC-Web")


@dataclass
class Report:
    """How one kind of readers fared, and what the others noticed.

    Attributes:
        kind: of the readers.
        readers: at a time.
        held: seconds from their start, and a few until their first frames, until the server had nothing of them left.
        slots: seconds from their start until their slots were free.
        whole: of them, those that got everything.
        others: seconds that others took for a clip meanwhile.
        outlived: readers that were still being waited for when the last of the others was done.
    """

    kind: str
    readers: int
    held: list[float] = field(default_factory=list)
    slots: float = 0.0
    whole: int = 0
    others: list[float] = field(default_factory=list)
    outlived: int = 0


async def try_kind(kind: str, readers: int, timeout: float, others: int) -> Report:
    """So many readers of one kind, and then so many other clips."""
    report = Report(kind, readers)
    engine = FakeEngine(steps=2, step_seconds=0.005, glb_bytes=FILE_BYTES)
    limits = {"slots": 2, "max_queued": 64, "unread_bytes": 1 << 30, "web_port": 0}
    async with (
        serving(engine, write_timeout_seconds=timeout, **limits) as running,
        AsyncClient(running.target, own_connection=True) as good,
    ):
        rig_id = (await good.upload(running.glb)).rig_id
        small = Request("small", seconds=0.5)
        await good.animate(rig_id, small).collect()
        began = time.monotonic()
        async with KIND_OF_READER[kind](running, rig_id, readers) as reading:
            await until(lambda: running.server.animation.slots.running == 0, 20)
            report.slots = time.monotonic() - began
            watching = asyncio.create_task(watch(running, began, report.held))
            for _ in range(others):
                asked = time.monotonic()
                await good.animate(rig_id, small).collect()
                report.others.append(time.monotonic() - asked)
            report.outlived = running.server._boundary.active
            report.whole = await reading()
            await asyncio.wait_for(watching, timeout + 30)
    return report


async def watch(running: Running, began: float, held: list[float]) -> None:
    """Note when the server has done with each call of a reader; others come one at a time."""
    open_ = running.server.animation.unread
    most = len(open_._held)
    while open_._held or running.server._boundary.active:
        now = len(open_._held)
        held += [time.monotonic() - began] * max(0, most - now)
        most = min(most, now)
        await asyncio.sleep(0.005)
    held += [time.monotonic() - began] * most


Reading = Callable[[], Awaitable[int]]


async def nobody() -> int:
    """No reader gets everything."""
    return 0


@asynccontextmanager
async def none(running: Running, rig_id: str, readers: int) -> AsyncIterator[Reading]:
    """No readers: what the others need alone."""
    yield nobody


def call_of(running: Running, rig_id: str, channel: grpc.aio.Channel) -> object:
    order = pb.AnimateRequest(rig_id=rig_id, prompt="big", seconds=1, file_formats=[pb.FILE_FORMAT_GLB])
    return running.stub(channel).Animate(order)


async def begin(call: object) -> None:
    """Read up to the first frames."""
    async for message in call:  # type: ignore[attr-defined]
        if message.HasField("frames"):
            return


@asynccontextmanager
async def stalled(running: Running, rig_id: str, readers: int) -> AsyncIterator[Reading]:
    """They read up to the first frames, and no further."""
    # by the probe the transport takes more, up to all of the file, the longer a busy machine's round trips are
    options = {"use_local_subchannel_pool": 1, "http2.bdp_probe": 0}
    channels = [running.channel(**options) for _ in range(readers)]
    calls = [call_of(running, rig_id, channel) for channel in channels]
    await asyncio.gather(*map(begin, calls))
    yield nobody
    for channel in channels:
        await channel.close()


@asynccontextmanager
async def slow(running: Running, rig_id: str, readers: int) -> AsyncIterator[Reading]:
    """They take a message at a time, and rest after each."""
    channels = [running.channel(use_local_subchannel_pool=1) for _ in range(readers)]

    async def read(call: object) -> int:
        async for message in call:  # type: ignore[attr-defined]
            if message.HasField("summary"):
                return 1
            await asyncio.sleep(SLOW_SECONDS)
        return 0

    calls = [call_of(running, rig_id, channel) for channel in channels]
    await asyncio.gather(*map(begin, calls))
    tasks = [asyncio.create_task(read(call)) for call in calls]

    async def all_of_them() -> int:
        return sum(await asyncio.gather(*tasks))

    yield all_of_them
    for channel in channels:
        await channel.close()


@asynccontextmanager
async def vanished(running: Running, rig_id: str, readers: int) -> AsyncIterator[Reading]:
    """Nothing comes through to them any more, and nobody says so."""
    async with proxy_to(running.server.port) as proxy:
        proxy.fault = Fault("vanish", to_server=False, at=60_000)
        options = [("grpc.enable_http_proxy", 0), ("grpc.use_local_subchannel_pool", 1)]
        channels = [grpc.aio.insecure_channel(f"127.0.0.1:{proxy.port}", options) for _ in range(readers)]
        calls = [call_of(running, rig_id, channel) for channel in channels]
        reading = [asyncio.create_task(begin(call)) for call in calls]
        await until(lambda: proxy.struck == readers, 20)
        yield nobody
        for task in reading:
            task.cancel()
        for channel in channels:
            await channel.close()


@asynccontextmanager
async def stalled_on_the_web(running: Running, rig_id: str, readers: int) -> AsyncIterator[Reading]:
    """They read the headers of the response, and no further."""
    assert running.server.web is not None
    order = pb.AnimateRequest(rig_id=rig_id, prompt="big", seconds=1, file_formats=[pb.FILE_FORMAT_GLB])
    kept = []
    for _ in range(readers):
        reader, writer = await asyncio.open_connection("127.0.0.1", running.server.web.port, limit=1024)
        writer.write(post(ANIMATION + "Animate", frame(order)))
        kept.append(writer)
        await reader.readuntil(b"\r\n\r\n")
    await until(lambda: len(running.server.animation.unread._held) == readers, 20)
    yield nobody
    for writer in kept:
        writer.transport.abort()


KIND_OF_READER = {
    "none": none, "slow": slow, "stalled": stalled, "vanished": vanished, "stalled, gRPC-Web": stalled_on_the_web,
}  # fmt: skip


async def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--readers", type=int, default=6, help="of each kind, at a time (default: %(default)d)")
    parser.add_argument("--timeout", type=float, default=5.0, help="write_timeout_seconds (default: %(default)g)")
    parser.add_argument("--others", type=int, default=40, help="clips meanwhile (default: %(default)d)")
    options = parser.parse_args()
    logging.basicConfig(level=logging.ERROR)
    print(
        f"write_timeout_seconds {options.timeout:g}, {options.readers} readers at a time, files of {FILE_BYTES} bytes"
    )
    print("readers              whole   given up after s   slots free after s   others' clip s, p50    p99")
    for kind in KINDS:
        report = await try_kind(kind, options.readers, options.timeout, options.others)
        held = report.held if report.readers > report.whole else []
        given_up = f"{min(held):.2f} to {max(held):.2f}" if held else "–"
        p50, p99 = np.percentile(report.others, [50, 99])
        print(f"{kind:<20} {report.whole:>5} {given_up:>18} {report.slots:>20.3f} {p50:>22.3f} {p99:>6.3f}")
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
