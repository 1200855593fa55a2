"""Jobs as a client sees them, on a real server."""

from __future__ import annotations

import asyncio
import hashlib
import uuid

import grpc
import pytest

from animax.assets import load_rig, read_clips
from animax.client import AsyncClient, Client
from animax.errors import (
    BusyError,
    JobStateError,
    OptionError,
    RequestIdError,
    UnavailableError,
    UnknownJobError,
    UnknownRigError,
)
from animax.request import Request, RootMode
from animax.v1 import animation_service_pb2 as pb
from animax.v1 import job_service_pb2 as job_pb
from animax.v1 import job_service_pb2_grpc as job_pb_grpc
from animax.wire.jobs import job_error, state_name
from tests.service.conftest import serving_in_thread, until
from tests.service.engine import FakeEngine
from tests.service.jobs.conftest import Start, watched


async def test_a_job_makes_the_clip_that_animate_makes(start: Start) -> None:
    request = Request("turns around", seconds=1.5, fps=24, seed=7, root_mode=RootMode.ROOT_MOTION, loop=True)
    async with start(writers=None) as (running, client):
        rig = await client.upload(running.glb)
        job = await client.create_job(rig.rig_id, request, variants=2, files=["glb"], labels={"shot": "17"})
        assert job.state == job_pb.JOB_STATE_QUEUED
        states = [state_name(seen) for seen in await watched(client, job.job_id)]
        assert states[0] == "queued"
        assert states[-1] == "succeeded"
        result = await client.job_result(job.job_id)
        streamed = await client.animate(rig.rig_id, request, variants=2, files=["glb"]).collect()
        done = await client.get_job(job.job_id)
    told = [(clip.seed, clip.frames_sha256) for clip in result.summary.clips]
    assert told == [(clip.seed, clip.frames_sha256) for clip in streamed.summary.clips]
    assert told == [(clip.seed, clip.frames_sha256) for clip in done.result.clips]
    assert done.labels == {"shot": "17"}
    assert done.attempts == 1
    assert done.create_time.ToDatetime() <= done.start_time.ToDatetime() <= done.end_time.ToDatetime()
    assert done.progress.fraction == 1
    # the file is made when it is fetched, and is a whole one
    for clip, files in zip(result.clips, result.files, strict=True):
        made = load_rig(files["glb"])
        (read,) = read_clips(made, fps=24)
        difference = made.skeleton.positions(read.pose) - result.skeleton.positions(clip.pose)
        assert abs(difference).max() < 1e-4


async def test_formats_are_chosen_when_the_result_is_fetched(start: Start) -> None:
    async with start() as (running, client):
        rig = await client.upload(running.glb)
        job = await client.create_job(rig.rig_id, "waves")
        await watched(client, job.job_id)
        assert (await client.job_result(job.job_id)).files == ({},)
        assert set((await client.job_result(job.job_id, files=["bvh", "glb"])).files[0]) == {"bvh", "glb"}
        with pytest.raises(OptionError):
            await client.job_result(job.job_id, files=["fbx"])


async def test_an_order_repeated_is_the_same_job_and_another_one_under_its_id_is_refused(start: Start) -> None:
    async with start() as (running, client):
        rig = await client.upload(running.glb)
        order = {"request_id": "shot-17:take_2", "labels": {"a": "b"}}
        first = await client.create_job(rig.rig_id, "waves", **order)
        together = await asyncio.gather(*(client.create_job(rig.rig_id, "waves", **order) for _ in range(8)))
        await watched(client, first.job_id)
        later = await client.create_job(rig.rig_id, "waves", **order)
        assert {job.job_id for job in (*together, later)} == {first.job_id}
        assert later.state == job_pb.JOB_STATE_SUCCEEDED
        for other in ({**order, "labels": {}}, {**order, "variants": 2}, {**order, "files": ["glb"]}):
            with pytest.raises(RequestIdError, match="shot-17:take_2"):
                await client.create_job(rig.rig_id, "waves", **other)
        with pytest.raises(RequestIdError):
            await client.create_job(rig.rig_id, "walks", **order)
    assert len(running.engine.calls) == 1


