"""The server: a port, or two, one or more models, graceful from start to stop."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import grpc
from grpc_health.v1 import health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from animax.assets import Limits, load_rig
from animax.assets.rig import Rig
from animax.errors import AnimaxError, ServiceError
from animax.service.access.authenticator import Authenticator, anybody
from animax.service.animation_service import AnimationServicer
from animax.service.asset_service import MAX_CHUNK_BYTES, AssetServicer
from animax.service.boundary import Boundary
from animax.service.config import ServerConfig
from animax.service.generation import Animate, Writers
from animax.service.grpc_port import grpc_server
from animax.service.interactive_service import Perform, perform
from animax.service.jobs.backend import JobBackend
from animax.service.jobs.job_service import JobServicer
from animax.service.models import ServedModels, Source
from animax.service.observe.monitor import Monitor
from animax.service.observe.observer import Observer
from animax.service.observe.snapshot import Observed
from animax.service.observe.tracing import Tracing
from animax.service.readiness import JOB_SERVICE, SERVICES, Readiness
from animax.service.retarget_service import THREADS as RETARGETERS
from animax.service.retarget_service import RetargetServicer
from animax.service.rig_store import Parse, RigStore
from animax.service.transport import Transport
from animax.service.waiting import within
from animax.service.watched_files import WatchedFiles
from animax.v1 import (
    animation_service_pb2_grpc,
    asset_service_pb2_grpc,
    job_service_pb2_grpc,
    retarget_service_pb2_grpc,
)

if TYPE_CHECKING:
    from animax.service.web import WebListener

log = logging.getLogger(__name__)

MAX_MESSAGE_BYTES = MAX_CHUNK_BYTES + 64 * 1024
"""Of one message to the server."""
CHANNEL_OPTIONS = (
    # a taken port is an error, not a second server that gets every other connection
    ("grpc.so_reuseport", 0),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    # find clients that vanished without a word
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    # by default a client that pings every second while it waits is cut off ("too many pings")
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 500),
    ("grpc.http2.max_ping_strikes", 0),
)
FLUSH_SECONDS = 0.25
"""For statuses to be sent."""
HANG_UP_SECONDS = 2.0
"""For the connections to close once every call has ended."""
PARSERS = 2
"""Threads that read uploaded files."""


class Server:
    """Serves models. All methods belong to one event loop.

    Args:
        config: limits and places.
        models: loaded, not yet warm.
        animate: ``animax.pipeline.animate`` or what stands for it.
        parse: uploaded bytes and a name to a rig; default: ``animax.assets.load_rig`` with the configured limits.
        writers: for files; default: those of ``animax.assets``.
        perform: ``animax.interactive.Performance`` or what stands for it.
        tracing: of calls and jobs; default: as configured.
    """

    def __init__(
        self,
        config: ServerConfig,
        models: ServedModels,
        animate: Animate,
        *,
        parse: Parse | None = None,
        writers: Writers | None = None,
        perform: Perform = perform,
        tracing: Tracing | None = None,
    ) -> None:
        self.config = config
        self.port = config.port
        self.models = models
        self._animate = animate
        self._watching: list[asyncio.Task[None]] = []
        self.observer = Observer(tracing or Tracing.configured(config.traces), log_prompts=config.log_prompts)
        self.monitor: Monitor | None = None
        self._generators = ThreadPoolExecutor(config.slots_on(models.default.provider), "animax-generate")
        self._parsers = ThreadPoolExecutor(PARSERS, "animax-parse")
        self._retargeters = ThreadPoolExecutor(RETARGETERS, "animax-retarget")
        self._writers = writers or asset_writers()
        self.jobs = JobBackend(config.jobs, config.write_timeout_seconds) if config.jobs else None
        self._rigs = RigStore(parse or rig_parser(config), config.rig_bytes, self._parsers, self.jobs)
        self._services = (*SERVICES, JOB_SERVICE) if self.jobs else SERVICES
        self.readiness = Readiness(models, self._generators, self._services)
        self.animation = AnimationServicer(
            config,
            models=models,
            animate=animate,
            writers=self._writers,
            rigs=self._rigs,
            readiness=self.readiness,
            executor=self._generators,
            jobs=self.jobs.limits() if self.jobs else None,
            perform=perform,
        )
        self._assets = AssetServicer(config, self._rigs)
        self._authenticator = Authenticator(config.auth) if config.auth else None
        identify = self._authenticator.identify if self._authenticator else anybody
        self._boundary = Boundary(self.observer, self.readiness.require_open, identify)
        self._watched: list[WatchedFiles[Any]] = list(self._authenticator.files) if self._authenticator else []
        self._server: grpc.aio.Server | None = None
        self._transport = Transport(config.tls) if config.tls else None
        if self._transport is not None and self._transport.files is not None:
            self._watched.append(self._transport.files)
        self.web = None if config.web_port is None else web_listener(config, self._boundary, self._transport)

    async def start(self) -> None:
        """Listen, and warm up in the background; ``port`` is then the port in use.

        Raises:
            ServiceError: the address cannot be listened on.
        """
        config = self.config
        server = grpc_server((self._boundary,), CHANNEL_OPTIONS)
        self._add_services(server, *([self.web.methods] if self.web else []))
        if config.reflection:
            reflection.enable_server_reflection([*filter(None, self._services), reflection.SERVICE_NAME], server)
        address = f"[{config.host}]:{config.port}" if ":" in config.host else f"{config.host}:{config.port}"
        try:
            if self._transport is None:
                self.port = server.add_insecure_port(address)
            else:
                self.port = server.add_secure_port(address, self._transport.credentials())
        except RuntimeError as error:
            raise ServiceError(
                f"cannot listen on {address}; accepted: a free port of an address of this machine", reason="ADDRESS"
            ) from error
        try:
            if self.web is not None:
                await self.web.open()
            self.monitor = self._open_monitor()
        except AnimaxError:
            await server.stop(None)
            if self.web is not None:
                await self.web.stop()
            raise
        self._server = server
        await self.readiness.begin()
        if config.watch_seconds:
            watches = (self.models.watch(config.watch_seconds), self._watch_files(config.watch_seconds))
            self._watching = [asyncio.create_task(watch) for watch in watches]
        await server.start()
        if self.jobs is not None:
            self.jobs.start()
        log.info("listening on %s, port %d", config.host, self.port)
        if self.web is not None:
            await self.web.start()
            log.info("gRPC-Web on %s, port %d", config.host, self.web.port)

    async def stop(self, *, at_once: bool = False) -> None:
        """Shut down: tell health, refuse new requests, let running ones finish, end those that did not within the
        configured grace (``at_once``: all), and return once no thread uses the engine."""
        grace = 0.0 if at_once else self.config.grace_seconds
        for watch in self._watching:
            watch.cancel()
        await self.readiness.drain(0.0 if at_once else self.config.drain_seconds)
        if self.jobs is not None:
            self.jobs.leave()
        try:
            await within(self._idle(), grace)
        except TimeoutError:
            jobs = self.jobs.running if self.jobs is not None else 0
            if self._boundary.active or jobs:
                log.warning("%d calls and %d jobs did not finish within %g s", self._boundary.active, jobs, grace)
        server, self._server = self._server, None
        if server is not None:
            # health watches never end on their own; calls that are left get CANCELLED. Not to be cancelled itself: a
            # connection whose peer vanished closes when its keepalive fails, and nobody needs to wait for that
            # the last calls' handlers have returned, but their statuses may still be on the way out
            ends = {asyncio.ensure_future(server.stop(None if at_once else FLUSH_SECONDS))}
            if self.web is not None:
                ends.add(asyncio.ensure_future(self.web.stop()))
            await asyncio.wait(ends, timeout=HANG_UP_SECONDS)
        if self.jobs is not None:
            await self.jobs.stop()
        for threads in (self._generators, self._parsers, self._retargeters):
            await asyncio.to_thread(threads.shutdown, cancel_futures=True)
        await asyncio.to_thread(self.observer.close)
        monitor, self.monitor = self.monitor, None
        if monitor is not None:  # last, so that probes and scrapes see the end coming
            await monitor.stop()

    async def reload(self) -> None:
        """Read models and files anew: certificates, tokens, keys."""
        self._look(anyway=True)
        await self.models.reload()

    async def _watch_files(self, seconds: float) -> None:
        while self._watched:
            await asyncio.sleep(seconds)
            self._look()

    def _look(self, *, anyway: bool = False) -> None:
        for files in self._watched:
            try:
                files.look(anyway=anyway)
            except Exception:
                log.exception("a defect in reading files anew; the server goes on with what it has")

    def _open_monitor(self) -> Monitor | None:
        if self.config.metrics_port is None:
            return None
        observed = Observed(
            self.observer.metrics,
            models=self.models,
            slots=self.animation.slots,
            rigs=self._rigs,
            readiness=self.readiness,
            jobs=self.jobs,
            unread=self.animation.unread,
        )
        return Monitor(observed, self.config.metrics_host, self.config.metrics_port)

    async def _idle(self) -> None:
        """Wait until no call is in progress and no job is at work."""
        await self._boundary.idle()
        if self.jobs is not None:
            await self.jobs.idle()

    def _add_services(self, *registries: Any) -> None:
        """Tell every port what can be called."""
        jobs = self._open_jobs(self.jobs) if self.jobs is not None else None
        retargeting = RetargetServicer(
            self.config,
            rigs=self._rigs,
            writers=self._writers,
            unread=self.animation.unread,
            executor=self._retargeters,
            jobs=jobs,
        )
        for registry in registries:
            animation_service_pb2_grpc.add_AnimationServiceServicer_to_server(self.animation, registry)
            retarget_service_pb2_grpc.add_RetargetServiceServicer_to_server(retargeting, registry)
            asset_service_pb2_grpc.add_AssetServiceServicer_to_server(self._assets, registry)
            if jobs is not None:
                job_service_pb2_grpc.add_JobServiceServicer_to_server(jobs, registry)
            health_pb2_grpc.add_HealthServicer_to_server(self.readiness.health, registry)

    def _open_jobs(self, backend: JobBackend) -> JobServicer:
        """Workers and servicer of the job store."""
        config, animation = self.config, self.animation
        lanes = backend.settings.lanes or max(1, animation.slots.count - 1)
        backend.employ(
            lanes,
            rigs=self._rigs,
            models=self.models,
            animate=self._animate,
            writers=self._writers,
            executor=self._generators,
            slots=animation.slots,
            readiness=self.readiness,
            observer=self.observer,
            progress_seconds=config.progress_seconds,
        )
        return JobServicer(
            config,
            backend,
            models=self.models,
            rigs=self._rigs,
            writers=self._writers,
            unread=animation.unread,
            readiness=self.readiness,
        )


def rig_parser(config: ServerConfig) -> Parse:
    """``load_rig`` within the configured limits."""
    limits = Limits(file_bytes=config.max_asset_bytes, joints=config.max_joints)

    def parse(data: bytes, name: str) -> Rig:
        return load_rig(data, name=name or None, limits=limits)

    return parse


def web_listener(config: ServerConfig, boundary: Boundary, transport: Transport | None) -> WebListener:
    """The second port; its libraries are loaded by those who want it."""
    from animax.service.web import WebListener

    return WebListener(config, boundary, MAX_MESSAGE_BYTES, transport.context() if transport else None)


def asset_writers() -> Writers:
    """The writers of ``animax.assets``."""
    from animax.assets import write_bvh, write_glb

    return Writers(write_glb, write_bvh)


async def run(server: Server, on_started: Callable[[Server], None] | None = None) -> None:
    """Serve until SIGTERM or SIGINT, then shut down gracefully; a second signal ends what is left at once. SIGHUP loads
    models that have changed, and reads certificates, tokens and keys anew."""
    loop = asyncio.get_running_loop()
    asked, insisted = asyncio.Event(), asyncio.Event()

    def on_signal() -> None:
        (insisted if asked.is_set() else asked).set()

    for number in (signal.SIGTERM, signal.SIGINT):
        with suppress(NotImplementedError):  # Windows, where Ctrl-C comes as KeyboardInterrupt
            loop.add_signal_handler(number, on_signal)
    if hasattr(signal, "SIGHUP"):
        reloads: set[asyncio.Task[None]] = set()

        def on_hangup() -> None:
            task = asyncio.ensure_future(server.reload())
            reloads.add(task)  # the loop itself keeps no task alive
            task.add_done_callback(reloads.discard)

        loop.add_signal_handler(signal.SIGHUP, on_hangup)
    await server.start()
    if on_started is not None:
        on_started(server)
    await asked.wait()
    log.info("told to end: what runs gets up to %g s", server.config.grace_seconds)
    stopping = asyncio.create_task(server.stop())
    insisting = asyncio.create_task(insisted.wait())
    await asyncio.wait({stopping, insisting}, return_when=asyncio.FIRST_COMPLETED)
    insisting.cancel()
    if not stopping.done():
        log.info("told once more: ending at once")
        stopping.cancel()
        await server.stop(at_once=True)
    log.info("ended")


def serve(config: ServerConfig | None = None, *, on_started: Callable[[Server], None] | None = None) -> None:
    """Load the models and serve until SIGTERM or SIGINT.

    Args:
        config: default: ``ServerConfig()``.
        on_started: called once the server listens, to tell people where (``server.port``); the models may still
            be warming up.

    Raises:
        ModelError, EngineError: a model cannot be loaded.
        ServiceError: the address cannot be listened on.
    """
    from animax.pipeline import animate

    config = config or ServerConfig()
    models = ServedModels.load([model_source(name, config) for name in config.models])
    asyncio.run(_serve(config, models, animate, on_started))


def model_source(name: str, config: ServerConfig) -> Source:
    """A model by name or folder, on the configured engine."""
    from animax.diffusion.model import load_model
    from animax.diffusion.registry import folder_stamp

    load = partial(load_model, name, config.provider, config.threads, config.max_batch)
    return Source(load, partial(folder_stamp, name))


async def _serve(
    config: ServerConfig, models: ServedModels, animate: Animate, on_started: Callable[[Server], None] | None
) -> None:
    await run(Server(config, models, animate), on_started)
