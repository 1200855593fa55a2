"""A client that leaves, in any way and at any stage, frees its slot within one denoising step."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import grpc
import pytest

from animax.client import AsyncClient
from animax.errors import Cancelled, DeadlineExceeded
from animax.v1 import animation_service_pb2 as pb
from tests.service.conftest import Running, serving, until
from tests.service.engine import FakeEngine

STEP = 0.15


@pytest.fixture
async def slow() -> AsyncIterator[Running]:
    """Forty steps, six seconds."""
    async with serving(FakeEngine(steps=40, step_seconds=STEP)) as running:
        yield running


@pytest.fixture
async def slow_rig(slow: Running) -> str:
    async with AsyncClient(slow.target) as client:
        return (await client.upload(slow.glb)).rig_id


async def denoising(call: object) -> None:
    async for message in call:  # type: ignore[attr-defined]
        if message.progress.stage == pb.STAGE_DENOISE:
            return
    raise AssertionError("the stream ended before denoising")


async def assert_freed(slow: Running) -> None:
    """The engine stops after the step in progress, does nothing more, and the slot is free."""
    done = slow.engine.steps_done
    took = await until(lambda: slow.server.animation.slots.running == 0 and slow.engine.running == 0)
    assert took < STEP + 0.1
    assert slow.engine.steps_done <= done + 1
    calls = len(slow.engine.calls)
    await asyncio.sleep(2 * STEP)
    assert slow.engine.steps_done <= done + 1
    assert len(slow.engine.calls) == calls


async def test_cancel_while_denoising(slow: Running, slow_rig: str) -> None:
    async with slow.channel() as channel:
        call = slow.stub(channel).Animate(pb.AnimateRequest(rig_id=slow_rig, prompt="x"))
        await denoising(call)
        call.cancel()
        await assert_freed(slow)
    assert slow.engine.stopped == 1


async def test_dropped_connection_while_denoising(slow: Running, slow_rig: str) -> None:
    channel = slow.channel()
    await denoising(slow.stub(channel).Animate(pb.AnimateRequest(rig_id=slow_rig, prompt="x")))
    await channel.close()
    await assert_freed(slow)


async def test_connection_reset_while_denoising(slow: Running, slow_rig: str) -> None:
    """A relay between client and server resets both sides, as when a client's machine goes down."""
    writers: list[asyncio.StreamWriter] = []

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream_reader, upstream = await asyncio.open_connection("127.0.0.1", slow.server.port)
        writers.extend([writer, upstream])
        await asyncio.gather(pump(reader, upstream), pump(upstream_reader, writer), return_exceptions=True)

    server = await asyncio.start_server(relay, "127.0.0.1", 0)
    target = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with grpc.aio.insecure_channel(target, [("grpc.enable_http_proxy", 0)]) as channel:
        await denoising(slow.stub(channel).Animate(pb.AnimateRequest(rig_id=slow_rig, prompt="x")))
        for writer in writers:
            writer.transport.abort()
        await assert_freed(slow)
    server.close()


async def test_deadline_while_denoising(slow: Running, slow_rig: str) -> None:
    async with slow.channel() as channel:
        call = slow.stub(channel).Animate(pb.AnimateRequest(rig_id=slow_rig, prompt="x"), timeout=2.5 * STEP)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            async for _ in call:
                pass
        assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        await assert_freed(slow)


async def test_deadline_shorter_than_a_step_or_passed_already(slow: Running, slow_rig: str) -> None:
    async with slow.channel() as channel:
        for timeout in (STEP / 4, 0.0, -1.0):
            call = slow.stub(channel).Animate(pb.AnimateRequest(rig_id=slow_rig, prompt="x"), timeout=timeout)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                async for _ in call:
                    pass
            assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
            await until(lambda: slow.server.animation.slots.running == 0, 2 * STEP)
    assert slow.engine.steps_done <= 3  # at most one a request


@pytest.mark.parametrize("way", ["cancel", "deadline", "close"])
async def test_leaving_the_queue(slow: Running, slow_rig: str, way: str) -> None:
    slow.engine.gate.clear()
    slots = slow.server.animation.slots
    async with slow.channel() as holder:
        first = slow.stub(holder).Animate(pb.AnimateRequest(rig_id=slow_rig, prompt="holds"))
        await denoising(first)
        channel = slow.channel()
        timeout = 0.3 if way == "deadline" else None
        waiting = slow.stub(channel).Animate(pb.AnimateRequest(rig_id=slow_rig, prompt="waits"), timeout=timeout)
        await until(lambda: slots.waiting == 1)
        if way == "cancel":
            waiting.cancel()
        if way == "close":
            await channel.close()
        await until(lambda: slots.waiting == 0, 1.0)
        await channel.close()
        assert [request.prompt for request in slow.engine.calls] == ["holds"]
        assert slots.running == 1


async def test_the_servers_own_limit_ends_waiting_and_generating() -> None:
    async with serving(FakeEngine(steps=100, step_seconds=0.02), max_request_seconds=0.5) as running:
        async with AsyncClient(running.target) as client:
            rig = await client.upload(running.glb)
            both = [client.animate(rig.rig_id, "x").collect() for _ in range(2)]
            began = time.monotonic()
            failures = await asyncio.gather(*both, return_exceptions=True)
            assert 0.4 < time.monotonic() - began < 1.0
        assert [type(failure) for failure in failures] == [DeadlineExceeded, DeadlineExceeded]
        await until(lambda: running.server.animation.slots.running == 0, 0.2)


async def test_cancel_between_variants_and_while_sending(slow: Running, slow_rig: str) -> None:
    slow.engine.steps, slow.engine.step_seconds = 2, 0.0
    async with slow.channel() as channel:
        call = slow.stub(channel).Animate(pb.AnimateRequest(rig_id=slow_rig, prompt="x", seconds=10, variants=8))
        async for message in call:
            if message.HasField("frames"):
                break
        call.cancel()
    slots = slow.server.animation.slots
    await until(lambda: slots.running == slots.waiting == slow.server.animation.unread.nbytes == 0, 1.0)


async def test_after_many_cancels_nothing_is_left_behind(slow: Running, slow_rig: str) -> None:
    import psutil

    slow.engine.steps, slow.engine.step_seconds = 5, 0.002
    process = psutil.Process()

    async def one(index: int) -> None:
        async with AsyncClient(slow.target) as client:
            stream = client.animate(slow_rig, f"number {index}", files=["glb"])
            with pytest.raises(Cancelled) if index % 3 else pytest.MonkeyPatch.context():
                async for event in stream:
                    if index % 3 == 1 and isinstance(event, pb.Header):
                        stream.cancel()
                    if index % 3 == 2 and isinstance(event, pb.FileChunk):
                        stream.cancel()

    async def rounds(count: int) -> tuple[int, int, int]:
        for start in range(0, count, 10):
            await asyncio.gather(*(one(index) for index in range(start, start + 10)))
        await until(lambda: slow.server.animation.slots.running == 0)
        await asyncio.sleep(0.3)
        return len(asyncio.all_tasks()), process.num_threads(), process.num_fds()

    before = await rounds(20)
    after = await rounds(60)
    assert after[0] <= before[0] + 1
    assert after[1] <= before[1] + 8  # the pools of asyncio and gRPC grow to their size when they are first needed
    assert after[2] <= before[2] + 4
    assert slow.server.animation.unread.nbytes == 0
