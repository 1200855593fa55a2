"""RetargetService: header → bone map → progress → frames → summary."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import Executor
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from animax.assets.rig import Rig
from animax.bone_map import BoneMap
from animax.errors import DeadlineExceeded, UnknownJobError
from animax.motion.clip import Clip
from animax.request import OnProgress, RetargetRequest, ShouldStop
from animax.retargeting import Retargeted, bone_map, choose_clip, judged, require_work, retarget_clip
from animax.service.access.caller import caller
from animax.service.admission import Slots, Ticket
from animax.service.config import ServerConfig
from animax.service.generation import Animate, Generation, Writers
from animax.service.observe.record import record
from animax.service.rig_store import RigStore, StoredRig
from animax.service.stream_messages import clip_messages, clip_summary
from animax.service.unread import Outlet, Unread
from animax.service.waiting import within
from animax.v1 import animation_service_pb2 as pb
from animax.v1 import retarget_service_pb2 as retarget_pb
from animax.v1 import retarget_service_pb2_grpc as retarget_pb_grpc
from animax.v1 import rig_pb2 as rig_pb
from animax.wire.request import ROOT_MODE_VALUES, STAGES
from animax.wire.retarget import RetargetOrder, Source, bone_map_message, read_map_request, read_retarget_request
from animax.wire.rig import faced, stance_message

THREADS = 2
"""That retarget. A clip takes a tenth of a second; more would only take the processors from the engine."""


@dataclass(frozen=True, eq=False)
class JobMotion:
    """A clip that a job made.

    Attributes:
        rig_id: of the rig that moves.
        facing: that the job was told; empty trusts the rig's own stance.
        clip: joints in the order of the rig's skeleton.
    """

    rig_id: str
    facing: tuple[float, ...]
    clip: Clip


class JobMotions(Protocol):
    """What the jobs of a server made."""

    async def motion(self, job_id: str, variant: int) -> JobMotion:
        """A clip; raises what fetching its result would raise."""

    async def rig_of(self, job_id: str) -> tuple[str, tuple[float, ...]]:
        """Id of the rig of a job, and the facing that the job was told."""


@dataclass(frozen=True, eq=False)
class Pair:
    """The two rigs of a request, in the stances that were asked for.

    Attributes:
        source: the rig that moves.
        target: the rig that shall move.
        stored: the target as it was uploaded.
        clip: of the source, where a job made it; else it is read from the source's file.
    """

    source: Rig
    target: Rig
    stored: StoredRig
    clip: Clip | None


class RetargetServicer(retarget_pb_grpc.RetargetServiceServicer):
    """See proto/animax/v1/retarget_service.proto.

    Args:
        config: limits.
        rigs: uploaded rigs.
        writers: make files.
        unread: counts what waits for its readers.
        executor: with ``THREADS`` threads.
        jobs: where clips of jobs come from; None: there are none.
    """

    def __init__(
        self,
        config: ServerConfig,
        *,
        rigs: RigStore,
        writers: Writers,
        unread: Unread,
        executor: Executor,
        jobs: JobMotions | None,
    ) -> None:
        self._config = config
        self._rigs = rigs
        self._writers = writers
        self._unread = unread
        self._jobs = jobs
        self._slots = Slots(THREADS, config.max_queued)
        self._executor = executor

    async def MapBones(self, request: retarget_pb.MapBonesRequest, _: Any) -> retarget_pb.MapBonesResponse:  # noqa: N802
        """Say what would drive what."""
        arrived = time.monotonic()
        order = read_map_request(request)
        ticket, held = self._enter()
        try:
            pair = await self._pair(order, held, with_clip=False)
            try:
                await within(ticket.granted.wait(), self._left(arrived))
            except TimeoutError:
                raise self._late() from None
            work = asyncio.wrap_future(self._executor.submit(_mapped, pair, order))
        except BaseException:
            held.close()
            raise
        # rigs and thread are free again once the thread has ended, whether or not anybody still waits for it
        work.add_done_callback(partial(_given_back, held))
        return await asyncio.shield(work)

    # writes to the context, so that every write can have a limit; the stubs know only of generators
    async def Retarget(self, request: retarget_pb.RetargetRequest, context: Any) -> None:  # type: ignore[override]  # noqa: N802
        """Carry a clip over."""
        arrived = time.monotonic()
        order = read_retarget_request(request)
        outlet = Outlet(context, self._config.write_timeout_seconds)
        ticket, held = self._enter()
        generation = None
        try:
            pair = await self._pair(order, held, with_clip=True)
            # what is the caller's fault is told before any waiting
            clip, bones = await asyncio.to_thread(_resolved, pair, order)
            header = _header(order, pair, clip)
            caller().order(header.seconds)
            await outlet.write(retarget_pb.RetargetResponse(header=header))
            told = bone_map_message(bones, pair.source, pair.target)
            await outlet.write(retarget_pb.RetargetResponse(bone_map=told))
            queued = await self._wait(ticket, outlet, arrived)
            generation = Generation.start(
                self._executor,
                _retargeting(pair, clip, bones),
                None,
                pair.target,
                order.request,
                order.file_formats,
                self._writers,
            )
            generation.done.add_done_callback(lambda _: held.close())
            await self._watch(generation, outlet, arrived)
            product = generation.done.result()
        finally:
            if generation is None:
                held.close()
            else:
                generation.stop()
                record().went_through(generation.clock.spans())
        with self._unread.hold(outlet, product.nbytes):
            for message in clip_messages(0, 0, product):
                await outlet.write(_numbered_alike(message))
                if message.HasField("frames"):
                    record().frame_sent()
        summary = pb.Summary(
            clips=[clip_summary(0, 0, product)],
            queued_seconds=queued,
            total_seconds=time.monotonic() - arrived,
        )
        await outlet.write(retarget_pb.RetargetResponse(summary=summary))

    def _enter(self) -> tuple[Ticket, ExitStack]:
        """A place in the queue, and what is to be given back in the end.

        Raises:
            BusyError, QuotaError: the queue is full.
        """
        ticket, held = self._slots.enter(), ExitStack()
        held.callback(ticket.release)
        return ticket, held

    async def _pair(self, order: RetargetOrder, held: ExitStack, *, with_clip: bool) -> Pair:
        """The rigs of an order, kept in the store as long as ``held`` lasts."""
        source, clip = order.source, None
        if source.job_id:
            rig_id, facing, clip = await self._of_job(source, with_clip)
        else:
            rig_id, facing = source.rig_id, ()
        record().note(rig_id=order.target, source_rig_id=rig_id)
        rigs = []
        for wanted, stance in ((rig_id, source.facing or facing), (order.target, order.facing)):
            await self._rigs.fetch(wanted)
            stored = held.enter_context(self._rigs.lease(wanted))
            rigs.append((stored, faced(stored.rig, stance)))
        return Pair(rigs[0][1], rigs[1][1], rigs[1][0], clip)

    async def _of_job(self, source: Source, with_clip: bool) -> tuple[str, tuple[float, ...], Clip | None]:
        if self._jobs is None:
            raise UnknownJobError(f"job {source.job_id} is not here: this server keeps no jobs")
        if not with_clip:
            return (*await self._jobs.rig_of(source.job_id), None)
        motion = await self._jobs.motion(source.job_id, source.variant)
        return motion.rig_id, motion.facing, motion.clip

    async def _wait(self, ticket: Ticket, outlet: Outlet, arrived: float) -> float:
        """Wait for one of the threads, telling the place in the queue; returns the seconds it took."""
        began = time.monotonic()
        while not ticket.granted.is_set():
            await self._tell(outlet, pb.STAGE_QUEUED, 0.0, arrived, queue_position=ticket.position)
            with suppress(TimeoutError):
                await within(ticket.granted.wait(), self._pause(arrived))
        waited = time.monotonic() - began
        record().queued(waited)
        return waited

    async def _watch(self, generation: Generation, outlet: Outlet, arrived: float) -> None:
        """Tell progress until it is done."""
        while not await generation.news(self._pause(arrived)):
            latest = generation.latest
            if generation.writing:
                await self._tell(outlet, pb.STAGE_WRITE, 1.0, arrived)
            elif latest is not None:
                await self._tell(outlet, STAGES[latest.stage], latest.fraction, arrived)

    async def _tell(
        self, outlet: Outlet, stage: pb.Stage.ValueType, fraction: float, arrived: float, *, queue_position: int = 0
    ) -> None:
        progress = pb.Progress(
            stage=stage,
            fraction=fraction,
            queue_position=queue_position,
            elapsed_seconds=time.monotonic() - arrived,
        )
        await outlet.write(retarget_pb.RetargetResponse(progress=progress))

    def _pause(self, arrived: float) -> float:
        left = self._left(arrived)
        if left <= 0:
            raise self._late()
        return min(left, self._config.progress_seconds)

    def _left(self, arrived: float) -> float:
        return arrived + self._config.max_request_seconds - time.monotonic()

    def _late(self) -> DeadlineExceeded:
        return DeadlineExceeded(f"the request took {self._config.max_request_seconds:g} s; accepted: no longer")


def _given_back(held: ExitStack, work: asyncio.Future[Any]) -> None:
    held.close()
    if not work.cancelled():
        work.exception()  # seen: a caller that is gone must not leave a complaint in the log


def _mapped(pair: Pair, order: RetargetOrder) -> retarget_pb.MapBonesResponse:
    bones = bone_map(pair.source, pair.target, order.request)
    _, warnings = judged(bones, pair.source, pair.target)
    return retarget_pb.MapBonesResponse(bone_map=bone_map_message(bones, pair.source, pair.target), warnings=warnings)


def _resolved(pair: Pair, order: RetargetOrder) -> tuple[Clip, BoneMap]:
    """Clip and map of an order."""
    clip, source = pair.clip, order.source
    if clip is None:
        clip = choose_clip(pair.source, source.clip, order.request.fps, index=source.index)
    bones = bone_map(pair.source, pair.target, order.request)
    require_work(clip, pair.source, pair.target, bones)
    return clip, bones


def _retargeting(pair: Pair, clip: Clip, bones: BoneMap) -> Animate:
    """What a generation runs."""

    def animate(
        _: Rig,
        request: RetargetRequest,
        __: None,
        /,
        *,
        progress: OnProgress | None,
        should_stop: ShouldStop | None,
    ) -> Retargeted:
        return retarget_clip(
            clip, pair.source, pair.target, request, bones=bones, progress=progress, should_stop=should_stop
        )

    return animate


def _header(order: RetargetOrder, pair: Pair, clip: Clip) -> pb.Header:
    request, fps = order.request, order.request.fps or clip.fps
    return pb.Header(
        axes=rig_pb.AXIS_CONVENTION_RIGHT_HANDED_Y_UP_METRES,
        quaternion_order=rig_pb.QUATERNION_ORDER_XYZW,
        skeleton=pair.stored.message.skeleton,
        stance=stance_message(pair.target.stance),
        rig_id=order.target,
        prompt=clip.name,
        seconds=len(clip) / clip.fps if clip.loop else clip.seconds,
        fps=fps,
        loop=clip.loop,
        root_mode=ROOT_MODE_VALUES[request.root_mode] if request.root_mode else pb.ROOT_MODE_UNSPECIFIED,
        foot_cleanup=request.foot_cleanup,
        variants=1,
        file_formats=order.file_formats,
        warnings=pair.stored.message.warnings,
    )


def _numbered_alike(message: pb.AnimateResponse) -> retarget_pb.RetargetResponse:
    """A message of an ``Animate`` stream as one of this service's."""
    if message.HasField("clip_start"):
        return retarget_pb.RetargetResponse(clip_start=message.clip_start)
    if message.HasField("frames"):
        return retarget_pb.RetargetResponse(frames=message.frames)
    return retarget_pb.RetargetResponse(file_chunk=message.file_chunk)
