"""Where errors become statuses: around every method of animax.v1."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from grpc_status import rpc_status

from animax.service.waiting import within
from animax.wire.failure import MalformedMessage, status_of

ABORT_SECONDS = 1.0
"""A status waits behind what a stalled reader has not taken; the transport keeps it for when the reader goes on."""


class Malformed:
    """Stands for a message that could not be parsed. Left to gRPC, it would be INTERNAL."""


def checked(message: Any) -> Any:
    """The message itself.

    Raises:
        MalformedMessage: it could not be parsed.
    """
    if isinstance(message, Malformed):
        raise MalformedMessage("the bytes are no message of animax.v1; accepted: protobuf with text in valid UTF-8")
    return message


class Boundary(grpc.aio.ServerInterceptor):
    """Maps errors to statuses and counts the calls of animax.v1 that are in progress."""

    def __init__(self) -> None:
        self.active = 0
        self._idle = asyncio.Event()
        self._idle.set()

    async def idle(self) -> None:
        """Wait until no call is in progress."""
        await self._idle.wait()

    async def intercept_service(self, continuation: Callable[[Any], Awaitable[Any]], handler_call_details: Any) -> Any:
        """Wrap the handler."""
        handler = await continuation(handler_call_details)
        if handler is None or not handler_call_details.method.startswith("/animax.v1."):
            return handler
        kinds = ("unary_unary", "unary_stream", "stream_unary", "stream_stream")
        wrapped = {kind: self._guarded(getattr(handler, kind)) for kind in kinds if getattr(handler, kind)}
        return handler._replace(request_deserializer=_tolerant(handler.request_deserializer), **wrapped)

    def _guarded(self, method: Callable[[Any, Any], Awaitable[Any]]) -> Callable[[Any, Any], Awaitable[Any]]:
        async def call(request: Any, context: Any) -> Any:
            self.active += 1
            self._idle.clear()
            try:
                return await method(checked(request), context)
            except Exception as error:
                await _abort(context, error)
            finally:
                self.active -= 1
                if not self.active:
                    self._idle.set()

        return call


def _tolerant(parse: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    def attempt(data: bytes) -> Any:
        try:
            return parse(data)
        except DecodeError:
            return Malformed()

    return attempt


async def _abort(context: Any, error: Exception) -> None:
    status = rpc_status.to_status(status_of(error))
    with suppress(TimeoutError):
        await within(context.abort(status.code, status.details, status.trailing_metadata), ABORT_SECONDS)
