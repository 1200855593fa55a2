"""One line for each call; what it holds, and what no line ever holds."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from animax.client import AsyncClient
from animax.errors import BusyError
from animax.service.jobs.settings import in_folder
from animax.service.observe.access_log import formatter
from animax.v1 import animation_service_pb2 as pb
from animax.v1 import job_service_pb2 as job_pb
from animax.v1 import job_service_pb2_grpc as job_pb_grpc
from tests.service.conftest import Running, serving, until

PROMPT = "the heroine's private plan"
TOKEN = "hunter2-of-the-gateway"


class Log:
    """What is logged, in both forms at once."""

    def __init__(self) -> None:
        self.handlers = {}
        for name in ("text", "json"):
            self.handlers[name] = logging.StreamHandler(io.StringIO())
            self.handlers[name].setFormatter(formatter(name))

    def __getitem__(self, name: str) -> str:
        return str(self.handlers[name].stream.getvalue())

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self["json"].splitlines()]

    def calls(self, method: str) -> list[dict[str, Any]]:
        return [line for line in self.lines() if line.get("event") == "request" and line["method"].endswith(method)]

    async def ended(self, running: Running, method: str) -> list[dict[str, Any]]:
        """The lines of a method, once no call is in progress: a client knows of an end before the server is done."""
        await until(lambda: running.server._boundary.active == 0)
        return self.calls(method)


@pytest.fixture
def log() -> Iterator[Log]:
    made, root = Log(), logging.getLogger()
    level = root.level
    root.setLevel(logging.DEBUG)
    for handler in made.handlers.values():
        root.addHandler(handler)
    yield made
    root.setLevel(level)
    for handler in made.handlers.values():
        root.removeHandler(handler)


async def animate(
    running: Running, request: pb.AnimateRequest, *metadata: tuple[str, str]
) -> tuple[str, dict[str, Any]]:
    """Status and trailers of one call."""
    async with running.channel() as channel:
        call = running.stub(channel).Animate(request, metadata=metadata)
        try:
            async for _ in call:
                pass
        except grpc.aio.AioRpcError:
            pass
        trailers = dict(await call.trailing_metadata() or ())
        return (await call.code()).name, trailers


async def test_a_line_holds_what_was_asked_for_and_what_it_took(log: Log) -> None:
    async with serving() as running, AsyncClient(running.target) as client:
        rig_id = (await client.upload(running.glb)).rig_id
        request = pb.AnimateRequest(rig_id=rig_id, prompt=PROMPT, seed=7, variants=2, file_formats=[pb.FILE_FORMAT_BVH])
        status, trailers = await animate(running, request, ("x-request-id", "shot-17/take:2"))
        assert (status, trailers["x-request-id"]) == ("OK", "shot-17/take:2")
        (line,) = await log.ended(running, "Animate")
        assert line["method"] == "animax.v1.AnimationService/Animate"
        assert (line["status"], line["request_id"], line["level"]) == ("OK", "shot-17/take:2", "info")
        assert (line["model"], line["seed"], line["variants"], line["rig"]) == ("fake", 7, 2, rig_id[:12])
        assert set(line["stages"]) == {"denoise", "write"}
        assert 0 < line["first_frame_seconds"] < line["seconds"]
        assert sum(line["stages"].values()) <= line["seconds"]
        assert "reason" not in line
        (upload,) = log.calls("UploadAsset")
        assert upload["upload_bytes"] == len(running.glb)
        text = next(line for line in log["text"].splitlines() if "/Animate" in line)
        assert " animax.access: animax.v1.AnimationService/Animate OK request_id=shot-17/take:2 " in text
        assert f" rig={rig_id[:12]} denoise=" in text


async def test_an_error_says_why_and_all_its_lines_name_the_request(log: Log) -> None:
    async with serving() as running, AsyncClient(running.target) as client:
        rig_id = (await client.upload(running.glb)).rig_id
        running.engine.failure = ZeroDivisionError("a defect")
        status, trailers = await animate(
            running, pb.AnimateRequest(rig_id=rig_id, prompt=PROMPT), ("x-request-id", "shot-18")
        )
        assert (status, trailers["x-request-id"]) == ("INTERNAL", "shot-18")
        assert "grpc-status-details-bin" in trailers
        (line,) = await log.ended(running, "Animate")
        assert (line["status"], line["reason"]) == ("INTERNAL", "INTERNAL")
        (defect,) = [line for line in log.lines() if "exception" in line]
        assert defect["request_id"] == "shot-18"
        assert "ZeroDivisionError: a defect" in defect["exception"]
        assert "[shot-18]\nTraceback" in log["text"]


@pytest.mark.parametrize("given", ["", "a b", "x" * 129, "línea", "a\tb", 'a"}'])
async def test_a_request_id_that_could_do_harm_is_replaced(given: str, log: Log) -> None:
    async with serving() as running:
        metadata = [("x-request-id", given)] if given.isascii() and given.isprintable() else []
        _, trailers = await animate(running, pb.AnimateRequest(rig_id="0" * 64, prompt=PROMPT), *metadata)
        made = trailers["x-request-id"]
        assert made != given
        assert len(made) == 16
        assert (await log.ended(running, "Animate"))[0]["request_id"] == made


@pytest.mark.parametrize("log_prompts", [False, True])
async def test_prompts_and_tokens_stay_out_of_the_log(log: Log, tmp_path: Path, log_prompts: bool) -> None:
    """On every way a call or a job can end, at the finest level."""
    secret = ("authorization", f"Bearer {TOKEN}")
    jobs = in_folder(tmp_path, poll_seconds=0.02)
    async with (
        serving(log_prompts=log_prompts, jobs=jobs, max_queued=0, slots=1, metrics_port=0) as running,
        AsyncClient(running.target) as client,
    ):
        rig_id = (await client.upload(running.glb)).rig_id
        good = pb.AnimateRequest(rig_id=rig_id, prompt=PROMPT)
        ends = [(await animate(running, good, secret))[0]]
        bad = (
            pb.AnimateRequest(rig_id="0" * 64, prompt=PROMPT),
            pb.AnimateRequest(rig_id=rig_id, prompt=PROMPT * 100),
            pb.AnimateRequest(rig_id=rig_id, prompt=PROMPT, seconds=-1),
            pb.AnimateRequest(rig_id=rig_id, prompt=PROMPT, model=PROMPT),
            pb.AnimateRequest(rig_id=PROMPT, prompt=PROMPT),
        )
        ends += [(await animate(running, odd, secret))[0] for odd in bad]
        running.engine.failure = RuntimeError("out of order")
        ends.append((await animate(running, good, secret))[0])
        running.engine.failure = None
        running.engine.gate.clear()
        held = asyncio.create_task(animate(running, good, secret))
        await until(lambda: running.engine.running == 1)
        with pytest.raises(BusyError):
            await client.animate(rig_id, PROMPT).collect()
        held.cancel()
        running.engine.gate.set()
        await until(lambda: running.server._boundary.active == 0)
        async with running.channel() as channel:
            stub = job_pb_grpc.JobServiceStub(channel)
            order = job_pb.CreateAnimationJobRequest(animation=good)
            job = (await stub.CreateAnimationJob(order, metadata=[secret])).job
            async for _ in stub.WatchJob(job_pb.WatchJobRequest(job_id=job.job_id), metadata=[secret]):
                pass
            async for _ in client.animate(rig_id, PROMPT):
                break
        await until(lambda: running.server._boundary.active == 0 and bool(log.calls("job")))
    assert {"OK", "NOT_FOUND", "INVALID_ARGUMENT", "INTERNAL"} <= set(ends)
    written = log["text"] + log["json"]
    assert len(log.lines()) > 12
    assert TOKEN not in written
    assert all(rig_id not in str(line) for line in log.lines() if "event" in line)
    assert ("heroine" in written) is log_prompts
    if log_prompts:
        assert log.calls("Animate")[0]["prompt"] == PROMPT
        assert log.calls("job")[0]["prompt"] == PROMPT
    (line,) = log.calls("job")
    assert (line["status"], line["rig"], line["attempt"]) == ("succeeded", rig_id[:12], 1)


async def test_lines_cannot_be_forged(log: Log) -> None:
    async with serving(log_prompts=True) as running, AsyncClient(running.target) as client:
        rig_id = (await client.upload(running.glb)).rig_id
        await animate(running, pb.AnimateRequest(rig_id=rig_id, prompt="walks status=OK\x85\u2028 waves"))
        await log.ended(running, "Animate")
        before = len(log.lines())
        text = next(line for line in log["text"].split("\n") if "/Animate" in line)
        assert 'prompt="walks status=OK' in text
        assert len(log["json"].split("\n")) - 1 == before
