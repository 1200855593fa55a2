"""Files on their way in: counted before their bytes come, checked against their declaration as they do."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from animax.errors import AssetError, BusyError, OptionError
from animax.v1 import asset_service_pb2 as pb

UPLOAD_RETRY = 2.0
"""Seconds: uploads come and go fast."""
UPLOAD_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
MAX_CHUNKED = 256
"""Chunked uploads at a time: what one costs beside its bytes is small, but not nothing."""


class IncomingMemory:
    """At most ``max_bytes`` of files, declared ones included, for all uploads together."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self.reserved = 0

    def reserve(self, size: int) -> None:
        """Count a file.

        Raises:
            BusyError: there is no room for it.
        """
        if self.reserved + size > self._max_bytes:
            text = f"uploads of {self.reserved} bytes are under way; accepted: {self._max_bytes} at a time"
            raise BusyError(text, reason="MEMORY_FULL", retry_after=UPLOAD_RETRY)
        self.reserved += size

    def release(self, size: int) -> None:
        """Count a file no longer."""
        self.reserved -= size

    @contextmanager
    def hold(self, size: int) -> Iterator[None]:
        """Count a file as long as the context lasts."""
        self.reserve(size)
        try:
            yield
        finally:
            self.release(size)


class IncomingFile:
    """The bytes of one file so far."""

    def __init__(self, declaration: pb.AssetDeclaration) -> None:
        self.declaration = declaration
        self._data = bytearray()
        self._digest = hashlib.sha256()

    @property
    def received(self) -> int:
        """Bytes so far."""
        return len(self._data)

    @property
    def complete(self) -> bool:
        """Whether all declared bytes are there."""
        return len(self._data) == self.declaration.size_bytes

    def append(self, chunk: bytes) -> None:
        """Take the next bytes.

        Raises:
            AssetError: more than declared.
        """
        if len(self._data) + len(chunk) > self.declaration.size_bytes:
            raise AssetError(
                f"more than the declared {self.declaration.size_bytes} bytes came; accepted: exactly those"
            )
        self._data += chunk
        self._digest.update(chunk)

    def place(self, offset: int, chunk: bytes) -> None:
        """Take bytes that may have come before.

        Raises:
            OptionError: there would be a gap before them.
            AssetError: they differ from those that came before, or are more than declared.
        """
        if offset > self.received:
            raise OptionError("offset", offset, f"0 to {self.received}: the bytes that have come so far")
        known = self._data[offset : offset + len(chunk)]
        if chunk[: len(known)] != known:
            raise AssetError(f"the chunk at {offset} differs from what came before; accepted: the same bytes again")
        self.append(chunk[len(known) :])

    def content(self) -> bytes:
        """The whole file.

        Raises:
            AssetError: it is not what was declared.
        """
        declared = self.declaration
        if not self.complete:
            raise AssetError(f"{self.received} bytes came; accepted: the declared {declared.size_bytes}")
        if self._digest.hexdigest() != declared.sha256:
            raise AssetError(
                f"the bytes have SHA-256 {self._digest.hexdigest()}; accepted: the declared {declared.sha256}"
            )
        if self._data[:4] != b"glTF":
            raise AssetError("the file does not begin with 'glTF'; accepted: binary glTF, as declared")
        return bytes(self._data)


@dataclass(eq=False)
class _Chunked:
    file: IncomingFile
    expiry: asyncio.TimerHandle | None = None


class ChunkedUploads:
    """Files whose chunks come in calls of their own; each is forgotten when it brings nothing for a while."""

    def __init__(self, memory: IncomingMemory, idle_seconds: float) -> None:
        self._memory = memory
        self._idle_seconds = idle_seconds
        self._uploads: dict[str, _Chunked] = {}

    def __len__(self) -> int:
        return len(self._uploads)

    def receive(self, request: pb.UploadAssetChunkRequest) -> IncomingFile:
        """The file with the request's chunk in it; call ``rest`` or ``drop`` once the request is answered.

        Raises:
            OptionError: the upload id is another file's, or there would be a gap before the chunk.
            AssetError: the bytes differ from those that came before, or are more than declared.
            BusyError: there is no room for one more file.
        """
        upload = self._uploads.get(request.upload_id)
        if upload is None:
            declaration = pb.AssetDeclaration()
            declaration.CopyFrom(request.declaration)  # a part of a message keeps all of it alive, its chunk too
            file = IncomingFile(declaration)
            file.place(request.offset, request.chunk)
            if not file.received:  # only asks
                return file
            if len(self._uploads) >= MAX_CHUNKED:
                text = f"{len(self._uploads)} uploads are under way; accepted: {MAX_CHUNKED} at a time"
                raise BusyError(text, reason="MEMORY_FULL", retry_after=UPLOAD_RETRY)
            self._memory.reserve(declaration.size_bytes)
            upload = self._uploads[request.upload_id] = _Chunked(file)
        elif upload.file.declaration != request.declaration:
            raise OptionError("upload_id", request.upload_id, "an id of its own for each file")
        else:
            upload.file.place(request.offset, request.chunk)
        if upload.expiry is not None:  # not while it is being read
            upload.expiry.cancel()
        return upload.file

    def rest(self, upload_id: str) -> None:
        """Wait for the next chunk."""
        upload = self._uploads.get(upload_id)
        if upload is not None:
            if upload.expiry is not None:
                upload.expiry.cancel()
            upload.expiry = asyncio.get_running_loop().call_later(self._idle_seconds, self.drop, upload_id)

    def drop(self, upload_id: str) -> None:
        """Forget an upload, if it is there."""
        upload = self._uploads.pop(upload_id, None)
        if upload is not None:
            self._memory.release(upload.file.declaration.size_bytes)
            if upload.expiry is not None:
                upload.expiry.cancel()
