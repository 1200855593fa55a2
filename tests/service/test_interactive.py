"""Performances over the wire: order, changes, pacing, ends, cancels."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import grpc
import numpy as np
import pytest

from animax import rotations
from animax.assets.rig import Rig
from animax.assets.skeleton import Pose
from animax.client import AsyncClient
from animax.errors import Cancelled, EngineError, OptionError, StreamError, UnknownRigError
from animax.motion.continuation import Continuation
from animax.motion.steering import Steering
from animax.request import Progress, Request, RootMode, Stage
from animax.v1 import animation_service_pb2 as pb
from animax.wire.interactive import opening_message
from tests.service.chain_glb import chain_glb
from tests.service.conftest import Running, serving, until

NATIVE = 16.0
STEPS = 8


@dataclass
class Theatre:
    """Makes performances whose every step a test can hold, slow down or break."""

    step_seconds: float = 0.0
    failure: BaseException | None = None
    gate: threading.Event = field(default_factory=threading.Event)
    prompts: list[str] = field(default_factory=list)
    steps_done: int = 0
    stopped: int = 0
    running: int = 0

    def __post_init__(self) -> None:
        self.gate.set()

    def __call__(self, rig: Rig, request: Request, model: object, steering: Steering) -> FakePerformance:
        return FakePerformance(self, rig, request, steering)


class FakePerformance:
    """Windows of 24 frames and 9 of history of one endless swing, which a prompt's length makes wider."""

    def __init__(self, stage: Theatre, rig: Rig, request: Request, steering: Steering) -> None:
        self.stage, self.rig = stage, rig
        self.motion = Continuation(
            rig,
            native_fps=NATIVE,
            fps=request.fps,
            root_mode=request.root_mode,
            foot_cleanup=False,
            steering=steering,
        )
        self.rotated_joints, self.translated_joints = self.motion.moving, self.motion.carriers
        self.window_seconds = 24 / NATIVE
        self.begin = 0

    @property
    def available(self) -> int:
        return self.motion.available

    def generate(self, prompt, guidance, *, progress, should_stop):
        stage = self.stage
        stage.prompts.append(prompt)
        stage.running += 1
        try:
            for step in range(STEPS):
                if should_stop():
                    stage.stopped += 1
                    raise Cancelled("stopped between steps")
                progress(Progress(Stage.DENOISE, step / STEPS, step + 1, STEPS))
                stage.gate.wait(20)
                time.sleep(stage.step_seconds)
                stage.steps_done += 1
            if stage.failure is not None:
                raise stage.failure
            history = 9 if self.begin else 0
            at = np.arange(33) + self.begin - history
            angle = 0.05 * len(prompt) * np.sin(2 * np.pi * at / 20)
            skeleton = self.rig.skeleton
            turn = rotations.from_rotation_vector(angle[:, None, None] * np.array([1.0, 0.0, 0.0]))
            local = rotations.multiply(skeleton.rest.rotations, np.repeat(turn, len(skeleton), axis=1))
            self.motion.add(*self.motion.cleaned(skeleton.posed(rotations=local)), history)
            self.begin += 33 - history
        finally:
            stage.running -= 1

    def finish(self) -> None:
        self.motion.finish()

    def take(self, count: int, steering: Steering) -> Pose:
        return self.motion.take(count, steering)


@pytest.fixture
def stage() -> Theatre:
    return Theatre()


@pytest.fixture
async def live(stage: Theatre) -> AsyncIterator[Running]:
    async with serving(perform=stage) as running:
        yield running
        stage.gate.set()


@pytest.fixture
async def watcher(live: Running) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(live.target) as client:
        yield client


@pytest.fixture
async def rig(live: Running, watcher: AsyncClient) -> str:
    return (await watcher.upload(live.glb)).rig_id


def kinds(events: list[object]) -> list[str]:
    return [type(event).__name__ for event in events]


def joint_steps(stream) -> np.ndarray:
    heads = stream.reader.skeleton.positions(stream.clip.pose)
    return np.linalg.norm(np.diff(heads, axis=0), axis=-1).max(axis=1)


async def test_a_performance_of_some_length_is_whole_and_in_order(watcher: AsyncClient, rig: str) -> None:
    stream = watcher.perform(rig, Request("walks", fps=30, seed=3), seconds=7)
    events = [event async for event in stream]
    told = [kind for kind in kinds(events) if kind != "Progress"]
    assert told[:2] == ["Header", "PerformanceStart"]
    assert set(told[2:-1]) == {"Frames"}
    assert told[-1] == "PerformanceSummary"
    assert len(stream.clip) == 210 == stream.reader.summary.frame_count
    assert next(e for e in events if isinstance(e, pb.Frames)).frame_count == 1
    turned = stream.clip.pose.rotations
    assert np.all(np.sum(turned[1:] * turned[:-1], axis=-1) >= 0)


