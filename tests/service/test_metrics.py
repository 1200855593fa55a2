"""Counters against a load driver's own counts; what the status port shows, and what it withstands."""

from __future__ import annotations

import asyncio
import random
import socket
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import grpc
import pytest

from animax.client import AsyncClient
from animax.errors import EngineError, GenerationError, ServiceError
from animax.service.jobs.settings import in_folder
from animax.service.observe.monitor import MAX_CONNECTIONS
from animax.service.observe.snapshot import batch_histogram
from animax.v1 import animation_service_pb2 as pb
from animax.wire.jobs import state_name
from tests.service.conftest import Running, serving, until
from tests.service.engine import FakeEngine
from tests.service.scrape import fetch, page, scrape, status

ANIMATE = "animax.v1.AnimationService/Animate"


class MoodyEngine(FakeEngine):
    """Does what the prompt says."""

    def animate(self, rig: Any, request: Any, model: Any, /, **callbacks: Any) -> Any:
        if request.prompt == "fails":
            raise GenerationError("the points lie nowhere")
        if request.prompt == "breaks":
            raise ZeroDivisionError
        slow = FakeEngine(steps=10_000, step_seconds=0.005) if request.prompt == "slow" else None
        return (
            slow.animate(rig, request, model, **callbacks)
            if slow
            else super().animate(rig, request, model, **callbacks)
        )


@dataclass
class Driver:
    """Makes calls and counts what it is told of them."""

    running: Running
    rig_id: str
    seen: Counter[str] = field(default_factory=Counter)
    first_frames: int = 0

    async def animate(self, prompt: str, *, timeout: float | None = None, leave: bool = False, **more: Any) -> None:
        """One call; ``leave`` cancels it when it denoises."""
        async with self.running.channel() as channel:
            await channel.channel_ready()  # a call whose deadline passes on the way there is none to the server
            call = self.running.stub(channel).Animate(
                pb.AnimateRequest(rig_id=self.rig_id, prompt=prompt, **more), timeout=timeout
            )
            first = True
            try:
                async for message in call:
                    if message.HasField("frames") and first:
                        self.first_frames += 1
                        first = False
                    if leave and message.progress.stage == pb.STAGE_DENOISE:
                        call.cancel()
            except (grpc.aio.AioRpcError, asyncio.CancelledError):
                pass
            self.seen[(await call.code()).name] += 1

    async def malformed(self) -> None:
        async with self.running.channel() as channel:
            raw = channel.unary_unary(f"/{ANIMATE}", None, None)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await raw(b"\xff\xff\xff")
            self.seen[caught.value.code().name] += 1


