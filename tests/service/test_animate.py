"""One request from header to summary."""

from __future__ import annotations

import asyncio
import time

import numpy as np
import pytest

from animax import rotations
from animax.assets import load_rig, read_clips
from animax.client import AsyncClient
from animax.errors import GenerationError, OptionError, UnknownRigError
from animax.request import JointMask, PinnedPose, PoseSource, PromptChange, Request, RootMode
from animax.v1 import animation_service_pb2 as pb
from tests.service.conftest import Running, serving
from tests.service.engine import FakeEngine, wave

KINDS = {pb.Header: "h", pb.Progress: "p", pb.ClipStart: "c", pb.Frames: "f", pb.FileChunk: "x", pb.Summary: "s"}


async def events(client: AsyncClient, *order: object, **options: object) -> list[object]:
    return [event async for event in client.animate(*order, **options)]  # type: ignore[arg-type]


async def test_the_clip_that_arrives_is_the_one_that_was_made(
    running: Running, client: AsyncClient, rig_id: str
) -> None:
    request = Request("turns  around ", seconds=1.5, fps=24, seed=7, root_mode=RootMode.ROOT_MOTION, loop=True)
    result = await client.animate(rig_id, request).collect()
    rig = load_rig(running.glb)
    made = wave(rig, request)
    assert result.header.prompt == "turns around"
    assert result.clip.fps == 24
    assert result.clip.loop
    # forward kinematics of what was streamed, on the skeleton that was streamed, against the original's
    streamed = result.skeleton.positions(result.clip.pose)
    np.testing.assert_allclose(streamed, rig.skeleton.positions(made.pose), atol=1e-5)
    assert np.all(np.sum(result.clip.pose.rotations[1:] * result.clip.pose.rotations[:-1], axis=-1) >= 0)


async def test_messages_come_in_the_order_of_the_contract(running: Running, client: AsyncClient, rig_id: str) -> None:
    got = await events(client, rig_id, Request("walks", seconds=3, fps=30), variants=2, files=["bvh", "glb"])
    kinds = "".join(KINDS[type(event)] for event in got)
    clip = "cf" + "f" * 3 + "x" + "xxxx"
    compact = kinds.replace("p", "")
    assert compact == "h" + clip + clip + "s", kinds
    frames = [event for event in got if isinstance(event, pb.Frames)]
    assert [f.frame_count for f in frames] == [1, 30, 30, 29] * 2
    assert [c.seed for c in got[-1].clips] == [0, 1]
    fractions = [event.fraction for event in got if isinstance(event, pb.Progress)]
    assert fractions == sorted(fractions)


async def test_files_arrive_whole(client: AsyncClient, rig_id: str) -> None:
    result = await client.animate(rig_id, "walks", files=["glb", "bvh"]).collect()
    assert set(result.files[0]) == {"glb", "bvh"}
    assert result.files[0]["bvh"].decode() == "HIERARCHY 6 MOTION 60 ü"
    assert len(result.files[0]["glb"]) == 600_000
    assert [f.size_bytes for f in result.summary.clips[0].files] == [len(d) for d in result.files[0].values()]


async def test_streamed_files_are_readable_and_hold_the_streamed_motion() -> None:
    async with serving(writers=None) as running, AsyncClient(running.target) as client:
        rig_id = (await client.upload(running.glb)).rig_id
        result = await client.animate(
            rig_id, Request("waves", root_mode=RootMode.ROOT_MOTION), files=["glb", "bvh"]
        ).collect()
    written = result.files[0]["glb"]
    rig = load_rig(written)
    (clip,) = read_clips(rig, fps=result.clip.fps)
    streamed = result.skeleton.positions(result.clip.pose)
    np.testing.assert_allclose(rig.skeleton.positions(clip.pose), streamed, atol=1e-4)
    assert result.files[0]["bvh"].startswith(b"HIERARCHY")


async def test_only_joints_that_move_are_sent(client: AsyncClient, rig_id: str) -> None:
    for mode, translated in ((RootMode.IN_PLACE, []), (RootMode.ROOT_MOTION, [0])):
        got = await events(client, rig_id, Request("walks", root_mode=mode))
        start = next(event for event in got if isinstance(event, pb.ClipStart))
        assert list(start.rotated_joints) == [1, 2, 3, 4, 5]
        assert list(start.translated_joints) == translated


async def test_same_request_same_bytes(running: Running, client: AsyncClient, rig_id: str) -> None:
    def clip_bytes(got: list[object]) -> bytes:
        kept = (pb.Header, pb.ClipStart, pb.Frames)
        return b"".join(e.SerializeToString(deterministic=True) for e in got if isinstance(e, kept))

    first, second = [await events(client, rig_id, Request("hops", seed=5)) for _ in range(2)]
    other = await events(client, rig_id, Request("hops", seed=6))
    assert clip_bytes(first) == clip_bytes(second) != clip_bytes(other)