async def test_same_opening_same_frames(watcher: AsyncClient, rig: str) -> None:
    digests = set()
    for _ in range(2):
        stream = watcher.perform(rig, Request("walks", seed=3), seconds=4)
        async for event in stream:
            if isinstance(event, pb.PerformanceSummary):
                digests.add(event.frames_sha256)
    assert len(digests) == 1


async def test_a_new_prompt_takes_effect_with_a_window_and_without_a_jump(
    watcher: AsyncClient, rig: str, stage: Theatre
) -> None:
    stream = watcher.perform(rig, "sways", seconds=8)
    taken = []
    async for event in stream:
        if isinstance(event, pb.PerformanceStart):
            sent = await stream.change(prompt="sways to and fro")
        if isinstance(event, pb.ChangeTaken):
            taken.append(event)
    assert [change.change_id for change in taken] == [sent]
    change = stage.prompts.index("sways to and fro")
    assert 1 <= change < 4
    assert 0 < taken[0].frame < 240
    steps = joint_steps(stream)
    before = steps[: taken[0].frame - 1].max()
    assert steps[taken[0].frame :].max() > 1.5 * before  # the other motion is there
    assert steps.max() <= 1.15 * steps[taken[0].frame + 20 :].max()  # and no step is larger than its own


async def test_speed_heading_and_target_take_effect_at_the_next_frame(watcher: AsyncClient, rig: str) -> None:
    stream = watcher.perform(rig, Request("walks", root_mode=RootMode.ROOT_MOTION), seconds=4, real_time=True)
    taken = {}
    async for event in stream:
        if isinstance(event, pb.PerformanceStart):
            fast = await stream.change(speed=2.0)
            aside = await stream.change(heading=(1, 0, 0))
            there = await stream.change(target=(5, 0, 5))
        if isinstance(event, pb.ChangeTaken):
            taken[event.change_id] = event.frame
    assert set(taken) == {fast, aside, there}
    assert max(taken.values()) < 60
    steps = joint_steps(stream)
    assert steps.max() < 2.2 * steps[:5].max()  # at twice the speed


@pytest.mark.parametrize("way", ["close", "stop"])
async def test_it_ends_well_when_the_client_has_had_enough(
    watcher: AsyncClient, rig: str, way: str, live: Running
) -> None:
    stream = watcher.perform(rig, "sways")
    async for event in stream:
        if isinstance(event, pb.Frames) and event.first_frame > 100 and way:
            await (stream.close() if way == "close" else stream.change(stop=True))
            way = ""
    assert stream.reader.summary is not None
    assert 100 < len(stream.clip) < 600
    assert live.server.animation.slots.running == 0


async def test_half_closing_at_once_gives_one_window(watcher: AsyncClient, rig: str, stage: Theatre) -> None:
    stream = watcher.perform(rig, Request("sways", fps=16))
    await stream.close()
    assert [event async for event in stream]
    assert len(stage.prompts) == 1
    assert len(stream.clip) == 33


async def test_half_closing_leaves_a_length_as_it_is(watcher: AsyncClient, rig: str) -> None:
    stream = watcher.perform(rig, Request("sways", fps=16), seconds=5)
    await stream.close()
    assert [event async for event in stream]
    assert len(stream.clip) == 80


