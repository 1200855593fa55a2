"""Faults on the way between client and server, over gRPC and gRPC-Web, and what the server keeps of them.

    python -m tests.reliability.faults --tries 50

Each try is a call through a proxy that does harm to the connection at a random byte. After it the server must be as
before: no call, slot, task, descriptor or memory of it left; and the next call, by a clean connection, must work.
The engine is a stand-in.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import logging
import random
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import psutil

from animax.client import AsyncClient
from animax.errors import AnimaxError
from animax.request import Request
from animax.v1 import animation_service_pb2 as pb
from animax.v1 import asset_service_pb2 as asset_pb
from tests.reliability.fault_proxy import Fault, FaultProxy, proxy_to
from tests.service.chain_glb import chain_glb
from tests.service.conftest import Running, serving
from tests.service.engine import FakeEngine
from tests.service.web_client import ANIMATION, ASSETS, Answer, frame, post, wire

KINDS = ("delay", "bytes", "flip", "cut", "half close", "reset", "vanish")
HARMLESS = ("delay", "bytes")
"""A call must survive these."""
ANIMATE_BYTES = {True: 400, False: 90_000}
"""About what a call sends and gets."""
UPLOAD_BYTES = {True: 120_000, False: 200}
CALL_SECONDS = {"vanish": 1.0}
"""What a call waits for whom it hears nothing of."""
PATIENT_SECONDS = 20.0
CLEAN_SECONDS = 5.0
Call = Callable[[int], Awaitable[str]]


class Ways:
    """The calls that are tried, each given the port to go by; they return what the client was told."""

    def __init__(self, rig_id: str) -> None:
        self.rig_id = rig_id
        self.seconds = PATIENT_SECONDS
        self._made = 0

    def all(self) -> dict[str, tuple[Call, dict[bool, int]]]:
        """By name, with about how many bytes go each way."""
        return {
            "gRPC, animate": (self.animate, ANIMATE_BYTES),
            "gRPC, upload": (self.upload, UPLOAD_BYTES),
            "gRPC-Web, animate": (self.web_animate, ANIMATE_BYTES),
            "gRPC-Web, upload": (self.web_upload, UPLOAD_BYTES),
        }

    async def animate(self, port: int) -> str:
        async with AsyncClient(f"127.0.0.1:{port}", timeout=self.seconds, own_connection=True) as client:
            return await told(client.animate(self.rig_id, Request("x", seconds=1), files=["glb"]).collect())

    async def upload(self, port: int) -> str:
        async with AsyncClient(f"127.0.0.1:{port}", timeout=self.seconds, own_connection=True) as client:
            return await told(client.upload(self._rig()))

    async def web_animate(self, port: int) -> str:
        order = pb.AnimateRequest(rig_id=self.rig_id, prompt="x", seconds=1, file_formats=[pb.FILE_FORMAT_GLB])
        return await self._web(port, ANIMATION + "Animate", frame(order))

    async def web_upload(self, port: int) -> str:
        data = self._rig()
        declaration = asset_pb.AssetDeclaration(
            size_bytes=len(data), format=asset_pb.ASSET_FORMAT_GLB, sha256=hashlib.sha256(data).hexdigest()
        )
        message = asset_pb.UploadAssetChunkRequest(upload_id=f"u{self._made}", declaration=declaration, chunk=data)
        return await self._web(port, ASSETS + "UploadAssetChunk", frame(message))

    def _rig(self) -> bytes:
        """One that the server has not yet."""
        self._made += 1
        return chain_glb(padding=110_000, name=f"rig{self._made}")

    async def _web(self, port: int, path: str, body: bytes) -> str:
        async def ask() -> Answer:
            async with wire(port) as connection:
                connection.send(post(path, body, f"grpc-timeout: {int(self.seconds * 1000)}m"))
                return await connection.answer()

        try:
            answer = await asyncio.wait_for(ask(), self.seconds + 0.5)
            return f"status {answer.code}" if answer.trailers else f"HTTP {answer.status}"
        except asyncio.TimeoutError:
            return "silence"
        except Exception:  # whatever a client by hand makes of harmed bytes
            return "cut or harmed"


async def told(call: Awaitable[object]) -> str:
    """What a client of ours makes of a call."""
    try:
        await call
    except AnimaxError as error:
        return type(error).__name__
    return "OK"


def left(running: Running) -> dict[str, int]:
    """What the server has of calls that have not ended."""
    server = running.server
    assert server.web is not None
    return {
        "calls": server._boundary.active,
        "slots": server.animation.slots.running + server.animation.slots.waiting,
        "generations": running.engine.running,
        "unread bytes": server.animation.unread.nbytes,
        "web calls": len(server.web._bridge.calls),
        "bytes of uploads": server._assets.memory.reserved,
    }


@dataclass
class Report:
    """What became of the tries of one fault by one way.

    Attributes:
        outcomes: what the clients were told.
        struck: tries in which the fault was met.
        longest: seconds until the server was clean, the longest.
        wrong: what a server kept, or a clean call that failed, one sentence each.
    """

    way: str
    kind: str
    outcomes: Counter[str] = field(default_factory=Counter)
    struck: int = 0
    longest: float = 0.0
    wrong: list[str] = field(default_factory=list)


@asynccontextmanager
async def faulty() -> AsyncIterator[tuple[Running, FaultProxy, FaultProxy, Ways]]:
    """A server, a proxy before each of its ports, and the calls."""
    limits = {"upload_idle_seconds": 0.5, "write_timeout_seconds": 1.0, "rig_bytes": 1 << 26, "web_port": 0}
    engine = FakeEngine(steps=2, step_seconds=0.002, glb_bytes=80_000)
    async with serving(engine, slots=2, **limits) as running:
        assert running.server.web is not None
        async with proxy_to(running.server.port) as grpc_proxy, proxy_to(running.server.web.port) as web_proxy:
            async with AsyncClient(running.target) as client:
                rig_id = (await client.upload(running.glb)).rig_id
            yield running, grpc_proxy, web_proxy, Ways(rig_id)


async def try_all(seed: int, tries: int) -> AsyncIterator[Report]:
    """Each fault by each way, ``tries`` times at random bytes, and those that take their time half as often."""
    dice = random.Random(seed)
    async with faulty() as (running, grpc_proxy, web_proxy, ways):
        base = await level()
        for way, (call, size) in ways.all().items():
            proxy = web_proxy if "Web" in way else grpc_proxy
            straight = running.server.web.port if "Web" in way else running.server.port  # type: ignore[union-attr]
            for kind in KINDS:
                report = Report(way, kind)
                for fault in faults(dice, kind, size, tries // 2 if kind in CALL_SECONDS else tries):
                    ways.seconds = CALL_SECONDS.get(kind, PATIENT_SECONDS)
                    await try_one(running, proxy, call, fault, report)
                    ways.seconds = PATIENT_SECONDS
                    after = await call(straight)
                    if after not in ("OK", "status 0"):
                        report.wrong.append(f"{fault}: the call after it was told {after}")
                tasks, descriptors = await level(base)
                if tasks > base[0] or descriptors > base[1]:
                    report.wrong.append(f"{tasks - base[0]} tasks and {descriptors - base[1]} descriptors are left")
                yield report


def faults(dice: random.Random, kind: str, size: dict[bool, int], tries: int) -> Iterator[Fault]:
    """So many at random bytes of both ways."""
    for number in range(tries):
        to_server = number % 2 == 0
        at = 1 << 30 if kind == "bytes" else dice.randrange(0 if kind == "delay" else 1, size[to_server])
        if kind == "bytes":
            at = 5_000
        yield Fault(kind, to_server, at, dice.randrange(8))


async def try_one(running: Running, proxy: FaultProxy, call: Call, fault: Fault, report: Report) -> None:
    """One call through a fault, and whether the server is clean after it."""
    proxy.fault, struck = fault, proxy.struck
    outcome = await call(proxy.port)
    report.outcomes[outcome] += 1
    report.struck += proxy.struck > struck
    began = time.monotonic()
    if fault.kind in HARMLESS and outcome not in ("OK", "status 0"):
        report.wrong.append(f"{fault}: {outcome}")
    await proxy.hang_up()
    while any(found := left(running).values()):
        if time.monotonic() - began > CLEAN_SECONDS:
            report.wrong.append(f"{fault}: left after {CLEAN_SECONDS:g} s: {left(running)}, {found}")
            break
        await asyncio.sleep(0.002)
    report.longest = max(report.longest, time.monotonic() - began)


async def level(base: tuple[int, int] = (0, 0)) -> tuple[int, int]:
    """Tasks and descriptors of this process: the least of each within a while, which is over once they are ``base``."""
    tasks = descriptors = sys.maxsize
    for _ in range(100):
        tasks, descriptors = min(tasks, len(asyncio.all_tasks())), min(descriptors, psutil.Process().num_fds())
        if tasks <= base[0] and descriptors <= base[1]:
            break
        await asyncio.sleep(0.01)
    return tasks, descriptors


async def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tries", type=int, default=50, help="of each fault by each way (default: %(default)d)")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    logging.basicConfig(level=logging.ERROR)
    wrong = 0
    print(f"{'way':<18} {'fault':<11} {'tries':>5} {'met':>5}  longest until clean   clients were told")
    async for report in try_all(options.seed, options.tries):
        tries = sum(report.outcomes.values())
        told = ", ".join(f"{count} {what}" for what, count in report.outcomes.most_common())
        print(f"{report.way:<18} {report.kind:<11} {tries:>5} {report.struck:>5} {report.longest:>17.3f} s   {told}")
        for text in report.wrong:
            print(f"  WRONG: {text}")
        wrong += len(report.wrong)
    print(f"{wrong} times something was left behind or a clean call failed")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
