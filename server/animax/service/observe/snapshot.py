"""How a server or worker stands at one moment: what the status page, ``animax top`` and the gauges show."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, InfoMetricFamily
from prometheus_client.metrics_core import Metric

from animax.errors import ServiceError
from animax.service.admission import Slots
from animax.service.jobs.backend import JobBackend
from animax.service.models import ServedModels
from animax.service.observe.metrics import Metrics
from animax.service.observe.process import resident_bytes
from animax.service.readiness import Readiness
from animax.service.rig_store import RigStore
from animax.service.unread import Unread
from animax.service.waiting import within

STORE_SECONDS = 2.0
"""For the store to say how many jobs there are: a store that hangs must not take the metrics with it."""


@dataclass(frozen=True)
class ModelFacts:
    """A model that is served."""

    name: str
    sha256: str
    provider: str


@dataclass(frozen=True)
class Snapshot:
    """One moment.

    Attributes:
        version: of animax.
        uptime_seconds: since the process began to serve.
        state: value of ``readiness.State``.
        ready: whether health says SERVING.
        models: the first is the default.
        slots, generating: slots, and how many are in use.
        queued: requests that wait for a slot.
        jobs_waiting: of this process, for a slot.
        calls: in progress, by method.
        rigs, rig_bytes, rig_hits, rig_misses: rigs in memory.
        unread_bytes: of clips that wait for their readers.
        batch_sizes: network calls by number of samples.
        memory_bytes: of the process; None where the system does not tell.
        tasks: of the event loop.
        jobs: of the whole store by state; None without a store, or while it cannot be reached.
        store: whether the store can be reached; None without one.
        errors: of the last minutes, by reason.
        latencies: of the last minutes, by method: count, p50, p95 and max in seconds.
        first_frame: the same, from arrival to first frame.
    """

    version: str
    uptime_seconds: float
    state: str
    ready: bool
    models: tuple[ModelFacts, ...]
    slots: int
    generating: int
    queued: int
    jobs_waiting: int
    calls: dict[str, int]
    rigs: int
    rig_bytes: int
    rig_hits: int
    rig_misses: int
    unread_bytes: int
    batch_sizes: dict[int, int]
    memory_bytes: int | None
    tasks: int
    jobs: dict[str, int] | None
    store: bool | None
    errors: dict[str, int]
    latencies: dict[str, dict[str, float]]
    first_frame: dict[str, float]

    def json(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)

    def families(self) -> Iterator[Metric]:
        """As metrics, beside those that are counted as they happen."""
        yield InfoMetricFamily("animax_build", "The version that runs.", {"version": self.version})
        models = GaugeMetricFamily("animax_model", "Models that are served.", labels=("name", "sha256", "provider"))
        for model in self.models:
            models.add_metric((model.name, model.sha256[:12], model.provider), 1)
        yield models
        yield GaugeMetricFamily("animax_ready", "Whether health says SERVING.", int(self.ready))
        yield GaugeMetricFamily("animax_slots", "Clips that can be generated at the same time.", self.slots)
        yield GaugeMetricFamily("animax_slots_in_use", "Clips that are being generated.", self.generating)
        queue = GaugeMetricFamily("animax_queue_length", "Waiting for a slot in this process.", labels=("kind",))
        queue.add_metric(("request",), self.queued)
        queue.add_metric(("job",), self.jobs_waiting)
        yield queue
        yield GaugeMetricFamily("animax_rig_cache_rigs", "Rigs in memory.", self.rigs)
        yield GaugeMetricFamily("animax_rig_cache_bytes", "Memory of rigs.", self.rig_bytes)
        yield CounterMetricFamily("animax_rig_cache_hits", "Rigs that were found in memory.", self.rig_hits)
        yield CounterMetricFamily("animax_rig_cache_misses", "Rigs that were not in memory.", self.rig_misses)
        yield GaugeMetricFamily("animax_unread_bytes", "Clips that wait for their readers.", self.unread_bytes)
        yield GaugeMetricFamily("animax_tasks", "Tasks of the event loop.", self.tasks)
        yield batch_histogram(self.batch_sizes)
        if self.store is not None:
            yield GaugeMetricFamily("animax_job_store_up", "Whether the job store answers.", int(self.store))
        if self.jobs is not None:
            jobs = GaugeMetricFamily("animax_jobs", "Jobs of the whole store, by state.", labels=("state",))
            for state, count in self.jobs.items():
                jobs.add_metric((state,), count)
            yield jobs


def batch_histogram(sizes: dict[int, int]) -> HistogramMetricFamily:
    """Network calls by number of samples."""
    family = HistogramMetricFamily("animax_denoise_batch_size", "Samples in one network call, by call.")
    bounds = sorted({1, 2, 4, 8, 16, 32, 64, 128})
    below = [sum(calls for size, calls in sizes.items() if size <= bound) for bound in bounds]
    total = sum(sizes.values())
    buckets = [*((f"{float(bound)}", count) for bound, count in zip(bounds, below, strict=True)), ("+Inf", total)]
    family.add_metric((), buckets, sum(size * calls for size, calls in sizes.items()))
    return family


class Observed:
    """The parts of a server or worker that snapshots are taken of. Belongs to their event loop."""

    def __init__(
        self,
        metrics: Metrics,
        *,
        models: ServedModels,
        slots: Slots,
        rigs: RigStore,
        readiness: Readiness,
        jobs: JobBackend | None = None,
        unread: Unread | None = None,
    ) -> None:
        self.metrics = metrics
        self._models, self._slots, self._rigs, self._readiness = models, slots, rigs, readiness
        self._jobs, self._unread = jobs, unread
        self._began = time.monotonic()
        self._counting = asyncio.Lock()

    async def snapshot(self) -> Snapshot:
        """How things stand."""
        jobs = await self._job_counts()
        recent = self.metrics.recent()
        sizes: dict[int, int] = {}
        for model in self._models:
            for size, calls in model_batches(model).items():
                sizes[size] = sizes.get(size, 0) + calls
        in_progress = {
            sample.labels["method"]: int(sample.value)
            for family in self.metrics.in_progress.collect()
            for sample in family.samples
            if sample.value
        }
        return Snapshot(
            version=version("animax"),
            uptime_seconds=time.monotonic() - self._began,
            state=self._readiness.state.value,
            ready=self._readiness.serving,
            models=tuple(ModelFacts(model.name, model.sha256, model.provider) for model in self._models),
            slots=self._slots.count,
            generating=self._slots.running,
            queued=self._slots.waiting,
            jobs_waiting=self._slots.background,
            calls=in_progress,
            rigs=len(self._rigs),
            rig_bytes=self._rigs.nbytes,
            rig_hits=self._rigs.hits,
            rig_misses=self._rigs.misses,
            unread_bytes=self._unread.nbytes if self._unread is not None else 0,
            batch_sizes=sizes,
            memory_bytes=resident_bytes(),
            tasks=len(asyncio.all_tasks()),
            jobs=jobs,
            store=None if self._jobs is None else jobs is not None,
            errors=recent.errors,
            latencies=recent.methods,
            first_frame=recent.first_frame,
        )

    async def _job_counts(self) -> dict[str, int] | None:
        if self._jobs is None:
            return None
        async with self._counting:  # whoever scrapes a store that hangs must not take all of its threads
            try:
                counts = await within(self._jobs.call(self._jobs.store.counts), STORE_SECONDS)
            except (
                TimeoutError,
                ServiceError,
                RuntimeError,
            ):  # RuntimeError: its threads have ended, as the server will
                return None
        return {state.name.lower(): count for state, count in counts.items()}


def model_batches(model: Any) -> dict[int, int]:
    """Network calls of a model by number of samples; nothing where its network is not shared."""
    batcher = getattr(model, "denoiser", None)
    return dict(getattr(batcher, "batch_sizes", {}))
