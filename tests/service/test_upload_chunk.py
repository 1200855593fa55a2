"""UploadAssetChunk: resumable, repeatable, bounded."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from animax.errors import AnimaxError, AssetError, BusyError, OptionError
from animax.service.incoming import MAX_CHUNKED, IncomingFile
from animax.v1 import asset_service_pb2 as pb
from animax.v1 import asset_service_pb2_grpc as pb_grpc
from animax.wire.failure import error_of
from tests.service.chain_glb import chain_glb
from tests.service.conftest import Running, serving, until


class Sender:
    def __init__(self, channel: grpc.aio.Channel, data: bytes, upload_id: str = "a") -> None:
        self.stub, self.data, self.upload_id = pb_grpc.AssetServiceStub(channel), data, upload_id
        self.declaration = declaration(data)

    async def __call__(self, start: int, end: int | None = None, **change: Any) -> pb.UploadAssetChunkResponse:
        request = pb.UploadAssetChunkRequest(
            upload_id=self.upload_id, declaration=self.declaration, offset=start, chunk=self.data[start:end]
        )
        request.MergeFrom(pb.UploadAssetChunkRequest(**change))
        try:
            return await self.stub.UploadAssetChunk(request)
        except grpc.aio.AioRpcError as error:
            raise error_of(error) from None


def declaration(data: bytes) -> pb.AssetDeclaration:
    digest = hashlib.sha256(data).hexdigest()
    return pb.AssetDeclaration(size_bytes=len(data), format=pb.ASSET_FORMAT_GLB, sha256=digest, name="a rig")


@pytest.fixture
async def send(running: Running) -> AsyncIterator[Sender]:
    async with running.channel() as channel:
        yield Sender(channel, running.glb)


async def test_every_chunk_may_be_repeated(running: Running, send: Sender) -> None:
    size, assets = len(running.glb), running.server._assets
    assert (await send(0, 0)).received_bytes == 0  # asks
    assert len(assets.chunked) == 0
    for _ in range(2):
        assert (await send(0, 100)).received_bytes == 100
    assert (await send(0, 0)).received_bytes == 100  # asks again
    assert (await send(50, 200)).received_bytes == 200  # overlaps
    assert (await send(20, 60)).received_bytes == 200  # lies within
    assert assets.memory.reserved == size
    both = await asyncio.gather(send(200), send(200))
    for answer in (*both, await send(200), await send(0, 0)):
        assert answer.received_bytes == size
        assert answer.rig.rig_id == hashlib.sha256(running.glb).hexdigest()
    assert (len(assets.chunked), assets.memory.reserved) == (0, 0)


CASES: dict[str, tuple[dict[str, Any], type[AnimaxError], str]] = {
    "gap": ({"offset": 101}, OptionError, "offset is 101; accepted: 0 to 100"),
    "no id": ({"upload_id": "ü"}, OptionError, "upload_id"),
    "long id": ({"upload_id": "a" * 129}, OptionError, "upload_id"),
    "another file": ({"declaration": pb.AssetDeclaration(name="other")}, OptionError, "upload_id"),
    "other bytes": ({"offset": 0, "chunk": b"x" * 10}, AssetError, "differs"),
    "too many": ({"chunk": b"x" * 100_000}, AssetError, "more than the declared"),
    "too large": ({"chunk": b"x" * (2**20 + 1)}, OptionError, "chunk"),
    "too large a file": ({"declaration": pb.AssetDeclaration(size_bytes=2**40)}, OptionError, "size_bytes"),
    "no hash": ({"declaration": pb.AssetDeclaration(sha256="x")}, OptionError, "sha256"),
}


@pytest.mark.parametrize("case", CASES)
async def test_what_is_wrong_is_refused_and_changes_nothing(running: Running, send: Sender, case: str) -> None:
    change, kind, says = CASES[case]
    await send(0, 100)
    start = change.get("offset", 100)
    send.data = b"" if "chunk" in change else send.data
    end = None if "chunk" in change else start + 10
    change = {name: value for name, value in change.items() if name != "offset"}
    if "chunk" in change and start == 0:
        change = {"chunk": change["chunk"]}
    with pytest.raises(kind) as caught:
        await send(start, end, **change)
    assert says in str(caught.value)
    send.data = running.glb
    assert (await send(0, 0)).received_bytes == 100
    assert (await send(100)).rig.rig_id


async def test_a_wrong_hash_or_no_rig_starts_again_at_zero(running: Running, send: Sender) -> None:
    send.declaration.sha256 = "0" * 64
    with pytest.raises(AssetError, match="SHA-256"):
        await send(0)
    assert (await send(0, 0)).received_bytes == 0
    for data in (b"{}" * 50, running.glb[:40] + b"\xff" * 500):
        send.data, send.declaration = data, declaration(data)
        with pytest.raises(AssetError):
            await send(0)
    assets = running.server._assets
    assert (len(assets.chunked), assets.memory.reserved) == (0, 0)


async def test_an_idle_upload_is_forgotten() -> None:
    async with serving(upload_idle_seconds=0.4) as running, running.channel() as channel:
        send, assets = Sender(channel, running.glb), running.server._assets
        for end in (100, 200, 300, 400):  # each chunk gives it time
            await send(0, end)
            await asyncio.sleep(0.2)
        await until(lambda: not len(assets.chunked), 1)
        assert assets.memory.reserved == 0
        with pytest.raises(OptionError, match="accepted: 0 to 0"):
            await send(400)
        assert (await send(0)).rig.rig_id


async def test_chunked_and_streamed_uploads_share_their_memory() -> None:
    async with serving(max_asset_bytes=8000, upload_bytes=8000) as running, running.channel() as channel:
        first, second = Sender(channel, chain_glb(), "1"), Sender(channel, chain_glb(20), "2")
        await first(0, 10)
        with pytest.raises(BusyError) as caught:
            await second(0, 10)
        assert (caught.value.reason, bool(caught.value.retry_after)) == ("MEMORY_FULL", True)
        assert (await first(10)).rig.rig_id
        assert (await second(0)).rig.rig_id
        tiny = [Sender(channel, bytes([0, n % 256, n // 256]), f"t{n}") for n in range(MAX_CHUNKED + 1)]
        for send in tiny[:-1]:
            await send(0, 1)
        with pytest.raises(BusyError):
            await tiny[-1](0, 1)


async def test_uploads_of_one_file_under_two_ids_do_not_meet(running: Running, send: Sender) -> None:
    await send(0, 100)
    async with running.channel() as channel:
        other = Sender(channel, running.glb, "b")
        other.data = running.glb[:-1] + bytes([running.glb[-1] ^ 1])
        with pytest.raises(AssetError, match="SHA-256"):
            await other(0)
    assert (await send(100)).rig.rig_id


async def test_no_room_for_the_rig_leaves_the_upload_to_be_finished_later() -> None:
    async with serving() as probe, probe.channel() as channel:
        await Sender(channel, chain_glb(6))(0)
        budget = int(1.5 * probe.server._rigs.nbytes)
    async with serving(rig_bytes=budget) as running, running.channel() as channel:
        held, late = Sender(channel, chain_glb(6), "held"), Sender(channel, chain_glb(6, name="b"), "late")
        rig_id = (await held(0)).rig.rig_id
        with running.server._rigs.lease(rig_id), pytest.raises(BusyError):
            await late(0)
        size = len(late.data)
        assert (await late(size, size)).rig.rig_id  # asking is enough: all bytes are there


@given(st.binary(max_size=60), st.lists(st.tuples(st.integers(0, 70), st.integers(0, 20)), max_size=20))
def test_pieces_in_any_order_never_build_another_file(data: bytes, pieces: list[tuple[int, int]]) -> None:
    file = IncomingFile(declaration(data))
    for start, length in pieces:
        before = file.received
        if start > before:
            with pytest.raises(OptionError):
                file.place(start, data[start : start + length])
        else:
            file.place(start, data[start : start + length])
            assert file.received == max(before, min(start + length, len(data)))
    assert bytes(file._data) == data[: file.received]
