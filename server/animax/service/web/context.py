"""A call over gRPC-Web, as the servicers see it: the part of ``grpc.aio.ServicerContext`` that they use."""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import aiohttp
import grpc
from aiohttp import web

from animax.service.web.frames import Base64Reader, FrameReader, Refused, message_frame
from animax.wire.failure import MalformedMessage


class Body:
    """The messages of a request."""

    def __init__(self, content: aiohttp.StreamReader, *, text: bool, max_message: int) -> None:
        self._content = content
        self._base64 = Base64Reader() if text else None
        self._frames = FrameReader(max_message)

    async def next(self) -> bytes | None:
        """The next message; None at the end.

        Raises:
            MalformedMessage: the body breaks a rule.
            Refused: the message is compressed or too large.
        """
        while (message := self._frames.next()) is None:
            try:
                data = await self._content.readany()
            except web.RequestPayloadError as error:
                raise MalformedMessage("the body is cut or badly chunked; accepted: all of it") from error
            except ConnectionError as error:  # the cancellation of the whole call is on its way
                raise asyncio.CancelledError from error
            if not data:
                if self._base64 is not None:
                    self._base64.end()
                self._frames.end()
                return None
            self._frames.feed(data if self._base64 is None else self._base64.feed(data))
        return message

    async def only(self) -> bytes:
        """The one message of a unary request.

        Raises:
            MalformedMessage: the body breaks a rule, or has none or several.
            Refused: the message is compressed or too large.
        """
        message = await self.next()
        if message is None or await self.next() is not None:
            raise MalformedMessage(f"the body has {'no message' if message is None else 'several'}; accepted: one")
        return message


class WebContext:
    """One call.

    Args:
        request: of HTTP.
        body: of the request.
        send: one frame to the client; returns once the transport can take more.
        deadline: in the event loop's seconds; None for none.
    """

    def __init__(
        self, request: web.BaseRequest, body: Body, send: Callable[[bytes], Awaitable[None]], deadline: float | None
    ) -> None:
        self._request = request
        self._send = send
        self._deadline = deadline
        self.body = body
        self.handler: Any = None
        self.refusal: Refused | None = None
        self.ended = False
        self.code = grpc.StatusCode.OK
        self.details = ""
        self.trailing: tuple[tuple[str, str | bytes], ...] = ()

    async def read(self) -> Any:
        """The next message of the request, or ``grpc.aio.EOF``."""
        try:
            data = await self.body.next()
        except Refused as refusal:  # ends the call, as gRPC does; it is no error of the servicer
            self.refusal = refusal
            raise asyncio.CancelledError from refusal
        return grpc.aio.EOF if data is None else self.handler.request_deserializer(data)

    async def write(self, message: Any) -> None:
        """Send a message.

        Raises:
            grpc.aio.UsageError: the call has ended.
        """
        if self.ended:
            raise grpc.aio.UsageError("the call has ended")
        try:
            await self._send(message_frame(self.handler.response_serializer(message)))
        except ConnectionError as error:
            raise grpc.aio.UsageError("the connection is closed") from error

    async def abort(
        self,
        code: grpc.StatusCode,
        details: str = "",
        trailing_metadata: Sequence[tuple[str, str | bytes]] = (),
    ) -> None:
        """End the call with a status."""
        self.code, self.details = code, details
        if trailing_metadata:
            self.trailing = tuple(trailing_metadata)
        raise grpc.aio.AbortError

    def set_code(self, code: grpc.StatusCode) -> None:
        """The code that the call will end with."""
        self.code = code

    def set_details(self, details: str) -> None:
        """The text that the call will end with."""
        self.details = details

    def set_trailing_metadata(self, metadata: Sequence[tuple[str, str | bytes]]) -> None:
        """What the trailers hold beside the status."""
        self.trailing = tuple(metadata)

    def invocation_metadata(self) -> tuple[tuple[str, str | bytes], ...]:
        """The headers of the request; values of names that end in ``-bin`` are bytes."""
        return tuple((name.lower(), _metadatum(name, value)) for name, value in self._request.headers.items())

    def peer(self) -> str:
        """Who calls."""
        return f"web:{self._request.remote}"

    def time_remaining(self) -> float | None:
        """Seconds until the client's deadline; None when it has none."""
        if self._deadline is None:
            return None
        return max(0.0, self._deadline - asyncio.get_running_loop().time())


def _metadatum(name: str, value: str) -> str | bytes:
    if not name.lower().endswith("-bin"):
        return value
    try:
        return base64.b64decode(value + "=" * (-len(value) % 4))
    except (binascii.Error, ValueError):
        return b""