async def test_variants_equal_single_requests(client: AsyncClient, rig_id: str) -> None:
    many = await client.animate(rig_id, Request("hops", seed=11), variants=3).collect()
    for index, clip in enumerate(many.clips):
        single = await client.animate(rig_id, Request("hops", seed=11 + index)).collect()
        np.testing.assert_array_equal(clip.pose.rotations, single.clip.pose.rotations)
        assert many.summary.clips[index].frames_sha256 == single.summary.clips[0].frames_sha256


async def test_a_seed_left_out_is_drawn_and_told(running: Running, rig_id: str) -> None:
    async with running.channel() as channel:
        seeds = []
        for _ in range(2):
            call = running.stub(channel).Animate(pb.AnimateRequest(rig_id=rig_id, prompt="x", seconds=0.5))
            seeds += [message.header.seed async for message in call if message.HasField("header")]
    assert seeds == [request.seed for request in running.engine.calls]
    assert seeds[0] != seeds[1]


async def test_what_is_left_out_is_the_advertised_default(running: Running, client: AsyncClient, rig_id: str) -> None:
    defaults = (await client.capabilities()).defaults
    async with running.channel() as channel:
        call = running.stub(channel).Animate(pb.AnimateRequest(rig_id=rig_id, prompt="x"))
        header = (await call.read()).header
        call.cancel()
    assert (header.seconds, header.fps, header.root_mode) == (defaults.seconds, defaults.fps, defaults.root_mode)
    assert (header.loop, header.foot_cleanup) == (defaults.loop, defaults.foot_cleanup)
    assert not header.HasField("guidance")


async def test_facing_reaches_the_engine_and_the_header(running: Running, client: AsyncClient, rig_id: str) -> None:
    result = await client.animate(rig_id, "walks", facing="-x").collect()
    np.testing.assert_allclose(running.engine.rigs[-1].stance.forward, [-1, 0, 0], atol=1e-12)
    assert running.engine.rigs[-1].stance.source == "override"
    assert list(result.header.stance.forward) == [-1, 0, 0]
    await client.animate(rig_id, "walks").collect()
    assert running.engine.rigs[-1].stance.source != "override"
    with pytest.raises(OptionError) as caught:
        await client.animate(rig_id, "walks", facing="+y").collect()
    assert caught.value.name == "facing"


async def test_progress_at_least_every_second_while_the_engine_is_silent(running: Running) -> None:
    engine = FakeEngine(steps=1, step_seconds=2.2)
    async with serving(engine) as slow, AsyncClient(slow.target) as client:
        rig = await client.upload(slow.glb)
        times = [time.monotonic()]
        positions = []
        second = None
        async for event in client.animate(rig.rig_id, "slow"):
            times.append(time.monotonic())
            if second is None:
                second = client.animate(rig.rig_id, "waits")
                waiting = asyncio.create_task(second.collect(lambda p: positions.append((time.monotonic(), p))))
            assert not isinstance(event, pb.FileChunk)
        await waiting
    assert max(np.diff(times)) < 1.0
    assert len(times) > 4
    queued = [p for _, p in positions if p.stage == pb.STAGE_QUEUED]
    assert len(queued) >= 3
    assert {p.queue_position for p in queued} == {1}
    assert max(np.diff([t for t, _ in positions])) < 1.0


async def test_the_header_comes_before_any_waiting(running: Running, client: AsyncClient, rig_id: str) -> None:
    running.engine.gate.clear()
    first = client.animate(rig_id, "holds the slot")
    async for event in first:
        if isinstance(event, pb.Progress) and event.stage == pb.STAGE_DENOISE:
            break
    began = time.monotonic()
    async for event in client.animate(rig_id, "waits"):
        assert isinstance(event, pb.Header)
        break
    assert time.monotonic() - began < 0.5


