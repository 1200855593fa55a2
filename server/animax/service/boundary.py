"""Where errors become statuses: around every method of animax.v1."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from google.rpc import status_pb2
from grpc_status import rpc_status

from animax.errors import AnimaxError
from animax.service.access.authenticator import Identify, Metadata, anybody
from animax.service.access.caller import Callers, current
from animax.service.observe.observer import REQUEST_ID, Observer
from animax.service.observe.record import Record
from animax.service.waiting import within
from animax.wire.failure import MalformedMessage, code_of, reason_of, status_of

ALWAYS_ANSWERED = frozenset({"animax.v1.AnimationService/GetCapabilities"})
"""Also while the server shuts down: it says so itself."""
OPEN = "grpc.health.v1."
"""Probes have no credentials, and learn nothing but SERVING."""
KINDS = ("unary_unary", "unary_stream", "stream_unary", "stream_stream")
LATE_SECONDS = 0.05
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
    """Maps errors to statuses, has every call observed, and counts the calls of animax.v1 that are in progress.

    Args:
        observer: told of every call.
        admit: raises what refuses every new call, or returns. ``ALWAYS_ANSWERED`` are not refused.
        identify: from the metadata of a call to who calls. Asked for every method but those of the health service.
    """

    def __init__(self, observer: Observer, admit: Callable[[], None], identify: Identify = anybody) -> None:
        self.active = 0
        self.callers = Callers()
        self._identify = identify
        self._observer = observer
        self._admit = admit
        self._idle = asyncio.Event()
        self._idle.set()

    async def idle(self) -> None:
        """Wait until no call is in progress."""
        await self._idle.wait()

    async def intercept_service(self, continuation: Callable[[Any], Awaitable[Any]], handler_call_details: Any) -> Any:
        """Wrap the handler."""
        handler = await continuation(handler_call_details)
        method = handler_call_details.method.removeprefix("/")
        if handler is None or method.startswith(OPEN):
            return handler
        metadata = handler_call_details.invocation_metadata or ()
        if not method.startswith("animax.v1."):  # reflection, and whatever else comes to be served
            return self._for_known(handler, metadata)
        try:
            self._identify(metadata)
        except AnimaxError as error:
            return self._unread(method, error)
        wrapped = {kind: self._guarded(method, getattr(handler, kind)) for kind in KINDS if getattr(handler, kind)}
        return handler._replace(request_deserializer=_tolerant(handler.request_deserializer), **wrapped)

    def _for_known(self, handler: Any, metadata: Metadata) -> Any:
        """The handler, if the caller is known; else one that says so."""
        try:
            self._identify(metadata)
        except AnimaxError as error:
            told = status_of(error)

            async def refuse(_: Any, context: Any) -> None:
                await _abort(context, told, ())

            return handler._replace(**{kind: refuse for kind in KINDS if getattr(handler, kind)})
        return handler

    def _unread(self, method: str, error: AnimaxError) -> Any:
        """A handler that refuses without a look at the message, which may be large; observed as any other call."""

        async def refuse(_: Any, __: Any) -> None:
            raise error

        return grpc.stream_unary_rpc_method_handler(self._guarded(method, refuse))

    def _guarded(
        self, method: str, handle: Callable[[Any, Any], Awaitable[Any]]
    ) -> Callable[[Any, Any], Awaitable[Any]]:
        async def call(request: Any, context: Any) -> Any:
            self.active += 1
            self._idle.clear()
            record = self._observer.begin(method, context.invocation_metadata() or ())
            code, reason = grpc.StatusCode.CANCELLED, "CANCELLED"
            try:
                context.set_trailing_metadata(_trailer(record))
                caller = self.callers.of(self._identify(context.invocation_metadata() or ()))
                current.set(caller)
                record.note(caller=caller.name)
                with caller.call():
                    if method not in ALWAYS_ANSWERED:
                        self._admit()
                    answer = await handle(checked(request), context)
                code, reason = grpc.StatusCode.OK, ""
                return answer
            except asyncio.CancelledError:
                code, reason = _left(context, time.monotonic() - record.began)
                raise
            except Exception as error:
                status = status_of(error)
                code, reason = code_of(status), reason_of(status)
                await _abort(context, status, _trailer(record))
            finally:
                self._observer.end(record, code.name, reason)
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


async def _abort(context: Any, told: status_pb2.Status, trailer: tuple[tuple[str, str], ...]) -> None:
    status = rpc_status.to_status(told)
    with suppress(TimeoutError):
        await within(context.abort(status.code, status.details, (*status.trailing_metadata, *trailer)), ABORT_SECONDS)


def _trailer(record: Record) -> tuple[tuple[str, str], ...]:
    return ((REQUEST_ID, record.request_id),)


def _left(context: Any, seconds: float) -> tuple[grpc.StatusCode, str]:
    """Code and reason of a call that was cancelled under its handler: by its deadline, or by whoever made it.

    Client and server keep time apart, and a deadline is rounded up on its way by as much as a hundredth: the client's
    own end of it may come first.
    """
    left = context.time_remaining()
    if left is not None and left <= LATE_SECONDS + 0.01 * seconds:
        return grpc.StatusCode.DEADLINE_EXCEEDED, "DEADLINE"
    return grpc.StatusCode.CANCELLED, "CANCELLED"