async def test_in_real_time_frames_stay_the_lead_ahead(watcher: AsyncClient, rig: str) -> None:
    lead, fps = 0.5, 30.0
    stream = watcher.perform(rig, Request("walks", fps=fps), seconds=3, real_time=True, lead_seconds=lead)
    began, ahead = None, []
    async for event in stream:
        if isinstance(event, pb.Frames):
            began = began or time.monotonic()
            ahead.append((event.first_frame + event.frame_count) / fps - (time.monotonic() - began))
    assert max(ahead) < lead + 0.15
    assert min(ahead[len(ahead) // 2 :]) > 0
    assert time.monotonic() - began > 2.2


async def test_bursts_run_ahead_of_time_but_not_of_the_reader(watcher: AsyncClient, rig: str) -> None:
    began = time.monotonic()
    stream = watcher.perform(rig, "walks", seconds=20)
    assert [event async for event in stream]
    assert time.monotonic() - began < 10
    assert len(stream.clip) == 600


async def test_progress_while_a_window_is_long(watcher: AsyncClient, rig: str, stage: Theatre) -> None:
    stage.step_seconds = 0.6
    stream = watcher.perform(rig, "walks")
    times = [time.monotonic()]
    async for event in stream:
        times.append(time.monotonic())
        if isinstance(event, pb.PerformanceStart):
            break
    assert max(np.diff(times)) < 1.0
    assert len(times) > 3


async def test_cancel_stops_within_one_step_and_frees_the_slot(
    watcher: AsyncClient, rig: str, stage: Theatre, live: Running
) -> None:
    stage.step_seconds = 0.15
    stream = watcher.perform(rig, "walks")
    async for event in stream:
        if isinstance(event, pb.Progress) and stage.running:
            break
    done = stage.steps_done
    stream.cancel()
    took = await until(lambda: live.server.animation.slots.running == 0 and not stage.running)
    assert took < 2 * 0.15 + 0.3
    assert stage.steps_done <= done + 2
    await asyncio.sleep(0.3)
    assert stage.steps_done <= done + 2


async def test_others_get_in_between_windows(watcher: AsyncClient, rig: str, live: Running) -> None:
    stream = watcher.perform(rig, "sways")
    other = None
    async for event in stream:
        if isinstance(event, pb.Frames) and other is None:
            other = asyncio.create_task(watcher.animate(rig, "waves").collect())
        if other is not None and other.done():
            await stream.close()
    assert len(other.result().clip) == 60


async def test_a_reader_that_does_not_read_is_shed(stage: Theatre) -> None:
    async with serving(perform=stage, write_timeout_seconds=0.5) as running, AsyncClient(running.target) as client:
        rig = (await client.upload(chain_glb(joints=200))).rig_id
        # a channel that buffers little, and slow playing: one window is megabytes of frames
        async with running.channel(**{"http2.bdp_probe": 0, "http2.lookahead_bytes": 65536}) as channel:
            call = running.stub(channel).AnimateInteractive()
            opening = opening_message(rig, Request("walks", fps=120), speed=0.1)
            await call.write(pb.AnimateInteractiveRequest(opening=opening))
            while not (await call.read()).HasField("frames"):
                pass
            await until(lambda: not running.server._boundary.active, 60)

            async def read_on() -> None:
                while await call.read() is not grpc.aio.EOF:
                    pass

            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await read_on()
    assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "not read fast enough" in (caught.value.details() or "")


async def test_draining_ends_it_as_stop_does(stage: Theatre) -> None:
    async with serving(perform=stage, grace_seconds=20) as running, AsyncClient(running.target) as client:
        rig = (await client.upload(running.glb)).rig_id
        stream = client.perform(rig, "sways")
        stopping = None
        async for event in stream:
            if isinstance(event, pb.Frames) and stopping is None:
                stopping = asyncio.create_task(running.server.stop())
        assert stream.reader.summary is not None
        await stopping


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"speed": 9.0}, "speed"),
        ({"speed": float("nan")}, "speed"),
        ({"lead_seconds": 99.0}, "lead_seconds"),
        ({"seconds": 0.0}, "seconds"),
        ({"heading": [0, 1, 0]}, "heading"),
        ({"heading": [1, 0]}, "heading"),
        ({"target": [1, 0, 0]}, "target"),
    ],
)
async def test_every_bad_field_of_an_opening_is_named(
    watcher: AsyncClient, rig: str, options: dict[str, object], field: str
) -> None:
    with pytest.raises(OptionError) as caught:
        async for _ in watcher.perform(rig, "walks", **options):
            pass
    assert caught.value.name == field


@pytest.mark.parametrize(
    ("change", "field"),
    [({"prompt": "  "}, "prompt"), ({"guidance": 99.0}, "guidance"), ({"target": [0, 0, 0]}, "target")],
)
async def test_a_bad_change_ends_it_by_name(
    watcher: AsyncClient, rig: str, change: dict[str, object], field: str
) -> None:
    stream = watcher.perform(rig, "walks", real_time=True)

    async def watch() -> None:
        async for event in stream:
            if isinstance(event, pb.PerformanceStart):
                await stream.change(**change)

    with pytest.raises(OptionError) as caught:
        await watch()
    assert caught.value.name == field


async def test_what_comes_first_must_be_an_opening(live: Running, rig: str) -> None:
    from animax.wire.failure import error_of

    async with live.channel() as channel:
        for first in (pb.AnimateInteractiveRequest(change=pb.AnimateInteractiveChange(prompt="x")), None):
            call = live.stub(channel).AnimateInteractive()
            if first is not None:
                await call.write(first)
            await call.done_writing()
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call.read()
            assert isinstance(error_of(caught.value), OptionError)


async def test_an_unknown_rig_is_not_found(watcher: AsyncClient) -> None:
    with pytest.raises(UnknownRigError):
        async for _ in watcher.perform("0" * 64, "walks"):
            pass


async def test_an_engine_that_fails_is_told(watcher: AsyncClient, rig: str, stage: Theatre) -> None:
    stage.failure = EngineError("the device is lost")
    with pytest.raises(EngineError):
        async for _ in watcher.perform(rig, "walks"):
            pass


async def test_a_clip_of_nothing_is_an_error(watcher: AsyncClient, rig: str) -> None:
    stream = watcher.perform(rig, "walks")
    with pytest.raises(StreamError):
        _ = stream.clip
    stream.cancel()
