"""Spans of calls and jobs, by OpenTelemetry's own exporter in memory; nothing of it is loaded while it is off."""

from __future__ import annotations

import asyncio
import gzip
import subprocess
import sys
import textwrap
import threading
from collections.abc import AsyncIterator, Sequence
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from animax.client import AsyncClient
from animax.errors import OptionError
from animax.service.jobs.settings import in_folder
from animax.service.observe.tracing import Tracing
from animax.v1 import animation_service_pb2 as pb
from tests.service.conftest import Running, serving, until

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
ANIMATE = "animax.v1.AnimationService/Animate"


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
async def traced(exporter: InMemorySpanExporter, tmp_path: Path) -> AsyncIterator[Running]:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    jobs = in_folder(tmp_path, poll_seconds=0.02)
    async with serving(tracing=Tracing(provider), jobs=jobs) as running:
        yield running


def named(spans: Sequence[ReadableSpan], name: str) -> list[ReadableSpan]:
    return [span for span in spans if span.name == name]


async def animate(running: Running, request: pb.AnimateRequest, *metadata: tuple[str, str]) -> None:
    async with running.channel() as channel:
        try:
            async for _ in running.stub(channel).Animate(request, metadata=metadata):
                pass
        except grpc.aio.AioRpcError:
            pass
    await until(lambda: running.server._boundary.active == 0)


async def test_a_call_is_a_span_below_the_caller_s_with_its_stages_below_it(
    traced: Running, exporter: InMemorySpanExporter
) -> None:
    async with AsyncClient(traced.target) as client:
        rig_id = (await client.upload(traced.glb)).rig_id
    traced.engine.step_seconds = 0.02
    request = pb.AnimateRequest(rig_id=rig_id, prompt="a secret", seed=3, file_formats=[pb.FILE_FORMAT_GLB])
    await animate(traced, request, ("traceparent", f"00-{TRACE}-{PARENT}-01"), ("x-request-id", "shot-17"))
    (span,) = named(exporter.get_finished_spans(), ANIMATE)
    assert span.context is not None
    assert span.parent is not None
    assert f"{span.context.trace_id:032x}" == TRACE
    assert f"{span.parent.span_id:016x}" == PARENT
    assert span.kind is SpanKind.SERVER
    assert span.attributes is not None
    told = dict(span.attributes)
    assert (told["rpc.system"], told["rpc.service"], told["rpc.method"]) == (
        "grpc",
        "animax.v1.AnimationService",
        "Animate",
    )
    assert (told["rpc.response.status_code"], told["animax.request_id"]) == ("OK", "shot-17")
    assert (told["animax.seed"], told["animax.model"]) == (3, "fake")
    assert "secret" not in str(told)
    stages = [s for s in exporter.get_finished_spans() if s.parent and s.parent.span_id == span.context.span_id]
    assert [stage.name for stage in stages] == ["denoise", "write"]
    for stage in stages:
        assert span.start_time <= stage.start_time <= stage.end_time <= span.end_time  # type: ignore[operator]
    assert stages[0].end_time - stages[0].start_time > 0.07e9  # type: ignore[operator]


async def test_failures_are_marked_and_the_caller_s_own_are_not(
    traced: Running, exporter: InMemorySpanExporter
) -> None:
    async with AsyncClient(traced.target) as client:
        rig_id = (await client.upload(traced.glb)).rig_id
    await animate(traced, pb.AnimateRequest(rig_id="0" * 64, prompt="x"))
    traced.engine.failure = RuntimeError("a defect")
    await animate(traced, pb.AnimateRequest(rig_id=rig_id, prompt="x"))
    unknown, defect = named(exporter.get_finished_spans(), ANIMATE)
    assert unknown.status.status_code is StatusCode.UNSET
    assert defect.status.status_code is StatusCode.ERROR
    assert [span.attributes and span.attributes["error.type"] for span in (unknown, defect)] == [
        "RIG_UNKNOWN",
        "INTERNAL",
    ]


