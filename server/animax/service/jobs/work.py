"""A process that only works: on jobs of a store that it shares with servers, without a port of its own."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from animax.service.admission import Slots
from animax.service.config import ServerConfig
from animax.service.generation import Animate, Writers
from animax.service.jobs.backend import JobBackend
from animax.service.models import ServedModels
from animax.service.observe.monitor import Monitor
from animax.service.observe.observer import Observer
from animax.service.observe.snapshot import Observed
from animax.service.observe.tracing import Tracing
from animax.service.readiness import Readiness
from animax.service.rig_store import Parse, RigStore
from animax.service.waiting import within

log = logging.getLogger(__name__)


async def work(
    config: ServerConfig,
    models: ServedModels,
    animate: Animate,
    parse: Parse,
    writers: Writers,
    on_started: Callable[[], None] | None = None,
    tracing: Tracing | None = None,
) -> None:
    """Work on jobs until SIGTERM or SIGINT; then finish those at work within the configured grace, and queue again what
    did not. A second signal ends the grace.

    Args:
        config: of its places only ``jobs`` and ``metrics_port`` are used; ``slots`` are its lanes if ``jobs`` says
            nothing else.
        models: loaded, not yet warm.
        animate: ``animax.pipeline.animate`` or what stands for it.
        parse: bytes and a name to a rig.
        writers: not used by jobs, but a part of every generation.
        on_started: called when it begins to look for jobs.
        tracing: of jobs; default: as configured.
    """
    assert config.jobs is not None
    slots = config.slots_on(models.default.provider)
    generators = ThreadPoolExecutor(slots, "animax-generate")
    parsers = ThreadPoolExecutor(1, "animax-parse")
    backend = JobBackend(config.jobs, config.write_timeout_seconds)
    readiness = Readiness(models, generators)
    observer = Observer(tracing or Tracing.configured(config.traces), log_prompts=config.log_prompts)
    lanes, rigs = Slots(slots, 0), RigStore(parse, config.rig_bytes, parsers, backend)
    backend.employ(
        config.jobs.lanes or slots,
        rigs=rigs,
        models=models,
        animate=animate,
        writers=writers,
        executor=generators,
        slots=lanes,
        readiness=readiness,
        observer=observer,
        progress_seconds=config.progress_seconds,
    )
    monitor = None
    if config.metrics_port is not None:
        observed = Observed(observer.metrics, models=models, slots=lanes, rigs=rigs, readiness=readiness, jobs=backend)
        monitor = Monitor(observed, config.metrics_host, config.metrics_port)
    asked, insisted = _signals()
    await readiness.begin()
    backend.start()
    if on_started is not None:
        on_started()
    await asked
    await readiness.drain(0.0)
    backend.leave()
    with suppress(TimeoutError):
        await within(backend.idle(), config.grace_seconds, insisted)
    await backend.stop()
    for threads in (generators, parsers):
        await asyncio.to_thread(threads.shutdown, cancel_futures=True)
    await asyncio.to_thread(observer.close)
    if monitor is not None:
        await monitor.stop()


def _signals() -> tuple[asyncio.Future[None], asyncio.Future[None]]:
    """Done by the first and by the second SIGTERM or SIGINT."""
    loop = asyncio.get_running_loop()
    asked, insisted = loop.create_future(), loop.create_future()

    def on_signal() -> None:
        future = insisted if asked.done() else asked
        if not future.done():
            future.set_result(None)

    for number in (signal.SIGTERM, signal.SIGINT):
        with suppress(NotImplementedError):  # Windows, where Ctrl-C comes as KeyboardInterrupt
            loop.add_signal_handler(number, on_signal)
    return asked, insisted
