"""AssetService: takes rigs in."""

from __future__ import annotations

from typing import Any

import grpc

from animax.errors import AssetError, OptionError, RigError, StreamError
from animax.service.boundary import checked
from animax.service.config import ServerConfig
from animax.service.incoming import UPLOAD_ID, ChunkedUploads, IncomingFile, IncomingMemory
from animax.service.observe.record import record
from animax.service.rig_store import RigStore
from animax.service.waiting import within
from animax.v1 import asset_service_pb2 as pb
from animax.v1 import asset_service_pb2_grpc as pb_grpc
from animax.wire.request import check_rig_id

MAX_CHUNK_BYTES = 1024 * 1024
MAX_NAME = 200
"""Characters."""
CHUNK = f"1 to {MAX_CHUNK_BYTES} bytes of the file"


class AssetServicer(pb_grpc.AssetServiceServicer):
    """See proto/animax/v1/asset_service.proto."""

    def __init__(self, config: ServerConfig, rigs: RigStore) -> None:
        self._config = config
        self._rigs = rigs
        self.memory = IncomingMemory(config.upload_bytes)
        self.chunked = ChunkedUploads(self.memory, config.upload_idle_seconds)

    async def HasAsset(self, request: pb.HasAssetRequest, _: Any) -> pb.HasAssetResponse:  # noqa: N802
        """Say whether a rig is there."""
        stored = await self._rigs.keeps(check_rig_id(request.rig_id))
        return pb.HasAssetResponse(rig=stored.message if stored else None)

    async def UploadAsset(self, _: Any, context: Any) -> pb.UploadAssetResponse:  # noqa: N802
        """Take a rig in."""
        first = await self._next(context)
        if first is None or first.WhichOneof("part") != "declaration":
            raise OptionError(
                "part", first.WhichOneof("part") if first else None, "the declaration in the first message"
            )
        declaration = self._check(first.declaration)
        record().note(rig_id=declaration.sha256)
        stored = await self._rigs.keeps(declaration.sha256)
        if stored is None:
            await self._rigs.admit(declaration.size_bytes)
            with self.memory.hold(declaration.size_bytes):
                data = await self._receive(context, declaration)
                stored = await self._rigs.put(declaration.sha256, data, declaration.name)
        return pb.UploadAssetResponse(rig=stored.message)

    async def UploadAssetChunk(  # noqa: N802
        self, request: pb.UploadAssetChunkRequest, _: Any
    ) -> pb.UploadAssetChunkResponse:
        """Take one chunk of a rig in."""
        if not UPLOAD_ID.fullmatch(request.upload_id):
            raise OptionError("upload_id", request.upload_id, "1 to 128 characters of A-Z a-z 0-9 . _ : -")
        declaration = self._check(request.declaration)
        record().note(rig_id=declaration.sha256)
        _within_limit(request.chunk)
        stored = await self._rigs.keeps(declaration.sha256)
        if stored is None:
            await self._rigs.admit(declaration.size_bytes)
            file = self.chunked.receive(request)
            record().uploaded(len(request.chunk))
            try:
                if not file.complete:
                    return pb.UploadAssetChunkResponse(received_bytes=file.received)
                stored = await self._rigs.put(declaration.sha256, file.content(), declaration.name)
            except (AssetError, RigError):  # after any other error, the last chunk may be sent again
                self.chunked.drop(request.upload_id)
                raise
            finally:
                self.chunked.rest(request.upload_id)
        self.chunked.drop(request.upload_id)
        return pb.UploadAssetChunkResponse(received_bytes=declaration.size_bytes, rig=stored.message)

    def _check(self, declaration: pb.AssetDeclaration) -> pb.AssetDeclaration:
        limit = self._config.max_asset_bytes
        if not 1 <= declaration.size_bytes <= limit:
            raise OptionError("size_bytes", declaration.size_bytes, f"1 to {limit}")
        if declaration.format != pb.ASSET_FORMAT_GLB:
            raise OptionError("format", declaration.format, "ASSET_FORMAT_GLB")
        check_rig_id(declaration.sha256, "sha256")
        if len(declaration.name) > MAX_NAME or not declaration.name.isprintable():
            raise OptionError("name", declaration.name, f"at most {MAX_NAME} printable characters")
        return declaration

    async def _receive(self, context: Any, declaration: pb.AssetDeclaration) -> bytes:
        file = IncomingFile(declaration)
        while (message := await self._next(context)) is not None:
            if message.WhichOneof("part") != "chunk" or not message.chunk:
                raise OptionError("chunk", f"{len(message.chunk)} bytes", CHUNK)
            file.append(_within_limit(message.chunk))
            record().uploaded(len(message.chunk))
        return file.content()

    async def _next(self, context: Any) -> pb.UploadAssetRequest | None:
        """The next message; None at the end."""
        seconds = self._config.upload_idle_seconds
        try:
            message = await within(context.read(), seconds)
        except TimeoutError:
            raise StreamError(f"no byte came for {seconds:g} s", reason="UPLOAD_STALLED", retry_after=0.0) from None
        if message is grpc.aio.EOF:
            return None
        request: pb.UploadAssetRequest = checked(message)
        return request


def _within_limit(chunk: bytes) -> bytes:
    if len(chunk) > MAX_CHUNK_BYTES:
        raise OptionError("chunk", f"{len(chunk)} bytes", CHUNK)
    return chunk