async def test_counters_equal_what_a_load_driver_counts() -> None:
    """Successes, cancels, deadlines, refusals and failures in random order; every count to the last one."""
    dice = random.Random(7)
    async with (
        serving(MoodyEngine(step_seconds=0.001), slots=2, max_queued=6, metrics_port=0) as running,
        AsyncClient(running.target) as client,
    ):
        rig_id = (await client.upload(running.glb)).rig_id
        driver = Driver(running, rig_id)
        kinds: list[Callable[[], Awaitable[None]]] = [
            *[lambda: driver.animate("walks", variants=2)] * 20,
            *[lambda: driver.animate("slow", leave=True)] * 12,
            *[lambda: driver.animate("slow", timeout=2.0)] * 6,
            *[lambda: driver.animate("fails")] * 8,
            *[lambda: driver.animate("breaks")] * 4,
            *[lambda: driver.animate("")] * 5,
            *[lambda: driver.animate("walks", seconds=1e9)] * 5,
            *[lambda: driver.animate("walks", model="none")] * 3,
            *[driver.malformed] * 3,
        ]
        dice.shuffle(kinds)
        room = asyncio.Semaphore(20)  # far more than slots and queue hold: some are refused

        async def one(kind: Callable[[], Awaitable[None]]) -> None:
            async with room:
                await kind()

        await asyncio.gather(*(one(kind) for kind in kinds))
        # in the crowd all of a kind may be refused: each once more, alone
        alone = [
            lambda: driver.animate("walks", variants=2),
            lambda: driver.animate("slow", leave=True),
            lambda: driver.animate("slow", timeout=2.0),
            lambda: driver.animate("fails"),
            lambda: driver.animate("breaks"),
        ]
        for kind in alone:
            await until(lambda: running.server._boundary.active == 0)
            await kind()
        # an unknown rig is one more kind of failure
        driver.rig_id = "0" * 64
        await driver.animate("walks")
        await until(lambda: running.server._boundary.active == 0)
        samples = await scrape(running)
        told = {
            code: count
            for (method, code), count in samples.by("animax_requests_total", "method", "code").items()
            if method == ANIMATE
        }
        assert told == dict(driver.seen)
        assert sum(told.values()) == len(kinds) + len(alone) + 1
        assert {"OK", "CANCELLED", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED", "ABORTED", "INTERNAL"} <= set(told)
        errors = samples.by("animax_errors_total", "reason")
        assert sum(errors.values()) == sum(count for code, count in driver.seen.items() if code != "OK")
        assert samples.by("animax_refusals_total", "reason") == {"QUEUE_FULL": driver.seen["RESOURCE_EXHAUSTED"]}
        assert errors["CANCELLED"] == driver.seen["CANCELLED"]
        assert errors["DEADLINE"] == driver.seen["DEADLINE_EXCEEDED"]
        assert errors["NO_MOTION"] == driver.seen["ABORTED"]
        assert errors["INTERNAL"] == driver.seen["INTERNAL"]
        assert samples.of("animax_request_seconds_count", method=ANIMATE) == sum(told.values())
        assert samples.of("animax_first_frame_seconds_count") == driver.first_frames
        assert samples.by("animax_requests_in_progress", "method") == {}
        assert samples.of("animax_slots_in_use") == 0
        generated = [r.prompt for r in running.engine.calls].count("walks")
        assert generated == 2 * driver.seen["OK"]
        # each generation that began left its time in the histogram, also those of other engines' clocks
        assert samples.of("animax_stage_seconds_count", stage="denoise") >= generated
        assert samples.of("animax_upload_bytes_total") == len(running.glb)
        assert samples.of("animax_rig_cache_misses_total") == 1
        assert samples.of("animax_rig_cache_rigs") == 1
        assert samples.of("animax_rig_cache_bytes") > len(running.glb)
        assert samples.of("process_resident_memory_bytes") > 10_000_000


async def test_queue_and_slots_are_shown_as_they_are() -> None:
    async with serving(slots=1, metrics_port=0) as running, AsyncClient(running.target) as client:
        rig_id = (await client.upload(running.glb)).rig_id
        running.engine.gate.clear()
        streams = [asyncio.create_task(client.animate(rig_id, f"{i}").collect()) for i in range(3)]
        await until(lambda: running.server.animation.slots.waiting == 2)
        samples = await scrape(running)
        assert samples.of("animax_slots") == samples.of("animax_slots_in_use") == 1
        assert samples.by("animax_queue_length", "kind") == {"request": 2}
        assert samples.by("animax_requests_in_progress", "method") == {ANIMATE: 3}
        shown = await status(running)
        assert (shown["generating"], shown["queued"], shown["calls"]) == (1, 2, {ANIMATE: 3})
        await asyncio.sleep(0.1)
        running.engine.gate.set()
        await asyncio.gather(*streams)
        samples = await scrape(running)
        assert samples.of("animax_queue_seconds_count") == 3
        assert samples.of("animax_queue_seconds_sum") > 0.2


async def test_jobs_by_state_and_attempts(tmp_path: Path) -> None:
    async with (
        serving(
            MoodyEngine(), jobs=in_folder(tmp_path, poll_seconds=0.02), metrics_port=0, slots=2, progress_seconds=0.02
        ) as running,
        AsyncClient(running.target) as client,
    ):
        rig_id = (await client.upload(running.glb)).rig_id
        jobs = [await client.create_job(rig_id, prompt) for prompt in ("walks", "walks", "fails", "slow")]
        for job in jobs[:3]:
            async for _ in client.watch_job(job.job_id):
                pass
        await until(lambda: running.server.jobs is not None and running.server.jobs.running == 1)
        samples = await scrape(running)
        assert samples.by("animax_jobs", "state") == {"succeeded": 2, "failed": 1, "running": 1}
        assert samples.by("animax_job_attempts_total", "outcome") == {"succeeded": 2, "failed": 1}
        assert samples.of("animax_job_store_up") == 1
        assert state_name(await client.cancel_job(jobs[3].job_id)) == "cancelled"
        await until(lambda: running.server.jobs is not None and running.server.jobs.running == 0)
        samples = await scrape(running)
        assert samples.by("animax_jobs", "state") == {"succeeded": 2, "failed": 1, "cancelled": 1}
        assert samples.by("animax_job_attempts_total", "outcome") == {"succeeded": 2, "failed": 1, "lost": 1}
        assert running.server.jobs is not None

        def gone() -> None:
            raise ServiceError("the job store cannot be reached", reason="STORE_UNAVAILABLE")

        running.server.jobs.store.counts = gone  # type: ignore[method-assign,assignment]
        samples = await scrape(running)
        assert samples.of("animax_job_store_up") == 0
        assert samples.by("animax_jobs", "state") == {}
        assert (await page(running, "/readyz")).status == 200  # rigs in memory can still be animated


async def test_the_number_of_series_does_not_grow_with_what_clients_send() -> None:
    async with serving(metrics_port=0) as running, AsyncClient(running.target) as client:
        rig_id = (await client.upload(running.glb)).rig_id

        async def odd(index: int) -> None:
            async with running.channel() as channel:
                metadata = [("x-request-id", f"id-{index}"), (f"x-{index}", "y")]
                stub = running.stub(channel)
                for request in (
                    pb.AnimateRequest(rig_id=f"{index:064x}", prompt=f"{index}", seed=index),
                    pb.AnimateRequest(rig_id=rig_id, prompt=f"{index}", seed=index, model=f"model-{index}"),
                    pb.AnimateRequest(rig_id=rig_id, prompt=f"{index}", seed=index),
                ):
                    try:
                        async for _ in stub.Animate(request, metadata=metadata):
                            pass
                    except grpc.aio.AioRpcError:
                        pass
                with pytest.raises(grpc.aio.AioRpcError):
                    await channel.unary_unary(f"/animax.v1.AnimationService/Method{index}")(b"")

        await odd(0)
        before = len(await scrape(running))
        for index in range(1, 30):
            await odd(index)
        assert len(await scrape(running)) == before
        assert before < 400


def test_batches_are_a_histogram() -> None:
    samples = {s.name + s.labels.get("le", ""): s.value for s in batch_histogram({1: 5, 3: 2, 200: 1}).samples}
    assert samples["animax_denoise_batch_size_bucket1.0"] == 5
    assert samples["animax_denoise_batch_size_bucket4.0"] == 7
    assert samples["animax_denoise_batch_size_bucket+Inf"] == samples["animax_denoise_batch_size_count"] == 8
    assert samples["animax_denoise_batch_size_sum"] == 5 + 6 + 200


async def test_probes_follow_the_server() -> None:
    async with serving(metrics_port=0) as running, AsyncClient(running.target) as client:
        rig_id = (await client.upload(running.glb)).rig_id
        assert (await page(running, "/healthz")).text == "alive\n"
        assert (await page(running, "/readyz")).text == "ready\n"
        running.model.gate.clear()
        running.engine.failure = EngineError("the device was lost")
        with pytest.raises(EngineError):
            await client.animate(rig_id, "fails").collect()
        answer = await page(running, "/readyz")
        assert (answer.status, answer.text) == (503, "recovering from an engine failure\n")
        assert (await page(running, "/healthz")).status == 200
        running.model.gate.set()
        await running.ready()
        assert (await page(running, "/readyz")).status == 200


async def test_a_stuck_event_loop_is_not_alive() -> None:
    async with serving(metrics_port=0) as running:
        assert running.server.monitor is not None
        url = f"http://127.0.0.1:{running.server.monitor.port}/healthz"
        asking = asyncio.get_running_loop().run_in_executor(None, fetch, url)
        await asyncio.sleep(0)
        time.sleep(4.6)  # the loop is stuck
        answer = await asking
        assert (answer.status, answer.text) == (503, "the server does not answer\n")


class _Resources(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [f"{tag} {name}" for name, _ in attrs if name in ("src", "href", "action")]
        if tag in ("script", "link", "iframe", "img"):
            self.found.append(tag)


async def test_the_page_needs_nothing_from_elsewhere_and_shows_the_state(tmp_path: Path) -> None:
    async with serving(metrics_port=0, jobs=in_folder(tmp_path)) as running, AsyncClient(running.target) as client:
        rig_id = (await client.upload(running.glb)).rig_id
        await client.animate(rig_id, "a secret prompt").collect()
        running.engine.failure = ZeroDivisionError()
        with pytest.raises(ServiceError):
            await client.animate(rig_id, "a secret prompt").collect()
        answer = await page(running, "/")
        parser = _Resources()
        parser.feed(answer.text)
        assert parser.found == []
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
        assert 'http-equiv="refresh"' in answer.text
        for shown in ("ready", "fake", "INTERNAL", "Animate", "succeeded", "first frame"):
            assert shown in answer.text, shown
        for path in ("/", "/metrics", "/status.json"):
            assert "secret" not in (await page(running, path)).text
            assert rig_id not in (await page(running, path)).text


async def test_the_port_answers_what_it_knows_and_refuses_the_rest() -> None:
    async with serving(metrics_port=0) as running:
        assert (await page(running, "/metrics?name=x")).status == 200
        assert (await page(running, "/metrics", "HEAD")).text == ""
        opened = await page(running, "/metrics", Accept="application/openmetrics-text; version=1.0.0")
        assert opened.text.endswith("# EOF\n")
        missing = await page(running, "/../../etc/passwd<script>")
        assert missing.status == 404
        assert "script" not in missing.text
        posted = await page(running, "/", "POST")
        assert posted.status == 501
        assert "Python" not in "".join(posted.headers.values())


async def test_idle_connections_take_no_more_than_their_share() -> None:
    async with serving(metrics_port=0) as running:
        assert running.server.monitor is not None
        place = ("127.0.0.1", running.server.monitor.port)
        idle = [socket.create_connection(place) for _ in range(MAX_CONNECTIONS + 20)]
        await asyncio.sleep(0.3)
        for connection in idle:
            connection.close()
        await asyncio.sleep(0.3)
        assert (await page(running, "/healthz")).status == 200


async def test_the_port_is_this_machine_s_own_and_off_by_default() -> None:
    async with serving() as running:
        assert running.server.config.metrics_host == "127.0.0.1"
        assert running.server.monitor is None
    async with serving(metrics_port=0) as running:
        assert running.server.monitor is not None
        port = running.server.monitor.port
        with pytest.raises(ServiceError, match="free port"):
            async with serving(metrics_port=port):
                pass
    assert running.server.monitor is None
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))
