"""Retargeting as clients see it, on a real server: over gRPC and gRPC-Web, of files and of jobs."""

from __future__ import annotations

import asyncio
import hashlib
import json
import threading
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import grpc
import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from animax.assets import load_rig, read_clips
from animax.bone_map import BoneMap, ChainPair
from animax.client import AsyncClient, Client, clip_source
from animax.errors import (
    BoneMapError,
    BusyError,
    DeadlineExceeded,
    JobStateError,
    OptionError,
    UnknownJobError,
    UnknownRigError,
)
from animax.procedural import generate
from animax.request import Request, RetargetRequest, RootMode
from animax.retargeting import choose_clip, retarget_clip
from animax.service.access.settings import AuthSettings
from animax.service.access.token_file import new_token, token_line
from animax.service.generation import Writers
from animax.service.jobs.settings import in_folder
from animax.v1 import animation_service_pb2 as pb
from animax.v1 import retarget_service_pb2 as retarget_pb
from animax.v1 import retarget_service_pb2_grpc as retarget_pb_grpc
from animax.wire.retarget import retarget_message
from tests.service.chain_glb import chain_glb
from tests.service.conftest import Running, serving, serving_in_thread, until
from tests.service.engine import FakeEngine
from tests.service.web_client import wire

RETARGETING = "/animax.v1.RetargetService/"
FROM, ONTO = generate("quadruped"), generate("quadruped", seed=5)
SOURCE, TARGET = load_rig(FROM), load_rig(ONTO)
NAMES = [clip.name for clip in read_clips(SOURCE)]
NAME = NAMES[0]


@pytest.fixture(scope="module")
def expected():
    """What the library makes of the clip."""
    return retarget_clip(choose_clip(SOURCE, NAME), SOURCE, TARGET, RetargetRequest())


@pytest.fixture
async def running() -> AsyncIterator[Running]:
    async with serving(writers=None, progress_seconds=0.02) as server:
        yield server


async def uploaded(client: AsyncClient) -> tuple[retarget_pb.ClipSource, str]:
    source, target = await client.upload(FROM), await client.upload(ONTO)
    return clip_source(NAME, rig_id=source.rig_id), target.rig_id


async def test_a_clip_of_a_file_is_what_the_library_makes(running, expected):
    async with AsyncClient(running.target) as client:
        source, target = await uploaded(client)
        result = await client.retarget(source, target, files=["glb", "bvh"]).collect()
    assert result.header.rig_id == target == hashlib.sha256(ONTO).hexdigest()
    assert result.skeleton.names == TARGET.skeleton.names
    assert (result.header.prompt, result.clip.name, result.clip.loop) == (NAME, NAME, expected.clip.loop)
    assert (result.header.fps, len(result.clip)) == (expected.clip.fps, len(expected.clip))
    at = TARGET.skeleton.positions(expected.clip.pose)
    np.testing.assert_allclose(result.skeleton.positions(result.clip.pose), at, atol=1e-4)
    assert result.bones == expected.bones
    assert [pair.found_by for pair in result.bones.pairs] == [pair.found_by for pair in expected.bones.pairs]
    assert result.summary.clips[0].confidence == pytest.approx(expected.confidence, abs=1e-3)
    made = load_rig(result.files[0]["glb"])
    read = choose_clip(made, NAME, index=len(read_clips(TARGET)))
    np.testing.assert_allclose(made.skeleton.positions(read.pose), at, atol=1e-3)
    assert result.files[0]["bvh"].startswith(b"HIERARCHY")


async def test_the_stream_keeps_its_order(running):
    async with AsyncClient(running.target) as client, running.channel() as channel:
        source, target = await uploaded(client)
        request = retarget_message(source, target, RetargetRequest(fps=12), file_formats=["bvh"])
        call = retarget_pb_grpc.RetargetServiceStub(channel).Retarget(request)
        kinds = [message.WhichOneof("event") async for message in call]
    kinds = [kind for kind in kinds if kind != "progress"]
    assert list(dict.fromkeys(kinds)) == ["header", "bone_map", "clip_start", "frames", "file_chunk", "summary"]
    assert kinds.count("header") == kinds.count("bone_map") == kinds.count("summary") == 1


