"""Begins and ends the record of every call: counts it, traces it, writes its line to the log."""

from __future__ import annotations

import logging
import re
import secrets
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from animax.service.observe.access_log import AccessLine
from animax.service.observe.metrics import Ended, Metrics
from animax.service.observe.record import Record, current
from animax.service.observe.tracing import Tracing

access = logging.getLogger("animax.access")

REQUEST_ID = "x-request-id"
_SAFE_ID = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}")
"""What may come from outside into logs and trailers."""


class Observer:
    """Watches one server or worker.

    Args:
        tracing: None traces nothing.
        log_prompts: whether log lines may hold what people typed.
    """

    def __init__(self, tracing: Tracing | None = None, *, log_prompts: bool = False) -> None:
        self.metrics = Metrics()
        self.tracing = tracing
        self.log_prompts = log_prompts

    def begin(self, method: str, metadata: Iterable[tuple[str, str | bytes]] = ()) -> Record:
        """A call has arrived; the record is that of the present task from now on.

        Args:
            method: ``animax.v1.Service/Method``.
            metadata: of the call.
        """
        given = {key: value for key, value in metadata if isinstance(value, str)}
        asked = given.get(REQUEST_ID, "")
        request_id = asked if _SAFE_ID.fullmatch(asked) else secrets.token_hex(8)
        record = Record(method, request_id, self.metrics)
        self.metrics.in_progress.labels(method).inc()
        if self.tracing is not None:
            self.tracing.begin(record, given)
        current.set(record)
        return record

    def end(self, record: Record, code: str, reason: str = "") -> None:
        """A call has ended.

        Args:
            record: from ``begin``.
            code: name of its status code.
            reason: why it failed; empty where it did not.
        """
        record.code, record.reason, record.seconds = code, reason, time.monotonic() - record.began
        self.metrics.in_progress.labels(record.name).dec()
        self.metrics.ended(Ended(time.time(), record.name, code, reason, record.seconds, record.first_frame_seconds))
        self._tell(record)

    @contextmanager
    def attempt(self, job_id: str) -> Iterator[Record]:
        """An attempt at a job; whoever makes it puts what became of it into the record's ``code``."""
        record = Record("job", job_id, self.metrics)
        if self.tracing is not None:
            self.tracing.begin(record, {})
        token = current.set(record)
        try:
            yield record
        finally:
            current.reset(token)
            record.seconds = time.monotonic() - record.began
            record.code = record.code or "lost"
            self.metrics.job_attempts.labels(record.code).inc()
            self._tell(record)

    def close(self) -> None:
        """Send what has been traced; may block for seconds."""
        if self.tracing is not None:
            self.tracing.close()

    def _tell(self, record: Record) -> None:
        if self.tracing is not None:
            self.tracing.end(record)
        if access.isEnabledFor(logging.INFO):
            access.info(AccessLine(record, self.log_prompts))
