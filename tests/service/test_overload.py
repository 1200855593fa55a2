"""Full queues, slow readers, busy channels."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import grpc
import pytest
from grpc_health.v1 import health_pb2

from animax.client import AsyncClient, upload_messages
from animax.errors import BusyError
from animax.request import Request
from animax.v1 import animation_service_pb2 as pb
from animax.v1 import asset_service_pb2 as asset_pb
from animax.v1 import asset_service_pb2_grpc as asset_pb_grpc
from tests.service.conftest import Running, serving, until
from tests.service.engine import FakeEngine


async def test_a_full_queue_refuses_at_once_and_says_when_to_come_again() -> None:
    async with serving(max_queued=3) as running, AsyncClient(running.target) as client:
        rig = await client.upload(running.glb)
        running.engine.gate.clear()
        slots = running.server.animation.slots
        accepted = [asyncio.create_task(client.animate(rig.rig_id, f"{i}").collect()) for i in range(4)]
        await until(lambda: slots.running == 1 and slots.waiting == 3)
        took = []
        for _ in range(20):
            began = time.monotonic()
            with pytest.raises(BusyError) as caught:
                await client.animate(rig.rig_id, "one too many").collect()
            took.append(time.monotonic() - began)
            assert caught.value.reason == "QUEUE_FULL"
            assert caught.value.retry_after
        assert min(took) < 0.05  # the rest is what else this machine does
        assert await running.health() == health_pb2.HealthCheckResponse.SERVING
        load = (await client.capabilities()).load
        assert (load.generating, load.queued, load.rigs) == (1, 3, 1)
        running.engine.gate.set()
        results = await asyncio.gather(*accepted)
        assert len(results) == 4
        assert running.engine.most_running == 1


async def test_first_come_first_served_and_never_more_than_the_slots() -> None:
    async with (
        serving(FakeEngine(steps=2, step_seconds=0.01), slots=2) as running,
        AsyncClient(running.target) as client,
    ):
        rig = await client.upload(running.glb)
        running.engine.gate.clear()
        slots = running.server.animation.slots
        waiting = []
        for index in range(8):
            waiting.append(asyncio.create_task(client.animate(rig.rig_id, f"{index}").collect()))
            await until(lambda n=index + 1: slots.running + slots.waiting == n)  # type: ignore[misc]
        running.engine.gate.set()
        await asyncio.gather(*waiting)
        assert [request.prompt for request in running.engine.calls][2:] == [str(i) for i in range(2, 8)]
        assert running.engine.most_running == 2


async def test_a_request_for_many_variants_lets_others_in_between() -> None:
    async with serving(FakeEngine(steps=2, step_seconds=0.02), max_queued=1) as running:
        async with AsyncClient(running.target) as client:
            rig = await client.upload(running.glb)
            greedy = asyncio.create_task(client.animate(rig.rig_id, "greedy", variants=4).collect())
            await until(lambda: bool(running.engine.calls))
            await client.animate(rig.rig_id, "modest").collect()
            assert len((await greedy).clips) == 4
        prompts = [request.prompt for request in running.engine.calls]
        assert prompts.index("modest") <= 2


class _Tap:
    """A relay whose way from server to client can be shut: a reader that stops reading, seen from the server."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.open = asyncio.Event()
        self.open.set()
        self.tasks: list[asyncio.Task[None]] = []
        self.writers: list[asyncio.StreamWriter] = []

    async def start(self) -> str:
        self.server = await asyncio.start_server(self._connect, "127.0.0.1", 0, limit=4096)
        return f"127.0.0.1:{self.server.sockets[0].getsockname()[1]}"

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream_reader, upstream = await asyncio.open_connection("127.0.0.1", self.port, limit=4096)

        self.writers += [writer, upstream]

        async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter, gate: asyncio.Event | None) -> None:
            while True:
                if gate is not None:
                    await gate.wait()
                data = await source.read(4096)
                if not data:
                    return
                sink.write(data)
                await sink.drain()

        self.tasks += [
            asyncio.create_task(pump(reader, upstream, None)),
            asyncio.create_task(pump(upstream_reader, writer, self.open)),
        ]

    async def stop(self) -> None:
        for task in self.tasks:
            task.cancel()
        for writer in self.writers:
            writer.transport.abort()
        self.server.close()


BIG = 3_000_000
LONG = {"seconds": 10.0, "fps": 120.0, "file_formats": [pb.FILE_FORMAT_GLB], "variants": 8}


