"""The clients: what they add to the contract."""

from __future__ import annotations

import asyncio
from pathlib import Path

import grpc
import numpy as np
import pytest

from animax.client import AsyncClient, Client
from animax.errors import (
    AssetError,
    Cancelled,
    DeadlineExceeded,
    OptionError,
    ServiceError,
    StreamError,
    UnavailableError,
)
from animax.request import Request
from animax.v1 import animation_service_pb2 as pb
from tests.service.conftest import Running, serving_in_thread
from tests.service.engine import FakeEngine


def test_the_blocking_client_from_file_to_clip(tmp_path: Path) -> None:
    with serving_in_thread(FakeEngine(step_seconds=0.05)) as running, Client(running.target) as client:
        path = tmp_path / "hero.glb"
        path.write_bytes(running.glb)
        assert client.capabilities().model.name == "fake"
        rig = client.upload(path)
        assert rig.name == "hero"
        assert client.upload(str(path)) == rig
        heard: list[pb.Progress] = []
        result = client.animate(rig.rig_id, Request("waves", seconds=1), files=["bvh"]).collect(heard.append)
        assert len(result.clip) == 30
        assert result.files[0]["bvh"]
        assert heard
        assert "a fake" in result.warnings
        assert result.summary.clips[0].confidence == pytest.approx(0.9)
        assert result.summary.clips[0].timings[0].stage == pb.STAGE_DENOISE


def test_leaving_the_block_cancels(tmp_path: Path) -> None:
    with serving_in_thread(FakeEngine(steps=500, step_seconds=0.02)) as running, Client(running.target) as client:
        rig = client.upload(running.glb)
        with client.animate(rig.rig_id, "long") as stream:
            for event in stream:
                if isinstance(event, pb.Progress) and event.step > 1:
                    break
        for _ in client.animate(rig.rig_id, "long too"):
            break
        stream = client.animate(rig.rig_id, "cancelled at once")
        stream.cancel()
        with pytest.raises(Cancelled):
            stream.collect()
        with pytest.raises(DeadlineExceeded):
            client.animate(rig.rig_id, "too long", timeout=0.2).collect()
        assert running.engine.steps_done < 100


def test_errors_before_any_call(tmp_path: Path) -> None:
    with Client("127.0.0.1:1", timeout=5) as client:
        with pytest.raises(AssetError, match=r"missing\.glb"):
            client.upload(tmp_path / "missing.glb")
        with pytest.raises(OptionError, match="prompt"):
            client.animate("0" * 64, " ")
        with pytest.raises(OptionError, match="facing"):
            client.animate("0" * 64, "x", facing="north")
        with pytest.raises(OptionError, match="file_formats"):
            client.animate("0" * 64, "x", files=["fbx"])
        with pytest.raises(UnavailableError):
            client.capabilities()


async def test_blocking_and_asyncio_clients_agree(running: Running, client: AsyncClient, rig_id: str) -> None:
    def blocking() -> np.ndarray:
        with Client(running.target) as other:
            return other.animate(rig_id, Request("hops", seed=3)).collect().clip.pose.rotations

    here = (await client.animate(rig_id, Request("hops", seed=3)).collect()).clip.pose.rotations
    np.testing.assert_array_equal(await asyncio.to_thread(blocking), here)


async def test_a_call_that_ends_well_without_an_answer_breaks_the_contract() -> None:
    async def nothing(requests: object, context: object) -> None:
        pass

    handlers = {name: grpc.stream_stream_rpc_method_handler(nothing) for name in ("HasAsset", "GetCapabilities")}
    server = grpc.aio.server()
    for service in ("AssetService", "AnimationService"):
        server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(f"animax.v1.{service}", handlers)])
    target = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()

    def blocking() -> None:
        with Client(target) as client, pytest.raises(ServiceError):
            client.capabilities()

    async with AsyncClient(target) as client:
        with pytest.raises(StreamError, match="without its answer"):
            await client.capabilities()
        with pytest.raises(StreamError, match="without its answer"):
            await client.upload(b"glTF")
    await asyncio.to_thread(blocking)
    await server.stop(None)