async def test_options_do_what_they_say(running):
    async with AsyncClient(running.target) as client:
        source, target = await uploaded(client)

        async def make(**options):
            return (await client.retarget(source, target, RetargetRequest(**options)).collect()).clip

        assert (await make(fps=12)).fps == 12
        fixed = await make(root_mode=RootMode.FIXED_BASE)
        rest = TARGET.skeleton.rest_globals[:, :3, 3]
        assert np.ptp(TARGET.skeleton.positions(fixed.pose), axis=0).max() > 0.05
        still = [
            n for n in range(len(rest)) if np.ptp(TARGET.skeleton.positions(fixed.pose)[:, n], axis=0).max() < 1e-4
        ]
        assert still
        as_it_is, loose = await make(), await make(foot_cleanup=False)
        assert as_it_is.pose.rotations.shape == loose.pose.rotations.shape


async def test_a_dry_run_tells_the_map_and_takes_it_back_corrected(running, expected):
    async with AsyncClient(running.target) as client:
        source, target = await uploaded(client)
        found = await client.map_bones(clip_source(rig_id=source.file.rig_id), target)
        assert found.bones == expected.bones
        assert {pair.found_by for pair in found.bones.pairs} <= {"name", "shape"}
        assert all(0 < pair.confidence <= 1 for pair in found.bones.pairs)
        driven = {name for pair in found.bones.pairs for name in pair.target}
        assert not driven & set(found.resting)
        # through a file, whole: the same motion, bit for bit
        whole = BoneMap.from_dict(json.loads(json.dumps(found.bones.as_dict())))
        plain = await client.retarget(source, target).collect()
        same = await client.retarget(source, target, RetargetRequest(bones=whole, only_given=True)).collect()
        assert same.summary.clips[0].frames_sha256 == plain.summary.clips[0].frames_sha256
        # one limb left out: it rests, and the answer says so
        limb = next(pair for pair in found.bones.pairs if len(pair.target) > 2)
        correction = RetargetRequest(bones=BoneMap((ChainPair((), limb.target),)))
        answer = await client.map_bones(source, target, correction)
        assert set(limb.target) <= set(answer.resting)
        assert set(limb.source) <= set(answer.unused)
        made = await client.retarget(source, target, correction).collect()
        joints = [TARGET.skeleton.names.index(name) for name in limb.target]
        np.testing.assert_allclose(
            made.clip.pose.rotations[:, joints[1:]],
            np.broadcast_to(TARGET.skeleton.rest.rotations[joints[1:]], (len(made.clip), len(joints) - 1, 4)),
            atol=1e-5,
        )


async def test_given_pairs_are_told_as_given(running):
    async with AsyncClient(running.target) as client:
        source, target = await uploaded(client)
        pair = (await client.map_bones(source, target)).bones.pairs[-1]
        given = RetargetRequest(bones=BoneMap((ChainPair(pair.source, pair.target),)))
        answer = await client.map_bones(source, target, given)
        assert (answer.bones.pairs[0].found_by, answer.bones.pairs[0].confidence) == ("given", 1.0)
        alone = await client.map_bones(source, target, RetargetRequest(bones=given.bones, only_given=True))
        assert len(alone.bones.pairs) == 1
        assert any("stay at rest" in warning for warning in alone.warnings)


async def test_which_animation_is_meant(running):
    # the second animation under the name of the first; same length, so that nothing else of the file changes
    twice = FROM.replace(f'"{NAMES[1]}"'.encode(), f'"{NAME}"'.encode().ljust(len(NAMES[1]) + 2))
    async with AsyncClient(running.target) as client:
        source, target = await uploaded(client)
        double, bare = await client.upload(twice), await client.upload(chain_glb())
        by_number = await client.retarget(clip_source(0, rig_id=source.file.rig_id), target).collect()
        assert by_number.clip.name == NAME
        for asked, told in (
            (clip_source(rig_id=source.file.rig_id), NAME),
            (clip_source("flies", rig_id=source.file.rig_id), NAME),
            (clip_source(NAME, rig_id=double.rig_id), "index"),
            (clip_source(99, rig_id=source.file.rig_id), f"0 to {len(NAMES) - 1}"),
            (clip_source(rig_id=bare.rig_id), "none"),
        ):
            with pytest.raises(OptionError) as caught:
                await client.retarget(asked, target).collect()
            assert told in str(caught.value)
            assert caught.value.name in ("clip", "clip_index")


