"""OpenTelemetry spans: one for each call, with a child for each stage. Nothing of it is imported while it is off.

Only the server traces: the client interceptors of OpenTelemetry for asyncio swallow cancellations.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from animax.errors import OptionError
from animax.service.observe.record import Record

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

FAULTS = ("INTERNAL", "UNKNOWN", "DATA_LOSS", "UNAVAILABLE", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "failed")
"""Codes for which a server's span is an error (OpenTelemetry's conventions for gRPC); the caller's faults are none."""
FLUSH_MS = 3000


class Tracing:
    """Makes spans of records.

    Args:
        provider: of tracers, with its exporters.
    """

    def __init__(self, provider: TracerProvider) -> None:
        from opentelemetry import trace
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._api = trace
        self._provider = provider
        self._tracer = provider.get_tracer("animax")
        self._propagator = TraceContextTextMapPropagator()

    @classmethod
    def configured(cls, on: bool) -> Tracing | None:
        """None while it is off. Else, spans go where the environment variables of OpenTelemetry itself say
        (``OTEL_EXPORTER_OTLP_ENDPOINT``, ...).

        Raises:
            OptionError: the packages are not installed.
        """
        if not on:
            return None
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
        except ImportError as error:
            accepted = f"off, or on after pip install 'animax[otel]' ({error.name})"
            raise OptionError("traces", True, accepted) from None
        # what is given here would win over the environment
        provider = TracerProvider(
            resource=Resource.create({"service.name": os.environ.get("OTEL_SERVICE_NAME", "animax")})
        )
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        return cls(provider)

    def begin(self, record: Record, metadata: Mapping[str, str]) -> None:
        """Begin a record's span, below the caller's if there is a ``traceparent``."""
        parent = self._propagator.extract(metadata)
        is_call = record.name != "job"
        service, _, method = record.name.partition("/")
        attributes = {"rpc.system": "grpc", "rpc.service": service, "rpc.method": method} if is_call else {}
        kind = self._api.SpanKind.SERVER if is_call else self._api.SpanKind.CONSUMER
        record.trace = self._tracer.start_span(
            record.name, parent, kind, {**attributes, "animax.request_id": record.request_id}, start_time=_ns(record.at)
        )
        record.trace_id = f"{record.trace.get_span_context().trace_id:032x}"

    def end(self, record: Record) -> None:
        """End a record's span, and tell the stages that it went through."""
        span: Any = record.trace
        if span is None or not span.is_recording():
            return

        def at(moment: float) -> int:
            return _ns(record.at + moment - record.began)

        below = self._api.set_span_in_context(span)
        for stage in record.spans:
            child = self._tracer.start_span(stage.stage, below, start_time=at(stage.began))
            child.end(at(stage.ended))
        facts = {f"animax.{name}": value for name, value in record.facts.items() if value is not None}
        span.set_attributes({**facts, "animax.queued_seconds": record.queued_seconds})
        if record.name != "job":
            span.set_attribute("rpc.response.status_code", record.code)
        if record.reason:
            span.set_attribute("error.type", record.reason)
        if record.code in FAULTS:
            span.set_status(self._api.StatusCode.ERROR, record.reason or record.code)
        span.end(at(record.began + record.seconds))

    def close(self) -> None:
        """Send what waits to be sent."""
        self._provider.force_flush(FLUSH_MS)
        self._provider.shutdown()


def _ns(seconds: float) -> int:
    return int(seconds * 1e9)
