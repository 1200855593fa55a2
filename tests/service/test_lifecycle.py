"""Start, warm-up, engine failure, shutdown; and what health checks are told of them."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from animax.client import AsyncClient
from animax.errors import BusyError, Cancelled, EngineError, OptionError, ServiceError, UnavailableError
from animax.service import ServerConfig
from tests.service.conftest import make, serving, until
from tests.service.engine import FakeEngine, FakeModel

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


async def test_health_is_serving_only_after_warm_up() -> None:
    model = FakeModel()
    model.gate.clear()
    async with (
        serving(model=model, warm=False) as running,
        AsyncClient(running.target) as client,
    ):
        rig = await client.upload(running.glb)  # uploads need no model
        for service in ("", "animax.v1.AnimationService", "animax.v1.AssetService"):
            assert await running.health(service) == NOT_SERVING
        assert not (await client.capabilities()).ready
        with pytest.raises(UnavailableError) as caught:
            await client.animate(rig.rig_id, "too early").collect()
        assert (caught.value.reason, bool(caught.value.retry_after)) == ("NOT_READY", True)
        model.gate.set()
        await running.ready()
        assert await running.health() == SERVING
        assert (await client.capabilities()).ready
        assert len((await client.animate(rig.rig_id, "now").collect()).clip) == 60
        assert running.model.warmed == 1
        with pytest.raises(grpc.aio.AioRpcError) as unknown:
            await running.health("animax.v2.AnimationService")
        assert unknown.value.code() == grpc.StatusCode.NOT_FOUND


async def test_an_engine_failure_turns_health_off_until_the_engine_is_back() -> None:
    async with serving() as running, AsyncClient(running.target) as client, running.channel() as channel:
        rig = await client.upload(running.glb)
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        changes = []

        async def follow() -> None:
            async for answer in watch:
                changes.append(answer.status)  # noqa: PERF401 - read while it grows

        following = asyncio.create_task(follow())
        await until(lambda: changes == [SERVING])
        running.model.gate.clear()
        running.engine.failure = EngineError("the device was lost")
        with pytest.raises(EngineError, match="the device was lost"):
            await client.animate(rig.rig_id, "fails").collect()
        with pytest.raises(UnavailableError) as caught:
            await client.animate(rig.rig_id, "meanwhile").collect()
        assert caught.value.reason == "NOT_READY"
        running.engine.failure = None
        running.model.gate.set()
        await running.ready()
        assert len((await client.animate(rig.rig_id, "works again").collect()).clip) == 60
        await until(lambda: changes == [SERVING, NOT_SERVING, SERVING])
        watch.cancel()
        await asyncio.gather(following, return_exceptions=True)


async def test_a_warm_up_that_fails_is_tried_again() -> None:
    async with serving(model=FakeModel(failures=1), warm=False) as running:
        await asyncio.sleep(0.2)
        assert await running.health() == NOT_SERVING
        await running.ready()
        assert running.model.warmed == 1


async def test_a_defect_shows_a_reference_and_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    async with serving() as running, AsyncClient(running.target) as client:
        rig = await client.upload(running.glb)
        running.engine.failure = ZeroDivisionError("secret/path/of/this/machine.py")
        with pytest.raises(ServiceError) as caught:
            await client.animate(rig.rig_id, "fails").collect()
        assert caught.value.reason == "INTERNAL"
        assert "secret" not in str(caught.value)
        reference = str(caught.value).split()[-1]
        assert any(reference in record.getMessage() and record.exc_info for record in caplog.records)
        running.engine.failure = MemoryError()
        with pytest.raises(BusyError) as full:
            await client.animate(rig.rig_id, "large").collect()
        assert full.value.reason == "MEMORY_FULL"
        running.engine.failure = None
        assert len((await client.animate(rig.rig_id, "works").collect()).clip) == 60


async def test_drain_finishes_what_runs_and_refuses_what_comes() -> None:
    async with serving(grace_seconds=30, drain_seconds=1.0) as running, AsyncClient(running.target) as client:
        rig = await client.upload(running.glb)
        running.engine.gate.clear()
        slots = running.server.animation.slots
        streams = [asyncio.create_task(client.animate(rig.rig_id, f"{i}").collect()) for i in range(3)]
        await until(lambda: slots.running + slots.waiting == 3)
        stopping = asyncio.create_task(running.server.stop())
        await asyncio.sleep(0)
        assert await running.health() == NOT_SERVING
        # a balancer that has not noticed yet
        streams.append(asyncio.create_task(client.animate(rig.rig_id, "during the pause").collect()))
        await until(lambda: slots.running + slots.waiting == 4)
        await until(lambda: running.server.readiness.state.value == "shutting down")
        with pytest.raises(UnavailableError) as caught:
            await client.animate(rig.rig_id, "too late").collect()
        assert caught.value.reason == "DRAINING"
        assert not stopping.done()
        running.engine.gate.set()
        assert [len(result.clip) for result in await asyncio.gather(*streams)] == [60] * 4
        await stopping
        assert running.engine.running == 0


async def test_what_does_not_finish_in_the_grace_is_cancelled() -> None:
    engine = FakeEngine(steps=1000, step_seconds=0.02)
    async with serving(engine, grace_seconds=0.3) as running, AsyncClient(running.target) as client:
        rig = await client.upload(running.glb)
        stream = asyncio.create_task(client.animate(rig.rig_id, "endless").collect())
        await until(lambda: running.engine.running == 1)
        began = time.monotonic()
        await running.server.stop()
        assert time.monotonic() - began < 2
        assert running.engine.running == 0
        with pytest.raises((Cancelled, UnavailableError)):
            await stream


async def test_health_watchers_do_not_hold_up_the_end() -> None:
    async with serving(grace_seconds=10) as running, running.channel() as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        assert (await watch.read()).status == SERVING
        began = time.monotonic()
        await running.server.stop()
        assert time.monotonic() - began < 2
        assert (await watch.read()).status == NOT_SERVING


async def test_a_taken_port_is_an_error() -> None:
    async with serving() as running:
        second = make(None, None, {}).server
        object.__setattr__(second.config, "port", running.server.port)
        with pytest.raises(ServiceError, match="free port"):
            await second.start()
        await second.stop()


@pytest.mark.parametrize("on", [False, True])
async def test_reflection_is_behind_its_switch(on: bool) -> None:
    async with serving(reflection=on) as running, running.channel() as channel:
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        call = stub.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(list_services="")]))
        if on:
            names = {service.name for service in (await call.read()).list_services_response.service}
            assert {"animax.v1.AnimationService", "animax.v1.AssetService"} <= names
        else:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call.read()
            assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED


def test_the_default_listens_on_this_machine_only() -> None:
    assert ServerConfig().host == "127.0.0.1"
    assert not ServerConfig().reflection


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("port", 70000),
        ("slots", 0),
        ("max_queued", -1),
        ("write_timeout_seconds", float("nan")),
        ("progress_seconds", 2),
        ("threads", 0),
        ("host", ""),
        ("upload_bytes", 1),
    ],
)
def test_a_bad_configuration_is_refused_by_name(name: str, value: object) -> None:
    with pytest.raises(OptionError) as caught:
        ServerConfig(**{name: value})  # type: ignore[arg-type]
    assert caught.value.name == name


SCRIPT = """
    import asyncio, logging, sys
    from animax.service import Server, ServerConfig
    from animax.service.server import run
    from tests.service.engine import FakeEngine, FakeModel
    from animax.service.generation import Writers
    from animax.service.models import ServedModels

    logging.basicConfig(level="INFO", format="%(message)s")
    engine = FakeEngine(steps=int(sys.argv[1]), step_seconds=0.05)
    writers = Writers(lambda r, c: b"", lambda s, c: "")

    async def main():
        models = ServedModels([FakeModel()])
        server = Server(ServerConfig(port=0, grace_seconds=20), models, engine.animate, writers=writers)
        await run(server, lambda started: print(started.port, flush=True))

    asyncio.run(main())
    print("stopped after", engine.steps_done, "steps", flush=True)
