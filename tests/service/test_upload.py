"""Uploads: limits before bytes, content as identity, one parse for everybody."""

from __future__ import annotations

import asyncio
import hashlib
import time
from typing import Any

import grpc
import pytest

from animax.assets import load_rig
from animax.assets.rig import Rig
from animax.client import AsyncClient, upload_messages
from animax.errors import AnimaxError, AssetError, BusyError, OptionError, StreamError, UnknownRigError
from animax.v1 import asset_service_pb2 as pb
from animax.v1 import asset_service_pb2_grpc as pb_grpc
from animax.wire.failure import error_of
from tests.service.chain_glb import chain_glb
from tests.service.conftest import Running, serving, until


async def send(running: Running, messages: list[pb.UploadAssetRequest]) -> pb.Rig:
    async with running.channel() as channel:
        try:
            return (await pb_grpc.AssetServiceStub(channel).UploadAsset(iter(messages))).rig
        except grpc.aio.AioRpcError as error:
            raise error_of(error) from None


def declared(data: bytes, **change: Any) -> list[pb.UploadAssetRequest]:
    messages = upload_messages(data, "a rig")
    for name, value in change.items():
        setattr(messages[0].declaration, name, value)
    return messages


async def test_the_answer_says_what_was_understood(running: Running, client: AsyncClient) -> None:
    rig = load_rig(running.glb)
    answer = await client.upload(running.glb, name="chain")
    assert answer.rig_id == hashlib.sha256(running.glb).hexdigest()
    assert answer.name == "chain"
    assert list(answer.skeleton.names) == list(rig.skeleton.names)
    assert list(answer.skeleton.parents) == rig.skeleton.parents.tolist()
    assert answer.drivers
    assert max(answer.drivers) < len(rig.skeleton)
    assert answer.vertex_count == len(rig.mesh.positions)
    assert answer.size_metres == pytest.approx(rig.size)
    assert answer.stance.confidence == pytest.approx(rig.stance.confidence)


async def test_a_known_rig_is_not_sent_again(running: Running, client: AsyncClient) -> None:
    first = await client.upload(running.glb)
    declaration_only = upload_messages(running.glb, "")[:1]
    assert await send(running, declaration_only) == first


async def test_the_same_rig_from_32_clients_is_parsed_once() -> None:
    parses = []

    def parse(data: bytes, name: str) -> Rig:
        parses.append(name)
        time.sleep(0.3)
        return load_rig(data, name=name)

    async with serving(parse=parse) as running:
        answers = await asyncio.gather(*(send(running, declared(running.glb)) for _ in range(32)))
    assert len(parses) == 1
    assert len({answer.rig_id for answer in answers}) == 1


async def test_a_client_that_leaves_does_not_take_the_rig_from_the_others() -> None:
    def parse(data: bytes, name: str) -> Rig:
        time.sleep(0.4)
        return load_rig(data, name=name)

    async with serving(parse=parse) as running:
        leaving = asyncio.create_task(send(running, declared(running.glb)))
        await asyncio.sleep(0.1)
        staying = asyncio.create_task(send(running, declared(running.glb)))
        await asyncio.sleep(0.1)
        leaving.cancel()
        assert (await staying).vertex_count == 18


CASES: dict[str, tuple[Any, type[AnimaxError], str]] = {
    "nothing at all": (lambda d: [], OptionError, "declaration"),
    "no declaration": (lambda d: declared(d)[1:], OptionError, "declaration"),
    "empty first message": (lambda d: [pb.UploadAssetRequest()], OptionError, "declaration"),
    "two declarations": (lambda d: [declared(d)[0], *declared(d)], OptionError, "chunk"),
    "empty chunk": (lambda d: [declared(d)[0], pb.UploadAssetRequest(chunk=b"")], OptionError, "chunk"),
    "too short": (lambda d: declared(d, size_bytes=len(d) + 1), AssetError, "declared"),
    "too long": (lambda d: declared(d, size_bytes=len(d) - 1), AssetError, "more than the declared"),
    "other bytes": (lambda d: declared(d, sha256="0" * 64), AssetError, "SHA-256"),
    "no hash": (lambda d: declared(d, sha256=""), OptionError, "sha256"),
    "upper-case hash": (lambda d: declared(d, sha256="A" * 64), OptionError, "sha256"),
    "no size": (lambda d: declared(d, size_bytes=0), OptionError, "size_bytes"),
    "too large": (lambda d: declared(d, size_bytes=2**63), OptionError, "size_bytes"),
    "no format": (lambda d: declared(d, format=0), OptionError, "format"),
    "later format": (lambda d: declared(d, format=99), OptionError, "format"),
    "long name": (lambda d: declared(d, name="n" * 201), OptionError, "name"),
    "name with control characters": (lambda d: declared(d, name="a\nb"), OptionError, "name"),
    "no GLB": (lambda d: declared(b"{}" * 50), AssetError, "glTF"),
    "damaged GLB": (lambda d: declared(d[:40] + b"\xff" * (len(d) - 40)), AssetError, ""),
    "no rig": (lambda d: declared(chain_glb(1)[:12]), AssetError, ""),
}


@pytest.mark.parametrize("case", CASES)
async def test_what_is_wrong_is_refused_by_name(running: Running, case: str) -> None:
    messages, kind, says = CASES[case]
    with pytest.raises(kind) as caught:
        await send(running, messages(running.glb))
    assert says in str(caught.value)
    assert len(running.server._rigs) == 0
    assert running.server._assets.memory.reserved == 0