async def test_what_cannot_be_done_is_told_by_name(running):
    async with AsyncClient(running.target) as client, running.channel() as channel:
        source, target = await uploaded(client)
        ours, theirs = SOURCE.skeleton.names[1], TARGET.skeleton.names[1]

        def given(*pairs):
            return RetargetRequest(bones=BoneMap(tuple(ChainPair(a, b) for a, b in pairs)))

        for request, told in (
            (given((("nobody",), (theirs,))), "nobody"),
            (given(((ours,), ("nobody",))), "nobody"),
            (given(((ours,), (theirs,)), ((ours,), (theirs,))), theirs),
        ):
            for call in (client.map_bones(source, target, request), client.retarget(source, target, request).collect()):
                with pytest.raises(OptionError, match=told):
                    await call
        with pytest.raises(BoneMapError):
            await client.retarget(source, target, RetargetRequest(bones=BoneMap(()), only_given=True)).collect()
        for asked, onto in ((source, "0" * 64), (clip_source(NAME, rig_id="0" * 64), target)):
            with pytest.raises(UnknownRigError, match="0" * 64):
                await client.retarget(asked, onto).collect()
        with pytest.raises(UnknownJobError, match="keeps no jobs"):
            await client.retarget(clip_source(job_id="a" * 32), target).collect()
        stub = retarget_pb_grpc.RetargetServiceStub(channel)
        both = retarget_pb.ClipSource(file=retarget_pb.FileClip(rig_id=source.file.rig_id, clip=NAME, clip_index=0))
        for wrong in (
            retarget_pb.RetargetRequest(target_rig_id=target),
            retarget_pb.RetargetRequest(source=source, target_rig_id="x"),
            retarget_pb.RetargetRequest(source=both, target_rig_id=target),
            retarget_pb.RetargetRequest(source=source, target_rig_id=target, fps=1e9),
            retarget_pb.RetargetRequest(source=source, target_rig_id=target, root_scale=float("nan")),
            retarget_pb.RetargetRequest(source=source, target_rig_id=target, root_mode=99),
            retarget_pb.RetargetRequest(source=source, target_rig_id=target, file_formats=[7]),
            retarget_pb.RetargetRequest(source=source, target_rig_id=target, only_given=True),
            retarget_pb.RetargetRequest(source=source, target_rig_id=target, target_facing=[1.0]),
            retarget_pb.RetargetRequest(
                source=source, target_rig_id=target, bone_map={"chains": [{"source": [ours], "target": []}]}
            ),
        ):
            code = await stub.Retarget(wrong).code()
            assert code is grpc.StatusCode.INVALID_ARGUMENT, wrong


async def test_a_clip_that_is_too_long_is_refused_before_anything_is_done(running, monkeypatch):
    monkeypatch.setattr("animax.retargeting.MOST_SAMPLES", 100)
    async with AsyncClient(running.target) as client:
        source, target = await uploaded(client)
        with pytest.raises(OptionError, match="frames times joints"):
            await client.retarget(source, target).collect()


async def test_the_way_a_rig_faces_can_be_said(running):
    async with AsyncClient(running.target) as client:
        source, target = await uploaded(client)
        result = await client.retarget(source, target, facing="-z").collect()
        assert list(result.header.stance.forward) == pytest.approx([0, 0, -1])


