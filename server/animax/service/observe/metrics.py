"""Counters and histograms of one server. Every label has a fixed set of values, so the number of series is bounded."""

from __future__ import annotations

import math
import time
from collections import Counter as Tally
from collections import deque
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, disable_created_metrics

from animax.request import Stage

# the time at which each series began, as a series of its own: twice the lines, for nobody
disable_created_metrics()  # type: ignore[no-untyped-call]

FAST = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
"""Seconds: from an answer out of memory to the longest request."""
STAGES = (*(stage.value for stage in Stage), "write", "window")
"""``window`` is one window of a performance, with all of its stages."""
REFUSED = ("RESOURCE_EXHAUSTED", "UNAVAILABLE")
"""Codes of calls that failed for what else the server had to do, or was not ready to do."""
RECENT = 1000
RECENT_SECONDS = 300.0


class Ended(NamedTuple):
    """A call that ended lately."""

    at: float
    method: str
    code: str
    reason: str
    seconds: float
    first_frame_seconds: float | None


class Metrics:
    """Written by one event loop; read by any thread."""

    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self.requests = Counter(
            "animax_requests", "Calls that ended, by method and status code.", ("method", "code"), registry=registry
        )
        self.in_progress = Gauge(
            "animax_requests_in_progress", "Calls in progress, by method.", ("method",), registry=registry
        )
        self.request_seconds = Histogram(
            "animax_request_seconds",
            "From the arrival of a call to its status.",
            ("method",),
            registry=registry,
            buckets=FAST,
        )
        self.errors = Counter(
            "animax_errors",
            "Calls that ended with an error, by the reason that the caller was told.",
            ("reason",),
            registry=registry,
        )
        self.refusals = Counter(
            "animax_refusals",
            "Calls that a full, busy or unready server turned away or cut short, by reason; a part of the errors.",
            ("reason",),
            registry=registry,
        )
        self.queue_seconds = Histogram(
            "animax_queue_seconds", "Waiting for a slot, once for each clip.", registry=registry, buckets=FAST
        )
        self.stage_seconds = Histogram(
            "animax_stage_seconds",
            "Stages of generations, also of those that were stopped or failed on the way.",
            ("stage",),
            registry=registry,
            buckets=FAST,
        )
        self.first_frame_seconds = Histogram(
            "animax_first_frame_seconds",
            "From the arrival of a call to its first frame.",
            registry=registry,
            buckets=FAST,
        )
        self.upload_bytes = Counter("animax_upload_bytes", "Bytes of rigs that came in.", registry=registry)
        self.job_attempts = Counter(
            "animax_job_attempts",
            "Attempts at jobs by this process, by what became of them.",
            ("outcome",),
            registry=registry,
        )
        for stage in STAGES:  # a series that is there from the start has a rate from the first event on
            self.stage_seconds.labels(stage)
        self._recent: deque[Ended] = deque(maxlen=RECENT)

    def ended(self, call: Ended) -> None:
        """Count a call that has ended."""
        self.requests.labels(call.method, call.code).inc()
        self.request_seconds.labels(call.method).observe(call.seconds)
        if call.reason:
            self.errors.labels(call.reason).inc()
            if call.code in REFUSED:
                self.refusals.labels(call.reason).inc()
        self._recent.append(call)

    def recent(self) -> Recent:
        """The calls of the last minutes, at most ``RECENT``."""
        since = time.time() - RECENT_SECONDS
        return Recent([call for call in self._recent if call.at >= since])


class Recent:
    """Calls that ended lately, summed up."""

    def __init__(self, calls: Sequence[Ended]) -> None:
        self.errors = dict(Tally(call.reason for call in calls if call.reason).most_common())
        self.methods = {
            method: _latencies([call.seconds for call in calls if call.method == method])
            for method in sorted({call.method for call in calls})
        }
        self.first_frame = _latencies(
            [call.first_frame_seconds for call in calls if call.first_frame_seconds is not None]
        )


def _latencies(seconds: Iterable[float]) -> dict[str, float]:
    """Count and percentiles; the latter are left out where there is nothing."""
    values = sorted(seconds)
    if not values:
        return {"count": 0}

    def at(share: float) -> float:
        return values[max(0, math.ceil(share * len(values)) - 1)]

    return {"count": len(values), "p50": at(0.5), "p95": at(0.95), "max": values[-1]}
