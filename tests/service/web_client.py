"""A client of gRPC-Web by hand: sockets, HTTP/1.1 and frames, nothing of the server's own code."""

from __future__ import annotations

import asyncio
import base64
import re
import ssl
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

ANIMATION = "/animax.v1.AnimationService/"
ASSETS = "/animax.v1.AssetService/"
BINARY = "application/grpc-web+proto"
TEXT = "application/grpc-web-text"


def frame(message: Message | bytes, flags: int = 0, length: int | None = None) -> bytes:
    data = message if isinstance(message, bytes) else message.SerializeToString()
    return struct.pack(">BI", flags, len(data) if length is None else length) + data


def head(path: str, *headers: str, method: str = "POST", kind: str | None = BINARY, host: str = "127.0.0.1") -> bytes:
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", *headers]
    if kind is not None:
        lines.append(f"Content-Type: {kind}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def post(path: str, body: bytes, *headers: str, **more: Any) -> bytes:
    return head(path, f"Content-Length: {len(body)}", *headers, **more) + body


@dataclass
class Answer:
    """A response: of HTTP, and the frames in it."""

    status: int
    headers: dict[str, str]
    body: bytes
    messages: list[bytes] = field(default_factory=list)
    trailers: dict[str, str] = field(default_factory=dict)

    @property
    def code(self) -> int:
        return int(self.trailers["grpc-status"])

    @property
    def details(self) -> str:
        return unquote(self.trailers.get("grpc-message", ""))

    @property
    def rich(self) -> status_pb2.Status:
        text = self.trailers["grpc-status-details-bin"]
        return status_pb2.Status.FromString(base64.b64decode(text + "=" * (-len(text) % 4)))

    @property
    def reason(self) -> str:
        info = error_details_pb2.ErrorInfo()
        assert self.rich.details[0].Unpack(info)
        return info.reason


class Wire:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def status(self) -> tuple[int, dict[str, str]]:
        raw = (await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), 20)).decode("latin-1")
        first, *rest = raw.removesuffix("\r\n\r\n").split("\r\n")
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in rest)}
        found = re.fullmatch(r"HTTP/1\.[01] (\d{3}) .*", first)
        assert found is not None, first
        return int(found.group(1)), headers

    async def chunks(self) -> AsyncIterator[bytes]:
        while size := int(await asyncio.wait_for(self.reader.readline(), 20), 16):
            yield (await self.reader.readexactly(size + 2))[:-2]
        assert await self.reader.readline() == b"\r\n"

    async def answer(self) -> Answer:
        status, headers = await self.status()
        if "transfer-encoding" in headers:
            body = b"".join([chunk async for chunk in self.chunks()])
        else:
            body = await self.reader.readexactly(int(headers.get("content-length", 0)))
        answer = Answer(status, headers, body)
        kind = headers.get("content-type", "")
        if kind.startswith("application/grpc-web"):
            if "text" in kind:
                body = b"".join(base64.b64decode(part) for part in re.findall(rb"[^=]+={0,2}", body))
            parse(answer, body)
        return answer

    async def call(self, path: str, message: Message | bytes, *headers: str, text: bool = False) -> Answer:
        body = frame(message)
        self.send(post(path, base64.b64encode(body) if text else body, *headers, kind=TEXT if text else BINARY))
        return await self.answer()


def parse(answer: Answer, body: bytes) -> None:
    while body:
        flags, length = struct.unpack(">BI", body[:5])
        part, body = body[5 : 5 + length], body[5 + length :]
        assert len(part) == length
        assert not answer.trailers, "frames after the trailers"
        if flags == 0x80:
            lines = part.decode("ascii").removesuffix("\r\n").split("\r\n")
            answer.trailers = dict(line.split(": ", 1) for line in lines)
        else:
            assert flags == 0
            answer.messages.append(part)
    assert answer.trailers, "no trailers"


@asynccontextmanager
async def wire(port: int, security: ssl.SSLContext | None = None) -> AsyncIterator[Wire]:
    name = "localhost" if security else None
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=security, server_hostname=name, limit=1 << 24)
    try:
        yield Wire(reader, writer)
    finally:
        writer.transport.abort()