numbers = st.floats(width=32) | st.sampled_from([0.0, 1.0, -1.0, 24.0, 1e308])
joint_names = st.sampled_from([SOURCE.skeleton.names[1], TARGET.skeleton.names[1], "", "nobody"]) | st.text(max_size=6)
some_names = st.lists(joint_names, max_size=3)
chains = st.builds(retarget_pb.ChainPair, source=some_names, target=some_names, found_by=st.integers(-1, 5))
sources = st.builds(
    lambda rig, clip, index, job, variant, facing, kind: retarget_pb.ClipSource(
        facing=facing,
        **(
            {"file": retarget_pb.FileClip(rig_id=rig, clip=clip, clip_index=index)}
            if kind == 0
            else {"job": retarget_pb.JobClip(job_id=job, variant=variant)}
            if kind == 1
            else {}
        ),
    ),
    st.sampled_from(["known", "0" * 64, "", "../x"]),
    st.sampled_from([NAME, "", "flies", "\0"]) | st.text(max_size=5),
    st.none() | st.integers(0, 2**32 - 1) | st.just(1),
    st.sampled_from(["a" * 32, "", "x"]),
    st.integers(0, 2**32 - 1),
    st.lists(st.floats(width=32), max_size=4),
    st.sampled_from([0, 0, 0, 0, 1, 2]),
)
requests = st.builds(
    lambda **fields: retarget_pb.RetargetRequest(
        **{name: value for name, value in fields.items() if value is not None}
    ),
    source=sources,
    target_rig_id=st.sampled_from(["other", "other", "0" * 64, ""]),
    target_facing=st.lists(st.floats(width=32), max_size=4),
    bone_map=st.none() | st.builds(retarget_pb.BoneMap, chains=st.lists(chains, max_size=3)),
    only_given=st.booleans(),
    fps=st.none() | numbers,
    root_mode=st.integers(-2, 5),
    root_scale=st.none() | numbers,
    foot_cleanup=st.none() | st.booleans(),
    file_formats=st.lists(st.integers(-1, 4), max_size=2),
)


def test_no_request_whatever_is_an_internal_error():
    """Every combination of fields ends in a whole stream or in a status that blames the request."""
    accepted = {grpc.StatusCode.OK, grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND}
    accepted.add(grpc.StatusCode.FAILED_PRECONDITION)
    with (
        serving_in_thread(writers=None) as running,
        grpc.insecure_channel(running.target, [("grpc.enable_http_proxy", 0)]) as channel,
        Client(running.target) as client,
    ):
        ids = {"known": client.upload(FROM).rig_id, "other": client.upload(ONTO).rig_id}
        stub = retarget_pb_grpc.RetargetServiceStub(channel)

        @hypothesis.settings(max_examples=60, deadline=None, suppress_health_check=list(hypothesis.HealthCheck))
        @hypothesis.given(requests)
        def attempt(message: retarget_pb.RetargetRequest) -> None:
            message.target_rig_id = ids.get(message.target_rig_id, message.target_rig_id)
            if message.source.HasField("file"):
                message.source.file.rig_id = ids.get(message.source.file.rig_id, message.source.file.rig_id)
            stream = stub.Retarget(message)
            with suppress(grpc.RpcError):
                for _ in stream:
                    pass
            assert stream.code() in accepted, (stream.code(), stream.details(), message)

        attempt()


class Held:
    """Writers that wait: work that takes as long as a test likes."""

    def __init__(self) -> None:
        self.gate, self.began = threading.Event(), threading.Semaphore(0)
        self.entered = 0

    def glb(self, *_):
        self.entered += 1
        self.gate.wait(20)
        return b"glTF"

    def bvh(self, *_):
        return "HIERARCHY"

    def writers(self) -> Writers:
        return Writers(self.glb, self.bvh)


async def test_a_full_queue_is_told_at_once_and_waiting_is_told_with_its_place():
    held = Held()
    async with (
        serving(writers=held.writers(), max_queued=1, progress_seconds=0.02) as running,
        AsyncClient(running.target) as client,
        running.channel() as channel,
    ):
        source, target = await uploaded(client)
        request = retarget_message(source, target, RetargetRequest(), file_formats=["glb"])
        stub = retarget_pb_grpc.RetargetServiceStub(channel)
        calls = [stub.Retarget(request) for _ in range(2)]
        readers = [asyncio.create_task(drain(call)) for call in calls]
        await until(lambda: held.entered == 2)
        third = stub.Retarget(request)
        seen = []
        async for message in third:
            seen.append(message)
            if message.HasField("progress") and message.progress.stage == pb.STAGE_QUEUED:
                break
        assert [seen[0].WhichOneof("event"), seen[1].WhichOneof("event")] == ["header", "bone_map"]
        assert seen[-1].progress.queue_position == 1
        with pytest.raises(BusyError) as caught:
            await client.retarget(source, target).collect()
        assert caught.value.reason == "QUEUE_FULL"
        with pytest.raises(BusyError):
            await client.map_bones(source, target)
        third.cancel()
        held.gate.set()
        for kinds in await asyncio.gather(*readers):
            assert kinds[-1] == "summary"
        await client.retarget(source, target).collect()  # everything was given back