async def stalled(running: Running, rig_id: str, target: str, tap: _Tap | None) -> tuple[grpc.aio.Channel, object]:
    """A stream that was read up to its first frames and no further."""
    channel = grpc.aio.insecure_channel(target, [("grpc.enable_http_proxy", 0)])
    call = running.stub(channel).Animate(pb.AnimateRequest(rig_id=rig_id, prompt="long", **LONG))
    async for message in call:
        if message.HasField("frames"):
            break
    if tap is not None:
        tap.open.clear()
    return channel, call


async def test_a_reader_that_stops_reading_is_shed_and_holds_no_slot() -> None:
    async with (
        serving(FakeEngine(steps=1, glb_bytes=BIG), write_timeout_seconds=0.6) as running,
        AsyncClient(running.target) as client,
    ):
        rig_id = (await client.upload(running.glb)).rig_id
        channel, call = await stalled(running, rig_id, running.target, None)
        animation = running.server.animation
        # the others are served meanwhile
        for _ in range(3):
            await client.animate(rig_id, Request("meanwhile", seconds=1)).collect()
        await until(lambda: animation.unread.nbytes == 0 and running.server._boundary.active == 0, 8)
        assert len(running.engine.calls) < 3 + 8
        # when it reads on, it learns why
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            async for _ in call:  # type: ignore[attr-defined]
                pass
        assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "not read fast enough" in (caught.value.details() or "")
        await channel.close()


async def test_a_peer_that_vanishes_without_a_word_is_shed_and_does_not_hold_up_the_end() -> None:
    async with (
        serving(FakeEngine(steps=1, glb_bytes=BIG), write_timeout_seconds=0.6) as running,
        AsyncClient(running.target) as client,
    ):
        rig_id = (await client.upload(running.glb)).rig_id
        tap = _Tap(running.server.port)
        channel, _ = await stalled(running, rig_id, await tap.start(), tap)
        animation = running.server.animation
        await until(lambda: animation.slots.running == 0 and running.server._boundary.active == 0, 8)
        assert animation.unread.nbytes == 0
        began = time.monotonic()
        await running.server.stop()
        assert time.monotonic() - began < 4
        await tap.stop()
        await channel.close()


async def test_when_memory_is_full_the_slowest_reader_goes_and_the_newcomer_stays() -> None:
    async with (
        serving(FakeEngine(steps=1, glb_bytes=BIG), write_timeout_seconds=60, unread_bytes=BIG + 500_000) as running,
        AsyncClient(running.target) as client,
    ):
        rig_id = (await client.upload(running.glb)).rig_id
        channel, call = await stalled(running, rig_id, running.target, None)
        await until(lambda: running.server.animation.slots.running == 0)
        await asyncio.sleep(0.5)
        held = running.server.animation.unread.nbytes
        assert BIG < held < BIG + 500_000
        big = await client.animate(rig_id, Request("big", seconds=10, fps=120), files=["glb"]).collect()
        assert len(big.clip) == 1200
        await until(lambda: running.server._boundary.active == 0, 5)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            async for _ in call:  # type: ignore[attr-defined]
                pass
        assert "memory" in (caught.value.details() or "")
        await channel.close()


async def test_a_slow_reader_that_keeps_reading_gets_everything() -> None:
    async with (
        serving(FakeEngine(steps=1), write_timeout_seconds=0.5) as running,
        AsyncClient(running.target) as client,
    ):
        rig_id = (await client.upload(running.glb)).rig_id
        stream = client.animate(rig_id, Request("slow reader", seconds=10, fps=120), files=["glb"])
        count = 0
        async for _ in stream:
            count += 1
            await asyncio.sleep(0.02)
        assert count > 45


async def test_a_client_that_pings_every_second_is_not_cut_off() -> None:
    """gRPC's own default ends such a connection with "Too many pings" while the server has nothing to say, as here."""
    async with serving() as running:
        options = {"keepalive_time_ms": 1000, "keepalive_timeout_ms": 5000, "http2.max_pings_without_data": 0}
        messages = upload_messages(running.glb, "")

        async def slow() -> AsyncIterator[asset_pb.UploadAssetRequest]:
            yield messages[0]
            await asyncio.sleep(6)
            yield messages[1]

        async with running.channel(**options) as channel:
            assert (await asset_pb_grpc.AssetServiceStub(channel).UploadAsset(slow())).rig.rig_id
