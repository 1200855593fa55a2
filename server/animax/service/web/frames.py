"""Frames of gRPC-Web: one byte of flags, four of length, then a message or the trailers.

As in PROTOCOL-WEB.md of the gRPC project. In a text body all of this is in base64, in parts that may each be padded.
"""

from __future__ import annotations

import base64
import re
import struct
from collections.abc import Iterable
from urllib.parse import quote

import grpc

from animax.wire.failure import MalformedMessage

HEADER = struct.Struct(">BI")
COMPRESSED, TRAILERS = 0x01, 0x80
BASE64 = re.compile(rb"(?:[A-Za-z0-9+/]{4}|[A-Za-z0-9+/]{3}=|[A-Za-z0-9+/]{2}==)*")
PADDED_PART = re.compile(rb"[^=]+={0,2}")
UNESCAPED = " !\"#$&'()*+,-./:;<=>?@[\\]^_`{|}~"
"""Of grpc-message: all of ASCII that is printable, but the percent sign."""


class Refused(Exception):
    """What gRPC itself refuses, with a code but without details.

    Args:
        code: of the status.
        message: for people.
    """

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        self.code = code
        super().__init__(message)


class FrameReader:
    """Bytes of a request body in, messages out; holds one frame and what came with its last bytes."""

    def __init__(self, max_message: int) -> None:
        self._max_message = max_message
        self._buffer = bytearray()

    def feed(self, data: bytes) -> None:
        """Take the next bytes."""
        self._buffer += data

    def next(self) -> bytes | None:
        """The next message; None when more bytes are needed.

        Raises:
            MalformedMessage: the bytes are no frame.
            Refused: the message is compressed or too large.
        """
        if len(self._buffer) < HEADER.size:
            return None
        flags, length = HEADER.unpack_from(self._buffer)
        if flags == COMPRESSED:
            text = "the message is compressed; accepted: messages as they are (grpc-encoding: identity)"
            raise Refused(grpc.StatusCode.UNIMPLEMENTED, text)
        if flags:
            raise MalformedMessage(f"the frame has flags 0x{flags:02x}; accepted: 0x00, a message as it is")
        if length > self._max_message:
            text = f"Received message larger than max ({length} vs. {self._max_message})"
            raise Refused(grpc.StatusCode.RESOURCE_EXHAUSTED, text)
        end = HEADER.size + length
        if len(self._buffer) < end:
            return None
        message = bytes(self._buffer[HEADER.size : end])
        del self._buffer[:end]
        return message

    def end(self) -> None:
        """Say that no more bytes will come.

        Raises:
            MalformedMessage: they end within a frame.
        """
        if self._buffer:
            raise MalformedMessage(f"the body ends {len(self._buffer)} bytes into a frame; accepted: whole frames")


class Base64Reader:
    """Characters of a text body in, bytes out."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, text: bytes) -> bytes:
        """The bytes that are complete with these characters.

        Raises:
            MalformedMessage: they are no base64.
        """
        text = self._rest + text
        whole = len(text) // 4 * 4
        text, self._rest = text[:whole], text[whole:]
        if not BASE64.fullmatch(text):
            raise MalformedMessage("the body is no base64; accepted: that of RFC 4648, section 4, without line breaks")
        return b"".join(base64.b64decode(part) for part in PADDED_PART.findall(text))

    def end(self) -> None:
        """Say that no more characters will come.

        Raises:
            MalformedMessage: they end within four that belong together.
        """
        if self._rest:
            raise MalformedMessage("the body ends within base64; accepted: groups of four characters, padded")


def message_frame(message: bytes) -> bytes:
    """A message in its frame."""
    return HEADER.pack(0, len(message)) + message


def trailers_frame(code: grpc.StatusCode, message: str, metadata: Iterable[tuple[str, str | bytes]] = ()) -> bytes:
    """The status of a call, in the frame that ends its response.

    Args:
        code: of the status.
        message: for people.
        metadata: trailing; values of names that end in ``-bin`` are bytes.
    """
    lines = [("grpc-status", str(code.value[0]))]
    if message:
        lines.append(("grpc-message", quote(message, UNESCAPED)))
    for name, value in metadata:
        text = base64.b64encode(value).rstrip(b"=").decode() if isinstance(value, bytes) else value
        lines.append((name.lower(), text))
    body = "".join(f"{name}: {value}\r\n" for name, value in lines).encode()
    return HEADER.pack(TRAILERS, len(body)) + body