async def test_a_cancelled_call_ends_its_span_with_the_stage_it_was_in(
    traced: Running, exporter: InMemorySpanExporter
) -> None:
    async with AsyncClient(traced.target) as client:
        rig_id = (await client.upload(traced.glb)).rig_id
        traced.engine.gate.clear()
        call = asyncio.create_task(client.animate(rig_id, "x").collect())
        await until(lambda: traced.engine.running == 1)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
    await until(lambda: traced.server._boundary.active == 0)
    traced.engine.gate.set()
    (span,) = named(exporter.get_finished_spans(), ANIMATE)
    assert span.attributes is not None
    assert span.attributes["rpc.response.status_code"] == "CANCELLED"
    assert [s.name for s in exporter.get_finished_spans() if s.parent] == ["denoise"]


async def test_an_attempt_at_a_job_is_a_span_too(traced: Running, exporter: InMemorySpanExporter) -> None:
    async with AsyncClient(traced.target) as client:
        rig_id = (await client.upload(traced.glb)).rig_id
        job = await client.create_job(rig_id, "x")
        async for _ in client.watch_job(job.job_id):
            pass
    await until(lambda: bool(named(exporter.get_finished_spans(), "job")))
    (span,) = named(exporter.get_finished_spans(), "job")
    assert span.attributes is not None
    assert span.attributes["animax.request_id"] == job.job_id
    assert "denoise" in [s.name for s in exporter.get_finished_spans()]


@pytest.mark.parametrize("header", ["00-zz", "", f"00-{'0' * 32}-{PARENT}-01"])
async def test_a_bad_traceparent_begins_a_new_trace(
    header: str, traced: Running, exporter: InMemorySpanExporter
) -> None:
    await animate(traced, pb.AnimateRequest(rig_id="0" * 64, prompt="x"), ("traceparent", header))
    (span,) = named(exporter.get_finished_spans(), ANIMATE)
    assert span.parent is None


async def test_spans_go_where_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    received: list[ExportTraceServiceRequest] = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            received.append(ExportTraceServiceRequest.FromString(body))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Collector) as collector:
        thread = threading.Thread(target=collector.serve_forever)
        thread.start()
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{collector.server_port}")
        async with serving(traces=True) as running, AsyncClient(running.target) as client:
            await client.upload(running.glb)
        await asyncio.to_thread(collector.shutdown)
        thread.join()
    resources = [resource for request in received for resource in request.resource_spans]
    spans = [span.name for resource in resources for scope in resource.scope_spans for span in scope.spans]
    assert sorted(spans) == ["animax.v1.AssetService/HasAsset", "animax.v1.AssetService/UploadAsset"]
    names = {a.value.string_value for r in resources for a in r.resource.attributes if a.key == "service.name"}
    assert names == {"animax"}


async def test_an_unreachable_collector_holds_up_no_call_and_not_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    loop = asyncio.get_running_loop()
    async with serving(traces=True) as running, AsyncClient(running.target) as client:
        began = loop.time()
        await client.upload(running.glb)
        assert loop.time() - began < 2
        began = loop.time()
    assert loop.time() - began < 20


def test_without_the_packages_the_switch_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(OptionError, match=r"animax\[otel\]"):
        Tracing.configured(True)
    assert Tracing.configured(False) is None


def test_nothing_of_it_is_loaded_while_it_is_off(repository: Path) -> None:
    program = """
        import asyncio, sys
        from animax.client import AsyncClient
        from tests.service.conftest import serving

        async def main():
            async with serving(metrics_port=0) as running, AsyncClient(running.target) as client:
                rig = await client.upload(running.glb)
                await client.animate(rig.rig_id, "walks").collect()

        asyncio.run(main())
        print(sorted(name for name in sys.modules if name.startswith("opentelemetry")))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], cwd=repository, capture_output=True, text=True, timeout=120
    )
    assert done.stdout == "[]\n", done.stderr