"""


@pytest.mark.skipif(os.name != "posix", reason="signals")
@pytest.mark.parametrize("insist", [False, True])
async def test_sigterm_drains_and_a_second_one_insists(repository: Path, insist: bool) -> None:
    steps = 4000 if insist else 10
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(SCRIPT), str(steps)],
        cwd=repository,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        port = int(await asyncio.to_thread(process.stdout.readline))
        from tests.service.chain_glb import chain_glb

        async with AsyncClient(f"127.0.0.1:{port}") as client:
            rig = await client.upload(chain_glb())
            await until_ready(client)
            stream = asyncio.create_task(client.animate(rig.rig_id, "runs on").collect())
            await asyncio.sleep(0.2)
            process.send_signal(signal.SIGTERM)
            if insist:
                await asyncio.sleep(0.3)
                process.send_signal(signal.SIGTERM)
                with pytest.raises((Cancelled, ServiceError)):
                    await stream
            else:
                assert len((await stream).clip) == 60
        output = await asyncio.to_thread(process.stdout.read)
        assert process.wait(10) == 0
        assert process.stderr is not None
        said = process.stderr.read().splitlines()
        once_more = ["told once more: ending at once"] if insist else []
        assert [line for line in said if line.startswith(("told", "ended"))] == [
            "told to end: what runs gets up to 20 s",
            *once_more,
            "ended",
        ]
        done = int(output.split()[2])
        assert done < 100 if insist else done == 10
    finally:
        process.kill()


async def until_ready(client: AsyncClient) -> None:
    for _ in range(500):
        if (await client.capabilities()).ready:
            return
        await asyncio.sleep(0.01)
    raise AssertionError("the server did not become ready")