async def drain(call) -> list[str]:
    return [message.WhichOneof("event") async for message in call]


async def test_a_call_that_is_cancelled_or_late_stops_and_gives_its_place_back():
    held = Held()
    async with (
        serving(writers=held.writers(), max_queued=0, max_request_seconds=30, progress_seconds=0.02) as running,
        AsyncClient(running.target) as client,
    ):
        source, target = await uploaded(client)
        stream = client.retarget(source, target, files=["glb", "bvh"])
        reading = asyncio.create_task(stream.collect())
        await until(lambda: held.entered == 1)
        stream.cancel()
        with pytest.raises(Exception, match="cancel"):
            await reading
        late = asyncio.create_task(client.retarget(source, target, files=["glb"], timeout=4).collect())
        await until(lambda: held.entered == 2)
        with pytest.raises(DeadlineExceeded):
            await late
        # both threads are at work still: their places are taken until they end
        with pytest.raises(BusyError):
            await client.retarget(source, target).collect()
        held.gate.set()
        for _ in range(200):
            try:
                await client.retarget(source, target).collect()
                break
            except BusyError:
                await asyncio.sleep(0.02)
        else:
            pytest.fail("the places were not given back")


async def test_the_servers_own_limit_holds():
    held = Held()
    async with (
        serving(writers=held.writers(), max_request_seconds=0.8, progress_seconds=0.02) as running,
        AsyncClient(running.target) as client,
    ):
        source, target = await uploaded(client)
        with pytest.raises(DeadlineExceeded, match=r"0\.8"):
            await client.retarget(source, target, files=["glb"]).collect()
        held.gate.set()


async def test_grpc_web_brings_the_same_messages():
    async with serving(writers=None, web_port=0) as running, AsyncClient(running.target) as client:
        source, target = await uploaded(client)
        request = retarget_message(source, target, RetargetRequest(fps=12))
        assert running.server.web is not None
        async with wire(running.server.web.port) as connection:
            answer = await connection.call(RETARGETING + "Retarget", request)
            told = await connection.call(
                RETARGETING + "MapBones", retarget_pb.MapBonesRequest(source=source, target_rig_id=target)
            )
        expected = await client.retarget(source, target, RetargetRequest(fps=12)).collect()
        messages = [retarget_pb.RetargetResponse.FromString(message) for message in answer.messages]
        assert messages[-1].summary.clips[0].frames_sha256 == expected.summary.clips[0].frames_sha256
        assert retarget_pb.MapBonesResponse.FromString(told.messages[0]).bone_map == messages[1].bone_map


async def test_it_is_counted_and_answers_while_a_model_warms_up():
    from tests.service.engine import FakeModel

    model = FakeModel()
    model.gate.clear()
    async with serving(model=model, warm=False, writers=None) as running, AsyncClient(running.target) as client:
        source, target = await uploaded(client)
        assert not (await client.capabilities()).ready
        await client.retarget(source, target).collect()
        with pytest.raises(OptionError):
            await client.retarget(clip_source("flies", rig_id=source.file.rig_id), target).collect()
        metrics = running.server.observer.metrics

        def ended() -> dict[str, float]:
            return {
                sample.labels["code"]: sample.value
                for family in metrics.requests.collect()
                for sample in family.samples
                if sample.labels.get("method") == "animax.v1.RetargetService/Retarget"
                and sample.name.endswith("_total")
            }

        await until(lambda: ended() == {"OK": 1, "INVALID_ARGUMENT": 1})
        stages = {
            sample.labels["stage"]
            for family in metrics.stage_seconds.collect()
            for sample in family.samples
            if sample.name.endswith("_count") and sample.value
        }
        assert {"rotations", "clean"} <= stages
        model.gate.set()


async def test_motion_that_is_ordered_counts_against_the_quota(tmp_path):
    token = new_token()
    (tmp_path / "tokens").write_text(token_line("ann", token, {"motion_seconds": int(1.5 * SECONDS)}) + "\n")
    settings = AuthSettings(token_file=tmp_path / "tokens")
    async with serving(auth=settings, writers=None) as running, AsyncClient(running.target, token=token) as client:
        source, target = await uploaded(client)
        await client.retarget(source, target).collect()
        with pytest.raises(BusyError, match="motion") as caught:
            await client.retarget(source, target).collect()
        assert caught.value.reason == "QUOTA_EXCEEDED"