async def test_a_seed_that_was_drawn_stays_the_same_when_the_order_is_repeated(start: Start) -> None:
    async with start() as (running, client):
        rig = await client.upload(running.glb)
        animation = pb.AnimateRequest(rig_id=rig.rig_id, prompt="waves")
        message = job_pb.CreateAnimationJobRequest(request_id=uuid.uuid4().hex, animation=animation)
        async with running.channel() as channel:
            stub = job_pb_grpc.JobServiceStub(channel)
            first = (await stub.CreateAnimationJob(message)).job
            assert first.animation.HasField("seed")
            assert (await stub.CreateAnimationJob(message)).job.animation.seed == first.animation.seed


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"request_id": "a b"}, "request_id"),
        ({"request_id": "x" * 129}, "request_id"),
        ({"labels": {str(i): "" for i in range(17)}}, "labels"),
        ({"labels": {"": "x"}}, "labels"),
        ({"labels": {"a": "x\0"}}, "labels"),
        ({"variants": 99}, "variants"),
    ],
)
async def test_a_bad_order_is_refused_by_name(start: Start, change: dict[str, object], named: str) -> None:
    async with start() as (running, client):
        rig = await client.upload(running.glb)
        with pytest.raises(OptionError) as caught:
            await client.create_job(rig.rig_id, "waves", **change)  # type: ignore[arg-type]
    assert caught.value.name == named


async def test_what_is_not_there_is_named(start: Start) -> None:
    async with start() as (_, client):
        with pytest.raises(UnknownRigError):
            await client.create_job("0" * 64, "waves")
        for call in (client.get_job, client.cancel_job, client.job_result):
            with pytest.raises(UnknownJobError):
                await call("0" * 32)
            with pytest.raises(OptionError):
                await call("../../etc/passwd")
        with pytest.raises(UnknownJobError):
            await watched(client, "0" * 32)


