"""The order of a shutdown: health first, then the balancer's time, then refusals, then what runs, then the engine."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Awaitable
from pathlib import Path

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_status import rpc_status

from animax.client import AsyncClient
from animax.service.jobs.blob_store import BlobStore
from animax.service.jobs.database import Database
from animax.service.jobs.job import NewJob
from animax.service.jobs.job_store import JobStore
from animax.service.jobs.schema import State
from animax.service.jobs.settings import in_folder
from animax.v1 import animation_service_pb2 as pb
from animax.v1 import animation_service_pb2_grpc as pb_grpc
from animax.v1 import asset_service_pb2 as asset_pb
from animax.v1 import asset_service_pb2_grpc as asset_grpc
from animax.v1 import job_service_pb2 as job_pb
from animax.v1 import job_service_pb2_grpc as job_grpc
from animax.wire.jobs import state_name
from tests.service.chain_glb import chain_glb
from tests.service.conftest import Running, serving, until
from tests.service.engine import FakeEngine
from tests.service.jobs.process import process
from tests.service.jobs.test_processes import wait_for
from tests.service.scrape import page, scrape


def refused(error: grpc.aio.AioRpcError) -> tuple[str, str, float]:
    """Code, reason and seconds of RetryInfo."""
    status = rpc_status.from_call(error)
    assert status is not None
    info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
    for detail in status.details:
        detail.Unpack(info)
        detail.Unpack(retry)
    return error.code().name, info.reason, retry.retry_delay.ToMilliseconds() / 1000


async def every_new_call(running: Running, rig_id: str) -> dict[str, tuple[str, str, float] | str]:
    """What each method answers to a call that comes now."""
    answers: dict[str, tuple[str, str, float] | str] = {}

    async def ask(name: str, call: Awaitable[object]) -> None:
        try:
            await call
            answers[name] = "OK"
        except grpc.aio.AioRpcError as error:
            answers[name] = refused(error)

    async def drained(stream: grpc.aio.UnaryStreamCall[object, object]) -> None:
        async for _ in stream:
            pass

    async with running.channel() as channel:
        animation, assets = pb_grpc.AnimationServiceStub(channel), asset_grpc.AssetServiceStub(channel)
        jobs = job_grpc.JobServiceStub(channel)
        request = pb.AnimateRequest(rig_id=rig_id, prompt="late")
        opening = pb.AnimateInteractiveRequest(opening=pb.AnimateInteractiveOpening())
        await ask("Animate", drained(animation.Animate(request)))  # type: ignore[arg-type]
        await ask("AnimateInteractive", drained(animation.AnimateInteractive(iter([opening]))))  # type: ignore[arg-type]
        await ask("HasAsset", assets.HasAsset(asset_pb.HasAssetRequest(rig_id=rig_id)))
        await ask("UploadAsset", assets.UploadAsset(iter([asset_pb.UploadAssetRequest()])))
        await ask("CreateAnimationJob", jobs.CreateAnimationJob(job_pb.CreateAnimationJobRequest(animation=request)))
        await ask("ListJobs", jobs.ListJobs(job_pb.ListJobsRequest()))
        await ask("WatchJob", drained(jobs.WatchJob(job_pb.WatchJobRequest(job_id="0" * 32))))  # type: ignore[arg-type]
        capabilities = await animation.GetCapabilities(pb.GetCapabilitiesRequest())
        answers["GetCapabilities"] = f"ready: {capabilities.ready}"
    return answers


async def test_the_whole_order(tmp_path: Path) -> None:
    """One stream that finishes in the grace, one job that does not and is queued again, one stream that came late."""
    engine = FakeEngine(steps=40, step_seconds=0.03)
    jobs = in_folder(tmp_path, poll_seconds=0.02)
    limits = {"slots": 2, "drain_seconds": 0.5, "grace_seconds": 4.0, "metrics_port": 0, "jobs": jobs}
    async with (
        serving(engine, **limits) as running,
        AsyncClient(running.target) as client,
        running.channel() as channel,
    ):
        server, order = running.server, list[str]()
        rig_id = (await client.upload(running.glb)).rig_id
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        await watch.read()
        stream = asyncio.create_task(client.animate(rig_id, "runs").collect())
        job = await client.create_job(rig_id, "runs far too long", variants=8)
        await until(lambda: engine.running == 2)

        async def note(what: str, happened: Awaitable[object]) -> None:
            await happened
            order.append(what)

        async def states(state: str) -> None:
            await until(lambda: server.readiness.state.value == state)

        notes = [
            asyncio.create_task(note("health says NOT_SERVING", watch.read())),
            asyncio.create_task(note("new calls are refused", states("shutting down"))),
            asyncio.create_task(note("the stream has finished", stream)),
        ]
        stopping = asyncio.create_task(note("the engine is released", server.stop()))
        await until(lambda: bool(order))
        assert order == ["health says NOT_SERVING"]
        # the balancer has not noticed yet: what it still sends is served
        assert (await page(running, "/readyz")).status == 503
        assert (await page(running, "/healthz")).status == 200
        during = asyncio.create_task(client.animate(rig_id, "during the pause").collect())
        await until(lambda: len(order) == 2)
        answers = await every_new_call(running, rig_id)
        assert answers.pop("GetCapabilities") == "ready: False"
        assert set(answers.values()) == {("UNAVAILABLE", "DRAINING", 1.0)}, answers
        samples = await scrape(running)
        assert samples.of("animax_refusals_total", reason="DRAINING") == len(answers)
        assert samples.of("animax_ready") == 0
        assert not stopping.done()
        await asyncio.gather(*notes, stopping)
        assert [len(result.clip) for result in (stream.result(), await during)] == [60, 60]
        assert order == [
            "health says NOT_SERVING",
            "new calls are refused",
            "the stream has finished",
            "the engine is released",
        ]
        assert engine.running == 0
        calls = len(engine.calls)
        await asyncio.sleep(0.1)
        assert len(engine.calls) == calls
        assert server.monitor is None
    # the job is not lost and its attempt does not count: another server takes it up
    second = FakeEngine(steps=1)
    async with serving(second, jobs=jobs) as running, AsyncClient(running.target) as client:
        changes = [change async for change in client.watch_job(job.job_id)]
        assert [state_name(change) for change in changes if change.progress.fraction in (0, 1)].count("queued") == 2
        assert state_name(changes[-1]) == "succeeded"
        assert changes[-1].attempts == 1


@pytest.mark.skipif(os.name != "posix", reason="signals")
@pytest.mark.parametrize("options", [[], ["--work"]], ids=["serve", "work"])
def test_sigterm_gives_jobs_back_before_the_process_ends(options: list[str], tmp_path: Path) -> None:
    """What does not finish in the grace is queued again, uncounted, and the process ends with status 0."""
    settings = in_folder(tmp_path)
    database = Database(settings.database)
    store, blobs = JobStore(database, settings), BlobStore(database, settings.blobs, settings.blob_bytes)
    glb = chain_glb()
    rig_id = hashlib.sha256(glb).hexdigest()
    blobs.put(rig_id, glb, "chain")
    order = pb.AnimateRequest(rig_id=rig_id, prompt="x").SerializeToString()
    job_id = store.create(NewJob("", "0" * 64, rig_id, "fake", order, {})).job_id
    places = ["--database", settings.database, "--blobs", settings.blobs, "--slots", "1"]
    with process(*places, *options, "--steps", "10000", "--step-seconds", "0.01", "--grace", "0.5") as worker:
        wait_for(lambda: store.get(job_id).state is State.RUNNING)
        assert worker.terminate() == 0
        job = store.get(job_id)
        assert (job.state, job.latest.attempts) == (State.QUEUED, 0)
    database.close()
