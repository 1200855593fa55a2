"""AssetService: takes rigs in."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc

from animax.errors import AssetError, BusyError, OptionError, StreamError
from animax.service.boundary import checked
from animax.service.config import ServerConfig
from animax.service.rig_store import RigStore
from animax.service.waiting import within
from animax.v1 import asset_service_pb2 as pb
from animax.v1 import asset_service_pb2_grpc as pb_grpc
from animax.wire.request import check_rig_id

MAX_CHUNK_BYTES = 1024 * 1024
MAX_NAME = 200
"""Characters."""
UPLOAD_RETRY = 2.0
"""Seconds: uploads come and go fast."""


class AssetServicer(pb_grpc.AssetServiceServicer):
    """See proto/animax/v1/asset_service.proto."""

    def __init__(self, config: ServerConfig, rigs: RigStore) -> None:
        self._config = config
        self._rigs = rigs
        self._incoming = 0

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
        stored = await self._rigs.keeps(declaration.sha256)
        if stored is None:
            with self._room(declaration.size_bytes):
                data = await self._receive(context, declaration)
                stored = await self._rigs.put(declaration.sha256, data, declaration.name)
        return pb.UploadAssetResponse(rig=stored.message)

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

    @contextmanager
    def _room(self, size: int) -> Iterator[None]:
        if self._incoming + size > self._config.upload_bytes:
            text = f"uploads of {self._incoming} bytes are under way; accepted: {self._config.upload_bytes} at a time"
            raise BusyError(text, reason="MEMORY_FULL", retry_after=UPLOAD_RETRY)
        self._incoming += size
        try:
            yield
        finally:
            self._incoming -= size

    async def _receive(self, context: Any, declaration: pb.AssetDeclaration) -> bytes:
        data = bytearray()
        digest = hashlib.sha256()
        while (message := await self._next(context)) is not None:
            chunk = message.chunk
            if message.WhichOneof("part") != "chunk" or not 1 <= len(chunk) <= MAX_CHUNK_BYTES:
                raise OptionError("chunk", f"{len(chunk)} bytes", f"1 to {MAX_CHUNK_BYTES} bytes of the file")
            if len(data) + len(chunk) > declaration.size_bytes:
                raise AssetError(f"more than the declared {declaration.size_bytes} bytes came; accepted: exactly those")
            data += chunk
            digest.update(chunk)
        if len(data) != declaration.size_bytes:
            raise AssetError(f"{len(data)} bytes came; accepted: the declared {declaration.size_bytes}")
        if digest.hexdigest() != declaration.sha256:
            raise AssetError(
                f"the bytes have SHA-256 {digest.hexdigest()}; accepted: the declared {declaration.sha256}"
            )
        if data[:4] != b"glTF":
            raise AssetError("the file does not begin with 'glTF'; accepted: binary glTF, as declared")
        return bytes(data)

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
