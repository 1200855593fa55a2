"""AnimationService: header → progress → frames → summary."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import Executor
from contextlib import ExitStack
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

from animax.assets.rig import Rig
from animax.errors import DeadlineExceeded, EngineError
from animax.motion.control import resolve
from animax.request import FPS, GUIDANCE, MAX_PROMPT, MAX_SEED, SECONDS, STEPS, Request, Stage
from animax.service.access.caller import caller
from animax.service.admission import Slots, Ticket
from animax.service.asset_service import MAX_CHUNK_BYTES
from animax.service.config import ServerConfig
from animax.service.generation import Animate, Generation, Model, Product, Writers
from animax.service.interactive_service import InteractiveService, Perform, perform
from animax.service.models import ServedModels
from animax.service.observe.record import record
from animax.service.readiness import Readiness
from animax.service.rig_store import RigStore
from animax.service.stream_messages import clip_messages, clip_summary, header_message, model_message
from animax.service.unread import Outlet, Unread
from animax.v1 import animation_service_pb2 as pb
from animax.v1 import animation_service_pb2_grpc as pb_grpc
from animax.v1 import asset_service_pb2 as asset_pb
from animax.wire.request import FILE_FORMATS, ROOT_MODE_VALUES, STAGES, Order, read_animate_request
from animax.wire.rig import faced

LEAST_PROGRESS_SECONDS = 0.05
"""Between two progress messages: a fast engine must not flood its readers."""


@dataclass(eq=False)
class AnimateCall:
    """One ``Animate`` call as it goes along.

    Attributes:
        order: what was asked for.
        model: that generates, whatever the server offers in the meantime.
        rig: with the stance that was asked for.
        outlet: where messages go.
        arrived: monotonic seconds.
        queued_seconds: waited for slots so far.
        fraction: last told.
        summaries: of the variants sent.
    """

    order: Order
    model: Model
    rig: Rig
    outlet: Outlet
    arrived: float
    queued_seconds: float = 0.0
    fraction: float = 0.0
    told: float = 0.0
    summaries: list[pb.ClipSummary] = field(default_factory=list)

    async def tell(self, variant: int, stage: pb.Stage.ValueType, within_variant: float = 0.0, **more: int) -> None:
        """Send progress."""
        self.fraction = max(self.fraction, (variant + min(max(within_variant, 0.0), 1.0)) / self.order.variants)
        self.told = time.monotonic()
        progress = pb.Progress(
            stage=stage,
            fraction=self.fraction,
            variant=variant,
            elapsed_seconds=self.told - self.arrived,
            **more,
        )
        await self.outlet.write(pb.AnimateResponse(progress=progress))


class AnimationServicer(pb_grpc.AnimationServiceServicer):
    """See proto/animax/v1/animation_service.proto."""

    def __init__(
        self,
        config: ServerConfig,
        *,
        models: ServedModels,
        animate: Animate,
        writers: Writers,
        rigs: RigStore,
        readiness: Readiness,
        executor: Executor,
        jobs: pb.JobLimits | None = None,
        perform: Perform = perform,
    ) -> None:
        self._config = config
        self._models = models
        self._animate = animate
        self._writers = writers
        self._rigs = rigs
        self._readiness = readiness
        self._executor = executor
        self._jobs = jobs
        share = {"background_share": config.jobs.share} if config.jobs else {}
        self.slots = Slots(config.slots_on(models.default.provider), config.max_queued, **share)
        self.unread = Unread(config.unread_bytes)
        self._interactive = InteractiveService(
            config,
            models=models,
            perform=perform,
            rigs=rigs,
            readiness=readiness,
            executor=executor,
            slots=self.slots,
        )

    async def GetCapabilities(  # noqa: N802
        self, _: pb.GetCapabilitiesRequest, __: Any
    ) -> pb.GetCapabilitiesResponse:
        """Say what can be asked for."""
        config, defaults = self._config, Request("defaults")
        return pb.GetCapabilitiesResponse(
            server_version=version("animax"),
            model=model_message(self._models.default),
            models=[model_message(model) for model in self._models],
            limits=pb.Limits(
                max_prompt_characters=MAX_PROMPT,
                seconds=_range(SECONDS),
                fps=_range(FPS),
                guidance=_range(GUIDANCE),
                steps=_range(STEPS),
                max_seed=MAX_SEED,
                max_variants=config.max_variants,
                max_asset_bytes=config.max_asset_bytes,
                max_upload_chunk_bytes=MAX_CHUNK_BYTES,
                max_joints=config.max_joints,
                max_queued=config.max_queued,
                slots=self.slots.count,
                max_request_seconds=config.max_request_seconds,
                write_timeout_seconds=config.write_timeout_seconds,
                upload_idle_seconds=config.upload_idle_seconds,
            ),
            asset_formats=[asset_pb.ASSET_FORMAT_GLB],
            file_formats=list(FILE_FORMATS.values()),
            root_modes=list(ROOT_MODE_VALUES.values()),
            defaults=pb.Defaults(
                seconds=defaults.seconds,
                fps=defaults.fps,
                root_mode=ROOT_MODE_VALUES[defaults.root_mode],
                loop=defaults.loop,
                foot_cleanup=defaults.foot_cleanup,
            ),
            ready=self._readiness.serving,
            load=pb.Load(generating=self.slots.running, queued=self.slots.waiting, rigs=len(self._rigs)),
            jobs=self._jobs,
        )

    # writes to the context, so that every write can have a limit; the stubs know only of generators
    async def Animate(self, request: pb.AnimateRequest, context: Any) -> None:  # type: ignore[override]  # noqa: N802
        """Animate a rig."""
        arrived = time.monotonic()
        order = read_animate_request(request, self._config.max_variants)
        record().note(order.request.prompt, rig_id=order.rig_id, seed=order.request.seed, variants=order.variants)
        self._readiness.require()
        model = self._models.get(order.model)
        record().note(model=model.name)
        self.slots.require_room()
        await self._rigs.fetch(order.rig_id)
        with self._rigs.lease(order.rig_id) as stored:
            rig = faced(stored.rig, order.facing)
            # a joint or clip that the rig lacks is the caller's fault, and told before any waiting; it reads the file
            await asyncio.to_thread(resolve, rig, order.request)
            outlet = Outlet(context, self._config.write_timeout_seconds)
            call = AnimateCall(order, model, rig, outlet, arrived)
            ticket = self.slots.enter()
            try:
                caller().order(order.request.seconds * order.variants)
                header = header_message(order, rig, stored.message, model)
                await outlet.write(pb.AnimateResponse(header=header))
            except BaseException:
                ticket.release()
                raise
            for variant in range(order.variants):
                if variant:
                    ticket = self.slots.enter(admitted=True)
                product = await self._generate(call, variant, ticket)
                with self.unread.hold(outlet, product.nbytes):
                    await self._send(call, variant, product)
            summary = pb.Summary(
                clips=call.summaries,
                queued_seconds=call.queued_seconds,
                total_seconds=time.monotonic() - arrived,
            )
            await outlet.write(pb.AnimateResponse(summary=summary))

    async def AnimateInteractive(self, _: Any, context: Any) -> None:  # type: ignore[override]  # noqa: N802
        """Let a rig perform."""
        await self._interactive.run(context)

    async def _generate(self, call: AnimateCall, variant: int, ticket: Ticket) -> Product:
        """Wait for the slot, generate, tell progress all along.

        The slot is free again once the thread has ended, whether or not anybody still waits for it.
        """
        generation = None
        try:
            await self._wait(call, variant, ticket)
            held = ExitStack()
            held.callback(ticket.release)
            held.enter_context(self._rigs.lease(call.order.rig_id))
            generation = Generation.start(
                self._executor,
                self._animate,
                call.model,
                call.rig,
                call.order.variant(variant),
                call.order.file_formats,
                self._writers,
            )
            generation.done.add_done_callback(lambda _: held.close())
            await self._watch(call, variant, generation)
            return generation.done.result()
        except EngineError:
            await self._readiness.engine_failed()
            raise
        finally:
            if generation is None:
                ticket.release()
            else:
                generation.stop()
                record().went_through(generation.clock.spans())

    async def _wait(self, call: AnimateCall, variant: int, ticket: Ticket) -> None:
        began = time.monotonic()
        while not ticket.granted.is_set():
            await call.tell(variant, pb.STAGE_QUEUED, queue_position=ticket.position)
            granted = asyncio.ensure_future(ticket.granted.wait())
            try:
                await asyncio.wait({granted}, timeout=self._pause(call))
            finally:
                granted.cancel()
        waited = time.monotonic() - began
        call.queued_seconds += waited
        record().queued(waited)

    async def _watch(self, call: AnimateCall, variant: int, generation: Generation) -> None:
        while not await generation.news(self._pause(call)):
            latest = generation.latest
            if generation.writing:
                await call.tell(variant, pb.STAGE_WRITE, 1.0)
            elif latest is not None:
                of_steps = {"step": latest.step, "steps": latest.steps} if latest.stage is Stage.DENOISE else {}
                await call.tell(variant, STAGES[latest.stage], latest.fraction, **of_steps)
            else:
                await call.tell(variant, pb.STAGE_TEMPLATE)
            await asyncio.wait({generation.done}, timeout=LEAST_PROGRESS_SECONDS)

    def _pause(self, call: AnimateCall) -> float:
        left = call.arrived + self._config.max_request_seconds - time.monotonic()
        if left <= 0:
            raise DeadlineExceeded(f"the request took {self._config.max_request_seconds:g} s; accepted: no longer")
        return min(left, self._config.progress_seconds)

    async def _send(self, call: AnimateCall, variant: int, product: Product) -> None:
        seed = call.order.variant(variant).seed
        for message in clip_messages(variant, seed, product):
            await call.outlet.write(message)
            if message.HasField("frames"):
                record().frame_sent()
        call.summaries.append(clip_summary(variant, seed, product))


def _range(limits: tuple[float, float]) -> pb.Range:
    return pb.Range(minimum=limits[0], maximum=limits[1])
