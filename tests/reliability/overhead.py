"""What watching costs: processor time of one call on the server, and of one scrape.

    python -m tests.reliability.overhead

The call is HasAsset, the cheapest there is, from the boundary inwards: without the transport, which would hide it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from animax.client import AsyncClient
from animax.service.observe.access_log import formatter
from animax.service.observe.observer import Observer
from animax.service.observe.record import Record
from animax.service.observe.tracing import Tracing
from animax.v1 import asset_service_pb2 as asset_pb
from tests.service.conftest import Running, serving
from tests.service.scrape import page

CALLS, ROUNDS = 2000, 7
METHOD = "animax.v1.AssetService/HasAsset"


class Unwatched(Observer):
    """Does nothing: what a call costs by itself."""

    def begin(self, method: str, metadata: Any = ()) -> Record:
        return Record(method)

    def end(self, record: Record, code: str, reason: str = "") -> None:
        pass


class Context:
    """As much of a call's context as it takes."""

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        return (("user-agent", "grpc"), ("x-request-id", "shot-17"))

    def set_trailing_metadata(self, metadata: object) -> None:
        pass


@contextmanager
def logging_as(name: str | None) -> Iterator[None]:
    root = logging.getLogger()
    with open(os.devnull, "w") as nowhere:  # noqa: PTH123 - a stream
        handler = logging.StreamHandler(nowhere)
        if name is not None:
            handler.setFormatter(formatter(name))
            root.addHandler(handler)
            root.setLevel(logging.INFO)
        yield
        root.removeHandler(handler)
        root.setLevel(logging.WARNING)


async def microseconds(running: Running, rig_id: str, observer: Observer | None = None) -> float:
    boundary, request = running.server._boundary, asset_pb.HasAssetRequest(rig_id=rig_id)
    if observer is not None:
        boundary._observer = observer
    call = boundary._guarded(METHOD, running.server._assets.HasAsset)
    best = float("inf")
    for _ in range(ROUNDS):
        began = time.process_time()
        for _ in range(CALLS):
            await call(request, Context())
        best = min(best, (time.process_time() - began) / CALLS)
    return best * 1e6


async def main() -> None:
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(InMemorySpanExporter()))
    async with serving(metrics_port=0) as running, AsyncClient(running.target) as client:
        rig_id = (await client.upload(running.glb)).rig_id
        alone = await microseconds(running, rig_id, Unwatched())
        print(f"{'call by itself':<22} {alone:6.1f} µs")
        for name, log, observer in (
            ("metrics", None, Observer()),
            ("metrics, text log", "text", Observer()),
            ("metrics, JSON log", "json", Observer()),
            ("metrics, traces", None, Observer(Tracing(provider))),
        ):
            with logging_as(log):
                print(f"{name:<22} {await microseconds(running, rig_id, observer) - alone:+6.1f} µs")
        took = []
        for _ in range(30):
            began = time.process_time()
            await page(running, "/metrics")
            took.append(time.process_time() - began)
        print(f"{'scrape':<22} {min(took) * 1e3:6.1f} ms, both ends")
    provider.shutdown()


if __name__ == "__main__":
    asyncio.run(main())