SECONDS = max(0.1, read_clips(SOURCE)[0].seconds)


async def test_what_a_job_made_goes_onto_another_rig(tmp_path: Path):
    async with (
        serving(jobs=in_folder(tmp_path, poll_seconds=0.05), writers=None) as running,
        AsyncClient(running.target) as client,
    ):
        rig, target = await client.upload(FROM), await client.upload(ONTO)
        job = await client.create_job(rig.rig_id, Request("waves", seconds=1), variants=2)
        async for _ in client.watch_job(job.job_id):
            pass
        made = await client.job_result(job.job_id)
        for variant, clip in enumerate(made.clips):
            source = clip_source(job_id=job.job_id, variant=variant)
            result = await client.retarget(source, target.rig_id).collect()
            wanted = retarget_clip(clip, SOURCE, TARGET, RetargetRequest()).clip
            at = [TARGET.skeleton.positions(c.pose) for c in (result.clip, wanted)]
            np.testing.assert_allclose(*at, atol=1e-4)
            assert result.clip.name == "waves"
        assert (await client.map_bones(clip_source(job_id=job.job_id), target.rig_id)).bones == result.bones
        with pytest.raises(OptionError, match="0 to 1"):
            await client.retarget(clip_source(job_id=job.job_id, variant=2), target.rig_id).collect()
        with pytest.raises(UnknownJobError):
            await client.retarget(clip_source(job_id="b" * 32), target.rig_id).collect()


async def test_a_job_that_has_not_ended_has_nothing_to_carry_over(tmp_path: Path):
    engine = FakeEngine()
    engine.gate.clear()
    async with (
        serving(engine, jobs=in_folder(tmp_path, poll_seconds=0.05), writers=None) as running,
        AsyncClient(running.target) as client,
    ):
        rig, target = await client.upload(FROM), await client.upload(ONTO)
        job = await client.create_job(rig.rig_id, "waves")
        source = clip_source(job_id=job.job_id)
        with pytest.raises(JobStateError) as caught:
            await client.retarget(source, target.rig_id).collect()
        assert caught.value.reason == "JOB_NOT_DONE"
        await client.cancel_job(job.job_id)
        with pytest.raises(JobStateError) as caught:
            await client.retarget(source, target.rig_id).collect()
        assert caught.value.reason == "JOB_CANCELLED"


async def test_jobs_of_others_are_not_to_be_had(tmp_path: Path):
    tokens = {name: new_token() for name in ("ann", "ben")}
    (tmp_path / "tokens").write_text("".join(token_line(n, t, {}) + "\n" for n, t in tokens.items()))
    settings = AuthSettings(token_file=tmp_path / "tokens")
    async with (
        serving(auth=settings, jobs=in_folder(tmp_path, poll_seconds=0.05), writers=None) as running,
        AsyncClient(running.target, token=tokens["ann"]) as ann,
        AsyncClient(running.target, token=tokens["ben"]) as ben,
    ):
        rig, target = await ann.upload(FROM), await ann.upload(ONTO)
        job = await ann.create_job(rig.rig_id, "waves")
        async for _ in ann.watch_job(job.job_id):
            pass
        source = clip_source(job_id=job.job_id)
        await ann.retarget(source, target.rig_id).collect()
        with pytest.raises(UnknownJobError):
            await ben.retarget(source, target.rig_id).collect()
        with pytest.raises(UnknownJobError):
            await ben.map_bones(source, target.rig_id)


def test_the_blocking_client_does_the_same(expected):
    with serving_in_thread(writers=None) as running, Client(running.target) as client:
        source = clip_source(NAME, rig_id=client.upload(FROM).rig_id)
        target = client.upload(ONTO).rig_id
        assert client.map_bones(source, target).bones == expected.bones
        stages = []
        result = client.retarget(source, target, files=["glb"]).collect(lambda p: stages.append(p.stage))
        assert result.bones == expected.bones
        assert result.files[0]["glb"][:4] == b"glTF"
        with pytest.raises(OptionError, match="one of the two"):
            clip_source("x")
        with pytest.raises(OptionError, match="fbx"):
            client.retarget(source, target, files=["fbx"])