async def test_a_fast_engine_does_not_flood_its_reader(client: AsyncClient, running: Running, rig_id: str) -> None:
    running.engine.steps = 3000
    began = time.monotonic()
    got = await events(client, rig_id, "fast")
    assert sum(isinstance(event, pb.Progress) for event in got) <= 2 + (time.monotonic() - began) / 0.05


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"prompt": "   "}, "prompt"),
        ({"prompt": "x" * 501}, "prompt"),
        ({"prompt": "bell\a"}, "prompt"),
        ({"seconds": 0.0}, "seconds"),
        ({"seconds": float("nan")}, "seconds"),
        ({"fps": 1e308}, "fps"),
        ({"fps": -float("inf")}, "fps"),
        ({"guidance": 0.5}, "guidance"),
        ({"steps": 0}, "steps"),
        ({"seed": 2**63}, "seed"),
        ({"seed": 2**63 - 1, "variants": 2}, "seed"),
        ({"variants": 9}, "variants"),
        ({"root_mode": 77}, "root_mode"),
        ({"facing": [0.0, 1.0]}, "facing"),
        ({"facing": [0.0, 0.0, 0.0]}, "facing"),
        ({"facing": [float("nan"), 0.0, 0.0]}, "facing"),
        ({"file_formats": [pb.FILE_FORMAT_GLB, pb.FILE_FORMAT_GLB]}, "file_formats"),
        ({"file_formats": [0]}, "file_formats"),
        ({"first_pose": pb.PoseSource(clip="no such clip")}, "first_pose"),
        ({"last_pose": pb.PoseSource(joints=["no such joint"], rotations=[0, 0, 0, 1])}, "last_pose"),
        ({"last_pose": pb.PoseSource(), "loop": True}, "last_pose"),
        ({"first_pose": pb.PoseSource(joints=["a"], rotations=[0, 0, 1])}, "first_pose"),
        ({"first_pose": pb.PoseSource(joints=["a"], rotations=[0, 0, 1, 1])}, "first_pose"),
        ({"pinned_poses": [pb.PinnedPose(seconds=99)]}, "pinned_poses"),
        ({"pinned_poses": [pb.PinnedPose(seconds=1), pb.PinnedPose(seconds=1)]}, "pinned_poses"),
        ({"prompt_changes": [pb.PromptChange(seconds=1, prompt=" ")]}, "prompt_changes"),
        ({"prompt_changes": [pb.PromptChange(seconds=2, prompt="x")]}, "prompt_changes"),
        ({"joint_mask": pb.JointMask()}, "joint_mask"),
        ({"joint_mask": pb.JointMask(joints=["no such joint"])}, "joint_mask"),
        ({"rig_id": "../../etc/passwd"}, "rig_id"),
        ({"rig_id": "AB" * 32}, "rig_id"),
    ],
)
async def test_every_bad_field_is_named(running: Running, rig_id: str, change: dict[str, object], field: str) -> None:
    from animax.wire.failure import error_of

    message = pb.AnimateRequest(**{"rig_id": rig_id, "prompt": "walks", **change})  # type: ignore[arg-type]
    async with running.channel() as channel:
        with pytest.raises(Exception) as caught:  # noqa: PT011 - examined below
            await running.stub(channel).Animate(message).read()
    error = error_of(caught.value)
    assert isinstance(error, OptionError)
    assert error.name == field
    assert error.accepted
    assert not running.engine.calls


async def test_controls_reach_the_engine(running: Running, client: AsyncClient, rig_id: str) -> None:
    name = load_rig(running.glb).skeleton.names[1]
    request = Request(
        "walks",
        first_pose=PoseSource(),
        last_pose=PoseSource(rotations=((name, (0.6, 0.0, 0.0, 0.8)),)),
        pinned_poses=(PinnedPose(0.5, PoseSource()),),
        prompt_changes=(PromptChange(0.25, "trots"), PromptChange(1.5, "stops")),
        joint_mask=JointMask((name,), alone=True),
    )
    await client.animate(rig_id, request).collect()
    got = running.engine.calls[-1]
    assert (got.first_pose, got.pinned_poses) == (request.first_pose, request.pinned_poses)
    assert (got.prompt_changes, got.joint_mask) == (request.prompt_changes, request.joint_mask)
    assert got.last_pose is not None
    ((joint, turn),) = got.last_pose.rotations
    assert joint == name
    np.testing.assert_allclose(turn, [0.6, 0, 0, 0.8], atol=1e-7)


async def test_an_unknown_rig_is_not_found(client: AsyncClient) -> None:
    with pytest.raises(UnknownRigError):
        await client.animate("0" * 64, "walks").collect()


async def test_numbers_that_are_not_finite_never_leave(running: Running, client: AsyncClient, rig_id: str) -> None:
    running.engine.spoil = True
    with pytest.raises(GenerationError):
        await client.animate(rig_id, "walks").collect()
    running.engine.spoil = False
    assert len((await client.animate(rig_id, "walks").collect()).clip) == 60


async def test_streamed_quaternions_are_unit(client: AsyncClient, rig_id: str) -> None:
    got = await events(client, rig_id, "walks")
    numbers = np.concatenate([np.array(e.rotations).reshape(-1, 4) for e in got if isinstance(e, pb.Frames)])
    np.testing.assert_allclose(np.linalg.norm(numbers, axis=-1), 1.0, atol=1e-6)
    assert rotations.between(numbers[:5], numbers[5:10]).max() > 0.001
