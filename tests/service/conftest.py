"""A real server on a loopback port, with an engine that tests control."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from threading import Thread
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from animax.assets.rig import Rig
from animax.assets.skeleton import Skeleton
from animax.client import AsyncClient
from animax.motion.clip import Clip
from animax.service import Server, ServerConfig
from animax.service.generation import Writers
from animax.service.models import ServedModels
from animax.v1 import animation_service_pb2_grpc as pb_grpc
from tests.service.chain_glb import chain_glb
from tests.service.engine import FakeEngine, FakeModel


def write_bvh(skeleton: Skeleton, clip: Clip) -> str:
    return f"HIERARCHY {len(skeleton)} MOTION {len(clip)} ü"


@dataclass
class Running:
    """A server with its engine."""

    server: Server
    engine: FakeEngine
    model: FakeModel
    glb: bytes = field(default_factory=chain_glb)

    @property
    def target(self) -> str:
        return f"127.0.0.1:{self.server.port}"

    def channel(self, **options: int) -> grpc.aio.Channel:
        extra = [(f"grpc.{name}", value) for name, value in options.items()]
        return grpc.aio.insecure_channel(self.target, [("grpc.enable_http_proxy", 0), *extra])

    def stub(self, channel: grpc.aio.Channel) -> Any:
        return pb_grpc.AnimationServiceStub(channel)

    async def health(self, service: str = "") -> int:
        async with self.channel() as channel:
            answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service=service))
            return answer.status

    async def ready(self) -> None:
        await until(lambda: self.server.readiness.state.value == "ready")


async def until(condition: Callable[[], bool], seconds: float = 30.0) -> float:
    """Wait for a condition; returns how long that took."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < seconds, "the condition did not come true in time"
        await asyncio.sleep(0.002)
    return time.monotonic() - began


def make(engine: FakeEngine | None, model: FakeModel | None, limits: dict[str, Any]) -> Running:
    engine, model = engine or FakeEngine(), model or FakeModel()
    parse = limits.pop("parse", None)
    models = limits.pop("models", None) or ServedModels([model])
    performing = {name: limits.pop(name) for name in ("perform", "tracing") if name in limits}

    def write_glb(rig: Rig, clip: Clip) -> bytes:
        motion = clip.pose.rotations.tobytes()
        return (b"glTF" + motion * (1 + engine.glb_bytes // len(motion)))[: engine.glb_bytes]

    writers = limits.pop("writers", Writers(write_glb, write_bvh))
    config = ServerConfig(port=0, **{"grace_seconds": 0.0, "slots": 1, **limits})
    server = Server(config, models, engine.animate, parse=parse, writers=writers, **performing)
    return Running(server, engine, model)


@asynccontextmanager
async def serving(
    engine: FakeEngine | None = None, model: FakeModel | None = None, *, warm: bool = True, **limits: Any
) -> AsyncIterator[Running]:
    """A server in this event loop."""
    running = make(engine, model, limits)
    await running.server.start()
    try:
        if warm:
            await running.ready()
        yield running
    finally:
        running.engine.gate.set()
        await running.server.stop()


@contextmanager
def serving_in_thread(engine: FakeEngine | None = None, **limits: Any) -> Iterator[Running]:
    """A server in an event loop of its own, for blocking clients."""
    loop = asyncio.new_event_loop()
    thread = Thread(target=loop.run_forever, daemon=True)
    thread.start()

    def call(awaitable: Awaitable[Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(awaitable, loop).result(30)  # type: ignore[arg-type]

    async def start() -> Running:
        running = make(engine, None, limits)
        await running.server.start()
        await running.ready()
        return running

    running = call(start())
    try:
        yield running
    finally:
        running.engine.gate.set()
        call(running.server.stop())
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


@pytest.fixture
async def running() -> AsyncIterator[Running]:
    """A server with default limits."""
    async with serving() as server:
        yield server


@pytest.fixture
async def client(running: Running) -> AsyncIterator[AsyncClient]:
    """A client of ``running``."""
    async with AsyncClient(running.target) as connected:
        yield connected


@pytest.fixture
async def rig_id(running: Running, client: AsyncClient) -> str:
    """An uploaded rig."""
    return (await client.upload(running.glb)).rig_id