async def test_a_watch_tells_every_change_once_and_can_be_taken_up_again(start: Start) -> None:
    async with start(FakeEngine(steps=12, step_seconds=0.05)) as (running, client):
        rig = await client.upload(running.glb)
        job = await client.create_job(rig.rig_id, "waves", variants=2)
        whole, again = await asyncio.gather(watched(client, job.job_id), watched(client, job.job_id))
        assert [seen.change for seen in whole] == list(range(1, len(whole) + 1))
        assert whole == again
        states = [state_name(seen) for seen in whole]
        assert states == ["queued"] + ["running"] * (len(whole) - 2) + ["succeeded"]
        fractions = [seen.progress.fraction for seen in whole]
        assert fractions == sorted(fractions)
        assert len(set(fractions)) > 6
        assert not any(seen.HasField("end_time") or seen.HasField("result") for seen in whole[:-1])
        assert whole[-1].HasField("result")
        for after in (1, len(whole) // 2, len(whole) - 1, len(whole)):
            assert await watched(client, job.job_id, after) == whole[after:]
        with pytest.raises(OptionError):
            await watched(client, job.job_id, len(whole) + 1)


async def test_cancel_in_each_state(start: Start) -> None:
    engine = FakeEngine(steps=1000, step_seconds=0.02)
    async with start(engine) as (running, client):
        rig = await client.upload(running.glb)
        at_work = await client.create_job(rig.rig_id, "walks")
        queued = await client.create_job(rig.rig_id, "waits")
        await until(lambda: engine.running == 1)
        with pytest.raises(JobStateError) as caught:
            await client.job_result(at_work.job_id)
        assert (caught.value.reason, caught.value.retry_after is not None) == ("JOB_NOT_DONE", True)
        assert (await client.get_job(queued.job_id)).progress.queue_position == 0
        assert state_name(await client.cancel_job(queued.job_id)) == "cancelled"
        engine.gate.clear()
        (attempt,) = running.server.jobs.worker.attempts
        await asyncio.sleep(0.1)
        done = engine.steps_done
        assert state_name(await client.cancel_job(at_work.job_id)) == "cancelled"
        await until(lambda: attempt.end is not None)
        engine.gate.set()
        await until(lambda: engine.running == 0)
        assert engine.steps_done == done + 1
        await until(lambda: running.server.animation.slots.running == 0)
        assert [seen.change for seen in await watched(client, queued.job_id)] == [1, 2]
        assert state_name(await client.cancel_job(at_work.job_id)) == "cancelled"
        for job in (at_work, queued):
            with pytest.raises(JobStateError) as caught:
                await client.job_result(job.job_id)
            assert caught.value.reason == "JOB_CANCELLED"
        engine.steps, engine.step_seconds = 2, 0.0
        finished = await client.create_job(rig.rig_id, "ends")
        await watched(client, finished.job_id)
        assert state_name(await client.cancel_job(finished.job_id)) == "succeeded"
        assert len((await client.job_result(finished.job_id)).clip) == 60
    assert [request.prompt for request in engine.calls] == ["walks", "ends"]


async def test_a_job_that_cannot_be_made_says_why(start: Start) -> None:
    engine = FakeEngine(spoil=True)
    async with start(engine) as (running, client):
        rig = await client.upload(running.glb)
        job = await client.create_job(rig.rig_id, "waves")
        failed = (await watched(client, job.job_id))[-1]
        assert state_name(failed) == "failed"
        assert (failed.error.reason, failed.error.code) == ("NO_MOTION", grpc.StatusCode.ABORTED.value[0])
        assert "seed" in str(job_error(failed))
        with pytest.raises(JobStateError) as caught:
            await client.job_result(job.job_id)
        assert caught.value.reason == "JOB_FAILED"


async def test_a_defect_is_told_without_its_trace(start: Start) -> None:
    async with start(FakeEngine(failure=RuntimeError("/home/secret/path"))) as (running, client):
        rig = await client.upload(running.glb)
        job = await client.create_job(rig.rig_id, "waves")
        failed = (await watched(client, job.job_id))[-1]
    assert failed.error.reason == "INTERNAL"
    assert "secret" not in str(failed)


async def test_an_engine_that_fails_gets_the_job_again_and_at_last_gives_up(start: Start, monkeypatch) -> None:
    from animax.errors import EngineError

    monkeypatch.setattr("animax.service.jobs.attempt.ENGINE_PAUSE", 0.05)
    monkeypatch.setattr("animax.service.readiness.FIRST_RETRY", 0.05)
    engine = FakeEngine(failure=EngineError("the device is lost"))
    async with start(engine) as (running, client):
        rig = await client.upload(running.glb)
        job = await client.create_job(rig.rig_id, "waves")
        changes = await watched(client, job.job_id)
    states = [state_name(seen) for seen in changes]
    assert [state for i, state in enumerate(states) if not i or state != states[i - 1]] == [
        *("queued", "running") * 3,
        "failed",
    ]
    assert changes[-1].error.reason == "ENGINE_FAILED"
    assert changes[-1].attempts == 3
    assert len(engine.calls) == 3


async def test_lists_are_filtered_and_paged(start: Start) -> None:
    from tests.service.chain_glb import chain_glb

    engine = FakeEngine()
    engine.gate.clear()
    async with start(engine) as (_, client):
        rigs = [(await client.upload(chain_glb(joints))).rig_id for joints in (4, 5)]
        made = [
            await client.create_job(rigs[i % 2], f"number {i}", labels={"parity": str(i % 2), "i": str(i)})
            for i in range(11)
        ]
        await client.cancel_job(made[3].job_id)

        async def listed(**which: object) -> list[str]:
            return [job.animation.prompt async for job in client.list_jobs(page_size=3, **which)]  # type: ignore[arg-type]

        latest_first = [f"number {i}" for i in reversed(range(11))]
        assert await listed() == latest_first
        assert await listed(rig_id=rigs[1]) == [f"number {i}" for i in (9, 7, 5, 3, 1)]
        assert await listed(labels={"parity": "0"}, states=["queued", "running"]) == latest_first[::2]
        assert await listed(labels={"parity": "1", "i": "7"}) == ["number 7"]
        assert await listed(states=["cancelled"]) == ["number 3"]
        assert await listed(states=["succeeded"]) == []
        with pytest.raises(OptionError):
            await listed(states=["unheard of"])


async def test_pages_are_whole_while_jobs_come_in(start: Start) -> None:
    engine = FakeEngine()
    engine.gate.clear()
    async with start(engine) as (running, client):
        rig = await client.upload(running.glb)
        before = [(await client.create_job(rig.rig_id, f"before {i}")).job_id for i in range(12)]

        async def insert() -> None:
            for i in range(12):
                await client.create_job(rig.rig_id, f"meanwhile {i}")

        inserting = asyncio.create_task(insert())
        seen = []
        async for job in client.list_jobs(page_size=2):
            seen.append(job.job_id)
            await asyncio.sleep(0.005)
        await inserting
        assert len(set(seen)) == len(seen)
        assert [job_id for job_id in seen if job_id in before] == before[::-1]


@pytest.mark.parametrize("token", ["x", "eA==", "MS4=", "A" * 500, "ü"])
async def test_a_page_token_of_ones_own_is_refused(start: Start, token: str) -> None:
    async with start() as (running, _), running.channel() as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await job_pb_grpc.JobServiceStub(channel).ListJobs(job_pb.ListJobsRequest(page_token=token))
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT


async def test_no_message_is_too_large(start: Start) -> None:
    engine = FakeEngine()
    engine.gate.clear()
    labels = {f"{i:02}" + "n" * 60: "ä" * 255 for i in range(16)}
    async with start(engine) as (running, client):
        rig = await client.upload(running.glb)
        for i in range(24):
            await client.create_job(rig.rig_id, f"{i} " + "x" * 490, labels=labels)
        async with running.channel() as channel:
            page = await job_pb_grpc.JobServiceStub(channel).ListJobs(job_pb.ListJobsRequest(page_size=200))
        assert 1 < len(page.jobs) < 24
        assert page.ByteSize() < 256 * 1024
        assert len([job async for job in client.list_jobs(page_size=200)]) == 24


async def test_a_full_queue_is_said_at_once(start: Start, settings) -> None:
    from dataclasses import replace

    engine = FakeEngine()
    engine.gate.clear()
    async with start(engine, replace(settings, max_queued=2)) as (running, client):
        rig = await client.upload(running.glb)
        await client.create_job(rig.rig_id, "runs")
        await until(lambda: engine.running == 1)
        for _ in range(2):
            await client.create_job(rig.rig_id, "waits")
        with pytest.raises(BusyError) as caught:
            await client.create_job(rig.rig_id, "too many")
        assert (caught.value.reason, caught.value.retry_after) == ("QUEUE_FULL", 10.0)


async def test_requests_go_first_and_jobs_are_not_starved(start: Start) -> None:
    engine = FakeEngine(steps=2, step_seconds=0.01)
    async with start(engine, max_queued=100) as (running, client):
        rig = await client.upload(running.glb)
        engine.gate.clear()
        holder = asyncio.create_task(client.animate(rig.rig_id, "request first").collect())
        await until(lambda: engine.running == 1)
        jobs = [await client.create_job(rig.rig_id, f"job {i}") for i in range(3)]
        requests = [asyncio.create_task(client.animate(rig.rig_id, f"request {i}").collect()) for i in range(12)]
        slots = running.server.animation.slots
        await until(lambda: slots.waiting == 12 and slots.background == 1)
        engine.gate.set()
        await asyncio.gather(holder, *requests)
        for job in jobs:
            await watched(client, job.job_id)
    order = "".join(request.prompt[0] for request in engine.calls)
    assert order.startswith("rrrrj")  # the holder, three that waited, then the job's turn
    assert order.count("j") == 3
    assert "jj" not in order[: order.rindex("r")]


async def test_a_server_without_a_store_says_so(running) -> None:
    async with AsyncClient(running.target) as client:
        assert not (await client.capabilities()).HasField("jobs")
        with pytest.raises(Exception, match="UNIMPLEMENTED"):
            await client.get_job("0" * 32)


async def test_capabilities_tell_the_limits(start: Start, settings) -> None:
    async with start() as (_, client):
        limits = (await client.capabilities()).jobs
    assert (limits.max_attempts, limits.max_queued) == (settings.max_attempts, settings.max_queued)


async def test_a_drain_ends_watches_and_gives_jobs_back(start: Start) -> None:
    engine = FakeEngine(steps=1000, step_seconds=0.02)
    async with start(engine) as (running, client):
        rig = await client.upload(running.glb)
        job = await client.create_job(rig.rig_id, "endless")
        await until(lambda: engine.running == 1)
        seen: list[job_pb.Job] = []

        async def watch() -> None:
            async for change in client.watch_job(job.job_id):  # one that is not told must not take what was seen
                seen.append(change)  # noqa: PERF401

        watching = asyncio.create_task(watch())
        await until(lambda: len(seen) > 2)
        await running.server.stop()
        with pytest.raises(UnavailableError) as caught:
            await watching
        assert caught.value.reason == "DRAINING"
    async with start(FakeEngine()) as (_, client):
        rest = await watched(client, job.job_id, seen[-1].change)
        assert state_name(rest[-1]) == "succeeded"
        assert rest[-1].attempts == 1  # one that left was none
        assert [change.change for change in (*seen, *rest)] == list(range(1, rest[-1].change + 1))


def test_the_blocking_client_does_the_same(settings) -> None:
    with serving_in_thread(jobs=settings) as running, Client(running.target) as client:
        rig = client.upload(running.glb)
        job = client.create_job(rig.rig_id, "waves", request_id="one", files=["bvh"])
        assert client.create_job(rig.rig_id, "waves", request_id="one", files=["bvh"]).job_id == job.job_id
        assert state_name(list(client.watch_job(job.job_id))[-1]) == "succeeded"
        assert [listed.job_id for listed in client.list_jobs()] == [job.job_id]
        assert state_name(client.cancel_job(job.job_id)) == "succeeded"
        result = client.job_result(job.job_id)
        assert hashlib.sha256(result.files[0]["bvh"]).hexdigest() == result.summary.clips[0].files[0].sha256
        assert client.get_job(job.job_id).result.size_bytes > 1000