async def test_a_chunk_over_the_limit_is_refused_by_the_transport(running: Running) -> None:
    messages = [declared(running.glb)[0], pb.UploadAssetRequest(chunk=b"x" * (2 << 20))]
    with pytest.raises(BusyError, match="larger than max"):
        await send(running, messages)


async def test_an_oversized_file_is_refused_before_it_is_sent() -> None:
    async with serving(max_asset_bytes=10_000) as running:
        sent = 0

        async def endless() -> Any:
            nonlocal sent
            yield declared(b"x" * 10_001)[0]
            while True:
                sent += 1
                yield pb.UploadAssetRequest(chunk=b"x" * 1000)
                await asyncio.sleep(0.01)

        async with running.channel() as channel:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await asyncio.wait_for(pb_grpc.AssetServiceStub(channel).UploadAsset(endless()), 5)
        error = error_of(caught.value)
        assert isinstance(error, OptionError)
        assert error.name == "size_bytes"
        assert sent < 50


async def test_a_rig_with_too_many_joints_is_refused() -> None:
    async with serving(max_joints=10) as running:
        with pytest.raises(AssetError, match="joints"):
            await send(running, declared(chain_glb(12)))


async def test_names_too_long_for_a_header_are_refused(running: Running) -> None:
    with pytest.raises(AnimaxError, match="bytes"):
        await send(running, declared(chain_glb(250, name="\N{GRINNING FACE}" * 250)))


async def test_an_upload_that_stalls_is_ended_and_its_memory_freed() -> None:
    async with serving(upload_idle_seconds=0.3) as running:

        async def stalls() -> Any:
            yield declared(running.glb)[0]
            await asyncio.sleep(30)

        async with running.channel() as channel:
            began = time.monotonic()
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await pb_grpc.AssetServiceStub(channel).UploadAsset(stalls())
        error = error_of(caught.value)
        assert isinstance(error, StreamError)
        assert error.reason == "UPLOAD_STALLED"
        assert time.monotonic() - began < 2
        assert running.server._assets.memory.reserved == 0


async def test_a_cancelled_upload_frees_its_memory(running: Running) -> None:
    async def stalls() -> Any:
        yield declared(running.glb)[0]
        await asyncio.sleep(30)

    async with running.channel() as channel:
        call = pb_grpc.AssetServiceStub(channel).UploadAsset(stalls())
        await until(lambda: running.server._assets.memory.reserved > 0)
        call.cancel()
        await until(lambda: running.server._assets.memory.reserved == 0, 1)


async def test_uploads_together_stay_within_their_memory() -> None:
    async with serving(max_asset_bytes=8000, upload_bytes=8000) as running:

        async def slow() -> Any:
            messages = declared(chain_glb())
            yield messages[0]
            await asyncio.sleep(0.5)
            for message in messages[1:]:
                yield message

        async with running.channel() as channel:
            first = pb_grpc.AssetServiceStub(channel).UploadAsset(slow())
            await until(lambda: running.server._assets.memory.reserved > 0)
            with pytest.raises(BusyError) as caught:
                await send(running, declared(chain_glb(20)))
            assert caught.value.reason == "MEMORY_FULL"
            assert caught.value.retry_after
            assert (await first).rig.rig_id
        await send(running, declared(chain_glb(7)))


async def test_the_least_recently_used_rig_goes_but_never_one_in_use() -> None:
    files = [chain_glb(name=name) for name in "abcde"]
    ids = [hashlib.sha256(data).hexdigest() for data in files]
    async with serving() as probe, AsyncClient(probe.target) as client:
        await client.upload(files[4])
        budget = int(2.5 * probe.server._rigs.nbytes)
    async with serving(rig_bytes=budget) as running, AsyncClient(running.target) as client:
        for data in files[:2]:
            await client.upload(data)
        running.engine.gate.clear()
        stream = client.animate(ids[0], "in use")
        task = asyncio.create_task(stream.collect())
        await until(lambda: bool(running.engine.calls))
        await client.upload(files[1])
        await client.upload(files[2])
        held = set(running.server._rigs._rigs)
        assert ids[0] in held
        assert ids[2] in held
        assert running.server._rigs.nbytes <= budget
        with pytest.raises(UnknownRigError):
            await client.animate(next(i for i in ids[:3] if i not in held), "gone").collect()
        running.engine.gate.set()
        await task
        for data in files[3:]:
            await client.upload(data)
        assert ids[0] not in running.server._rigs._rigs


async def test_when_every_rig_is_in_use_a_new_one_must_wait() -> None:
    async with serving() as probe, AsyncClient(probe.target) as client:
        await client.upload(chain_glb(6))
        budget = int(1.5 * probe.server._rigs.nbytes)
    async with serving(rig_bytes=budget) as running, AsyncClient(running.target) as client:
        rig = await client.upload(chain_glb(6))
        running.engine.gate.clear()
        task = asyncio.create_task(client.animate(rig.rig_id, "in use").collect())
        await until(lambda: bool(running.engine.calls))
        with pytest.raises(BusyError) as caught:
            await client.upload(chain_glb(7))
        assert (caught.value.reason, bool(caught.value.retry_after)) == ("MEMORY_FULL", True)
        running.engine.gate.set()
        await task
        await client.upload(chain_glb(7))
        with pytest.raises(BusyError) as caught:
            await client.upload(chain_glb(6, padding=2 * budget))
        assert caught.value.retry_after is None
