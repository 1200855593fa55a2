"""AnimateInteractive: header → start → frames, with changes coming in all the while."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Protocol

import grpc
import numpy as np
from numpy.typing import NDArray

from animax.assets.rig import Rig
from animax.assets.skeleton import Pose
from animax.errors import Cancelled, DeadlineExceeded, EngineError, OptionError, StreamError
from animax.motion.steering import Steering
from animax.request import OnProgress, Progress, Request, ShouldStop
from animax.service.access.caller import caller
from animax.service.admission import Slots, Ticket
from animax.service.boundary import checked
from animax.service.config import ServerConfig
from animax.service.models import ServedModels
from animax.service.observe.record import record
from animax.service.readiness import Readiness, State
from animax.service.rig_store import RigStore
from animax.service.stage_clock import StageClock
from animax.service.stream_messages import header_message
from animax.service.unread import Outlet
from animax.service.waiting import within
from animax.v1 import animation_service_pb2 as pb
from animax.wire.clip import CONTENT_BYTES, FRAMES_PER_MESSAGE
from animax.wire.interactive import Course, Opening, PackedPoses, read_opening
from animax.wire.rig import faced

SLICE = 1 / 30
"""Seconds between looks at what may be sent in real time."""


class Performance(Protocol):
    """``animax.interactive.Performance`` or what stands for it. Its methods are called in threads."""

    @property
    def rotated_joints(self) -> NDArray[np.int64]:
        """Joints whose rotations are sent."""

    @property
    def translated_joints(self) -> NDArray[np.int64]:
        """Joints whose translations are sent."""

    @property
    def window_seconds(self) -> float:
        """Seconds that a window adds."""

    @property
    def available(self) -> int:
        """Frames that can be taken."""

    def generate(
        self, prompt: str, guidance: float | None, *, progress: OnProgress | None, should_stop: ShouldStop | None
    ) -> None:
        """Make one more window."""

    def finish(self) -> None:
        """No window follows."""

    def take(self, count: int, steering: Steering) -> Pose:
        """The next frames."""


FIRST_WINDOW_SECONDS = 1.5
"""What the first window counts as; how long it will be is known once it is made."""

Perform = Callable[[Rig, Request, Any, Steering], Performance]


def perform(rig: Rig, request: Request, model: Any, steering: Steering) -> Performance:
    """A performance by ``animax.interactive``."""
    from animax.interactive import Performance as Performed

    return Performed(rig, request, model, steering)


@dataclass(eq=False)
class Work:
    """A window that is being made: stopped by ``stop``, freed when its thread has ended."""

    done: asyncio.Future[None]
    stop: threading.Event
    covers: int
    clock: StageClock
    latest: Progress | None = None


class InteractiveService:
    """Runs performances. One for each server; belongs to its event loop."""

    def __init__(
        self,
        config: ServerConfig,
        *,
        models: ServedModels,
        perform: Perform,
        rigs: RigStore,
        readiness: Readiness,
        executor: Executor,
        slots: Slots,
    ) -> None:
        self.config = config
        self.models = models
        self.perform = perform
        self.rigs = rigs
        self.readiness = readiness
        self.executor = executor
        self.slots = slots

    async def run(self, context: Any) -> None:
        """One call, from its opening to its end."""
        arrived = time.monotonic()
        opening = read_opening(await self._opening(context))
        self.readiness.require()
        order = opening.order
        model = self.models.get(order.model)
        record().note(order.request.prompt, rig_id=order.rig_id, seed=order.request.seed, model=model.name)
        await self.rigs.fetch(order.rig_id)
        with self.rigs.lease(order.rig_id) as stored:
            rig = faced(stored.rig, order.facing)
            course = Course(order.request.prompt, order.request.guidance, Steering())
            course = course.changed(opening.steering, rig, order.request.root_mode)
            ticket = self.slots.enter()
            performer = _Performer(self, opening, rig, model, course, context, ticket, arrived)
            try:
                header = header_message(order, rig, stored.message, model)
                await performer.outlet.write(pb.AnimateInteractiveResponse(header=header))
                await performer.run()
            except EngineError:
                await self.readiness.engine_failed()
                raise
            finally:
                performer.close()

    async def _opening(self, context: Any) -> pb.AnimateInteractiveOpening:
        seconds = self.config.upload_idle_seconds
        try:
            message = await within(context.read(), seconds)
        except TimeoutError:
            raise StreamError(f"no opening came for {seconds:g} s", reason="UPLOAD_STALLED", retry_after=0.0) from None
        if message is grpc.aio.EOF or checked(message).WhichOneof("command") != "opening":
            raise OptionError("command", None, "the opening in the first message")
        opening: pb.AnimateInteractiveOpening = message.opening
        return opening


class _Performer:
    """One performance as it goes along."""

    def __init__(
        self,
        service: InteractiveService,
        opening: Opening,
        rig: Rig,
        model: Any,
        course: Course,
        context: Any,
        ticket: Ticket,
        arrived: float,
    ) -> None:
        self._service, self._opening, self._rig, self._model = service, opening, rig, model
        self._course, self._context, self._arrived = course, context, arrived
        self._ticket: Ticket | None = ticket
        self.outlet = Outlet(context, service.config.write_timeout_seconds)
        self._fps = opening.order.request.fps
        self._limit = None if opening.seconds is None else max(1, round(opening.seconds * self._fps))
        self._performance: Performance | None = None
        self._work: Work | None = None
        self._packed: PackedPoses | None = None
        self._began_sending = 0.0
        self._queued = 0.0
        self._told = 0.0
        self._ended = False
        self._finished = False
        self._changed = asyncio.Event()
        self._listening = asyncio.ensure_future(self._listen())
        self._waiting: list[tuple[pb.AnimateInteractiveChange, int]] = []
        """Changes not acknowledged yet, and how many windows were begun before each."""
        self._windows = 0
        self._starts: list[int] = []
        """First frame of each window that is made."""

    async def run(self) -> None:
        """Make and send until the end."""
        while not self._is_over():
            self._check()
            if self._wants_window():
                await self._begin_window()
            sent = await self._send()
            await self._acknowledge()
            if not sent:
                await self._pause()
        packed = self._packed
        assert packed is not None
        for change, _ in self._waiting:
            taken = pb.ChangeTaken(change_id=change.change_id, frame=packed.frames)
            await self.outlet.write(pb.AnimateInteractiveResponse(taken=taken))
        summary = pb.PerformanceSummary(
            frame_count=packed.frames,
            frames_sha256=packed.sha256(),
            queued_seconds=self._queued,
            total_seconds=time.monotonic() - self._arrived,
        )
        await self.outlet.write(pb.AnimateInteractiveResponse(finished=summary))

    def close(self) -> None:
        """Stop what runs and give back what is held."""
        self._listening.cancel()
        if self._work is not None:
            record().went_through(self._work.clock.spans())
            self._work.stop.set()  # its thread gives the slot back
        elif self._ticket is not None:
            self._ticket.release()

    def _check(self) -> None:
        """Raise what went wrong elsewhere; see to the end when nothing more is to be made."""
        if self._listening.done() and not self._listening.cancelled() and self._listening.exception() is not None:
            raise self._listening.exception() or AssertionError
        work = self._work
        if work is not None and work.done.done():
            self._work = None
            record().went_through(work.clock.spans())
            work.done.result()
            assert self._performance is not None
            self._told = time.monotonic()
        if self._service.readiness.state is State.DRAINING:
            self._course = replace(self._course, stop=True)
        if self._is_last() and self._work is None and self._performance is not None and not self._finished:
            self._performance.finish()
            self._finished = True

    def _is_last(self) -> bool:
        """No further window is to be begun."""
        half_closed = self._ended and self._limit is None
        enough = self._limit is not None and self._sent + self._available >= self._limit
        return bool(self._windows) and (self._course.stop or half_closed or enough)

    @property
    def _sent(self) -> int:
        return self._packed.frames if self._packed is not None else 0

    @property
    def _available(self) -> int:
        return self._performance.available if self._performance is not None else 0

    def _is_over(self) -> bool:
        if self._limit is not None and self._sent >= self._limit:
            return True
        return self._finished and not self._available

    def _wants_window(self) -> bool:
        if self._work is not None or self._is_last():
            return False
        return self._available < self._opening.lead * self._fps

    async def _begin_window(self) -> None:
        """Wait for a slot and start a window in a thread. The first one finds its ticket in the queue already."""
        service = self._service
        if self._ticket is None:
            self._ticket = service.slots.enter(admitted=True)
        ticket, began = self._ticket, time.monotonic()
        caller().order(self._performance.window_seconds if self._performance else FIRST_WINDOW_SECONDS)
        while not ticket.granted.is_set():
            self._check()
            self._check_time(began)
            if self._is_last():  # stopped meanwhile
                ticket.release()
                self._ticket = None
                return
            if not await self._send():
                await self._tell(pb.STAGE_QUEUED, queue_position=ticket.position)
            with suppress(TimeoutError):
                await within(ticket.granted.wait(), SLICE if self._packed else service.config.progress_seconds)
        waited = time.monotonic() - began
        self._queued += waited
        record().queued(waited)
        loop = asyncio.get_running_loop()
        stop, done = threading.Event(), loop.create_future()
        work = Work(done, stop, self._windows, StageClock())
        course, self._windows = self._course, self._windows + 1
        before = self._sent + self._available  # here: a thread would see what is on its way out neither here nor there

        def report(progress: Progress) -> None:
            work.latest = progress

        def make() -> None:
            if stop.is_set():
                raise Cancelled("cancelled before a window")
            work.clock.enter("window")
            if self._performance is None:
                request = self._opening.order.request
                self._performance = service.perform(self._rig, request, self._model, course.steering)
            self._performance.generate(course.prompt, course.guidance, progress=report, should_stop=stop.is_set)
            self._starts.append(before)

        def ended(future: Any) -> None:
            work.clock.leave()

            def on_loop() -> None:
                ticket.release()
                if done.cancelled():
                    return
                if future.exception() is not None:
                    done.set_exception(future.exception())
                    done.exception()  # seen, should nobody wait for it any longer
                else:
                    done.set_result(None)
                self._changed.set()

            with suppress(RuntimeError):  # the loop was closed meanwhile
                loop.call_soon_threadsafe(on_loop)

        self._work, self._ticket = work, None
        service.executor.submit(make).add_done_callback(ended)

    async def _send(self) -> bool:
        """Send what may be sent now; False if that is nothing."""
        performance = self._performance
        if performance is None or not self._starts:
            return False
        count = min(performance.available, FRAMES_PER_MESSAGE)
        if self._packed is None:
            joints = performance.rotated_joints, performance.translated_joints
            start = pb.PerformanceStart(
                rotated_joints=joints[0].tolist(),
                translated_joints=joints[1].tolist(),
                window_seconds=performance.window_seconds,
            )
            await self.outlet.write(pb.AnimateInteractiveResponse(start=start))
            self._packed = PackedPoses(self._fps, *joints)
            self._began_sending = time.monotonic()
            count = min(count, 1)
        per_frame = 4 * (4 * len(performance.rotated_joints) + 3 * len(performance.translated_joints))
        count = min(count, max(1, CONTENT_BYTES // max(per_frame, 1)))
        if self._limit is not None:
            count = min(count, self._limit - self._packed.frames)
        if self._opening.real_time:
            played = (time.monotonic() - self._began_sending + self._opening.lead) * self._fps
            count = min(count, int(played) - self._packed.frames)
        if count < 1:
            return False
        pose = await asyncio.to_thread(performance.take, count, self._course.steering)
        if not len(pose.rotations):
            return False
        frames = self._packed.message(pose.rotations, pose.translations)
        self._told = time.monotonic()
        await self.outlet.write(pb.AnimateInteractiveResponse(frames=frames))
        record().frame_sent()
        return True

    async def _acknowledge(self) -> None:
        """Tell of changes whose first frame is known."""
        while self._waiting:
            change, windows = self._waiting[0]
            by_window = change.HasField("prompt") or change.HasField("guidance")
            if by_window and not self._course.stop and len(self._starts) <= windows:
                return
            frame = self._starts[windows] if by_window and windows < len(self._starts) else self._sent
            self._waiting.pop(0)
            taken = pb.ChangeTaken(change_id=change.change_id, frame=frame)
            await self.outlet.write(pb.AnimateInteractiveResponse(taken=taken))

    async def _pause(self) -> None:
        """Wait for news: a window that is done, a change, time to send the next frames in real time."""
        quiet = self._service.config.progress_seconds
        sending = self._opening.real_time and bool(self._available)
        with suppress(TimeoutError):
            await within(self._changed.wait(), SLICE if sending else min(quiet, 0.1))
        self._changed.clear()
        if time.monotonic() - self._told >= quiet:
            latest = self._work.latest if self._work is not None else None
            of_steps = {"step": latest.step, "steps": latest.steps} if latest is not None else {}
            await self._tell(pb.STAGE_DENOISE, **of_steps)

    async def _tell(self, stage: pb.Stage.ValueType, **more: int) -> None:
        self._told = time.monotonic()
        done = self._sent / self._limit if self._limit else 0.0
        progress = pb.Progress(stage=stage, fraction=done, elapsed_seconds=self._told - self._arrived, **more)
        await self.outlet.write(pb.AnimateInteractiveResponse(progress=progress))

    def _check_time(self, began: float) -> None:
        most = self._service.config.max_request_seconds
        if time.monotonic() - began > most:
            raise DeadlineExceeded(f"a window waited {most:g} s for a slot; accepted: no longer")

    async def _listen(self) -> None:
        """Take changes until the client closes its side."""
        root_mode = self._opening.order.request.root_mode
        while (message := await self._context.read()) is not grpc.aio.EOF:
            kind = checked(message).WhichOneof("command")
            if kind != "change":
                self._changed.set()
                raise OptionError("command", kind, "changes after the opening")
            try:
                self._course = self._course.changed(message.change, self._rig, root_mode)
            finally:
                self._changed.set()
            self._waiting.append((message.change, self._windows))
        self._ended = True
        self._changed.set()
