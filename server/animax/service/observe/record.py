"""What is known of one call, or of one attempt at a job, while it goes along: the source of all that is told of it."""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from animax.service.observe.metrics import Metrics
from animax.service.stage_clock import Span


@dataclass(eq=False)
class Record:
    """Handlers note here what they learn; what is measured goes to the metrics at once.

    Attributes:
        name: the method, ``animax.v1.AnimationService/Animate``, or ``job``.
        request_id: the caller's own, or one that was made.
        metrics: None measures nothing.
        began: monotonic seconds.
        at: seconds since the epoch, of ``began``.
        facts: rig, model, seed and what else the log line should hold; no prompt.
        prompt: kept apart, since it may be told only where that was asked for.
        spans: stages that were gone through, over all variants.
        queued_seconds: waited for slots.
        first_frame_seconds: until the first frame was sent.
        upload_bytes: that came in.
        code: of the status; empty while it goes along.
        reason: of the error; empty without one.
        seconds: from beginning to end.
        trace: what tracing keeps with it.
        trace_id: hex; empty without tracing.
    """

    name: str
    request_id: str = ""
    metrics: Metrics | None = None
    began: float = field(default_factory=time.monotonic)
    at: float = field(default_factory=time.time)
    facts: dict[str, Any] = field(default_factory=dict)
    prompt: str = ""
    spans: list[Span] = field(default_factory=list)
    queued_seconds: float = 0.0
    first_frame_seconds: float | None = None
    upload_bytes: int = 0
    code: str = ""
    reason: str = ""
    seconds: float = 0.0
    trace: Any = None
    trace_id: str = ""

    def note(self, prompt: str = "", **facts: Any) -> None:
        """Remember what was asked for."""
        self.prompt = prompt or self.prompt
        self.facts.update(facts)

    def queued(self, seconds: float) -> None:
        """A slot was waited for."""
        self.queued_seconds += seconds
        if self.metrics is not None:
            self.metrics.queue_seconds.observe(seconds)

    def went_through(self, spans: Iterable[Span]) -> None:
        """A generation has ended, in whichever way."""
        for span in spans:
            self.spans.append(span)
            if self.metrics is not None:
                self.metrics.stage_seconds.labels(span.stage).observe(span.seconds)

    def frame_sent(self) -> None:
        """A message with frames was sent; the first one counts."""
        if self.first_frame_seconds is None:
            self.first_frame_seconds = time.monotonic() - self.began
            if self.metrics is not None:
                self.metrics.first_frame_seconds.observe(self.first_frame_seconds)

    def uploaded(self, count: int) -> None:
        """Bytes of a file came in."""
        self.upload_bytes += count
        if self.metrics is not None:
            self.metrics.upload_bytes.inc(count)

    def stage_seconds(self) -> dict[str, float]:
        """Seconds by stage, over all variants."""
        took: dict[str, float] = {}
        for span in self.spans:
            took[span.stage] = took.get(span.stage, 0.0) + span.seconds
        return took


current: ContextVar[Record | None] = ContextVar("animax_record", default=None)
"""Of the call that a task works on."""


def record() -> Record:
    """The record of the call that is being worked on; outside of one, a record that nobody reads."""
    return current.get() or Record("")
