"""From a request of HTTP to a method of a service, and from its messages and status back."""

from __future__ import annotations

import asyncio
import re
from base64 import b64encode
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

import grpc
from aiohttp import web
from google.protobuf.message import DecodeError
from grpc_status import rpc_status

from animax.errors import Cancelled, DeadlineExceeded, OptionError, StreamError
from animax.service.boundary import ABORT_SECONDS, Boundary
from animax.service.waiting import within
from animax.service.web.context import Body, WebContext
from animax.service.web.frames import Refused, trailers_frame
from animax.service.web.origins import PREFLIGHT, Origins
from animax.wire.failure import MalformedMessage, status_of

BINARY, TEXT = "application/grpc-web+proto", "application/grpc-web-text+proto"
CONTENT_TYPES = {BINARY: False, "application/grpc-web": False, TEXT: True, "application/grpc-web-text": True}
"""Whether it is text."""
TIMEOUT = re.compile(r"([0-9]{1,8})([HMSmun])")
SECONDS = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}
HEADERS = {
    "Server": "animax",
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",  # nginx would keep progress back
    "X-Content-Type-Options": "nosniff",
    "Grpc-Accept-Encoding": "identity",
}


class Methods:
    """What the generated ``add_…Servicer_to_server`` functions register, by path."""

    def __init__(self) -> None:
        self._handlers: dict[str, Any] = {}

    def add_generic_rpc_handlers(self, handlers: Any) -> None:
        """Nothing: the same handlers come by name too."""

    def add_registered_method_handlers(self, service: str, handlers: dict[str, Any]) -> None:
        """Take a service's methods."""
        self._handlers.update({f"/{service}/{name}": handler for name, handler in handlers.items()})

    async def find(self, call: Any) -> Any:
        """The handler of a call; None when there is none."""
        return self._handlers.get(call.method)


@dataclass(frozen=True)
class CallDetails:
    """What ``grpc.aio.ServerInterceptor`` wants to know of a call."""

    method: str
    invocation_metadata: tuple[tuple[str, str | bytes], ...] = ()


@dataclass
class Bridge:
    """Answers requests.

    Attributes:
        methods: that can be called.
        boundary: where errors become statuses and calls are counted, as for gRPC.
        origins: which pages may call.
        max_message: bytes of one message of a request.
        read_seconds: for the whole message of a unary request.
        write_seconds: for a client to take the end of a response.
        calls: in progress; cancel them to end them with a status.
    """

    methods: Methods
    boundary: Boundary
    origins: Origins
    max_message: int
    read_seconds: float
    write_seconds: float
    calls: set[asyncio.Task[None]] = field(default_factory=set)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request. Cancelled when its connection is closed."""
        grant = self.origins.grant(request)
        if grant is None:
            return _plain(403, "this origin may not call; accepted: origins that the server is told (--web-origin)")
        if request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers:
            return web.Response(status=204, headers={**HEADERS, **grant, **PREFLIGHT})
        if request.method != "POST":
            return _plain(405, "accepted: POST", {**grant, "Allow": "POST, OPTIONS"})
        text = CONTENT_TYPES.get(request.content_type)
        if text is None or request.headers.get("Content-Encoding", "identity") != "identity":
            accepted = ", ".join(CONTENT_TYPES)
            return _plain(415, f"accepted: {accepted}; not compressed", {**grant, "Accept-Post": accepted})
        return await self._call(request, text, grant)

    async def _call(self, request: web.BaseRequest, text: bool, grant: dict[str, str]) -> web.StreamResponse:
        headers = {**HEADERS, **grant, "Content-Type": TEXT if text else BINARY}
        response = web.StreamResponse(headers=headers)

        async def send(frame: bytes) -> None:
            if not response.prepared:
                await response.prepare(request)
            await response.write(b64encode(frame) if text else frame)

        async def close(trailers: bytes) -> None:
            await send(trailers)
            await response.write_eof()

        loop = asyncio.get_running_loop()
        body = Body(request.content, text=text, max_message=self.max_message)
        malformed, seconds = None, None
        try:
            seconds = timeout_of(request)
        except OptionError as error:
            malformed = error
        context = WebContext(request, body, send, None if seconds is None else loop.time() + seconds)
        if malformed is not None:
            await self._end(request, context, close, malformed)
            return response
        call = asyncio.create_task(self._run(request.path, context))
        self.calls.add(call)
        call.add_done_callback(self._ended)
        try:
            await asyncio.wait({call}, timeout=seconds)
            late = not call.done()
        finally:
            call.cancel()  # nothing if it is done; else the client is gone, or its deadline has passed
        if late:
            await asyncio.wait({call}, timeout=ABORT_SECONDS)
            await self._end(request, context, close, DeadlineExceeded(f"the client's {seconds:g} s are over"))
        elif call.cancelled():
            await self._end(request, context, close, context.refusal or Cancelled("the server ended the call"))
        else:
            await self._end(request, context, close, call.exception())
        return response

    def _ended(self, call: asyncio.Task[None]) -> None:
        self.calls.discard(call)
        if not call.cancelled():
            call.exception()  # seen: when the client is gone, nobody else looks

    async def _run(self, path: str, context: WebContext) -> None:
        """One call, from finding its method to its last message."""
        handler = await self.boundary.intercept_service(
            self.methods.find, CallDetails(path, context.invocation_metadata())
        )
        if handler is None:
            raise Refused(grpc.StatusCode.UNIMPLEMENTED, "Method not found!")
        if handler.stream_stream:
            text = "streams in both directions need HTTP/2; accepted: gRPC on its own port"
            raise Refused(grpc.StatusCode.UNIMPLEMENTED, text)
        context.handler = handler
        if handler.stream_unary:
            await context.write(await handler.stream_unary(None, context))
            return
        try:
            data = await within(context.body.only(), self.read_seconds)
        except TimeoutError:
            text = f"the message did not come within {self.read_seconds:g} s"
            raise StreamError(text, reason="UPLOAD_STALLED", retry_after=0.0) from None
        message = handler.request_deserializer(data)
        if handler.unary_unary:
            await context.write(await handler.unary_unary(message, context))
        else:
            await handler.unary_stream(message, context)

    async def _end(
        self,
        request: web.BaseRequest,
        context: WebContext,
        close: Callable[[bytes], Coroutine[Any, Any, None]],
        error: BaseException | None,
    ) -> None:
        """Send the trailers and close the response."""
        context.ended = True
        try:
            await within(close(trailers_frame(*_outcome(context, error))), self.write_seconds)
        except TimeoutError:
            # a reader that stalls keeps its status within reach for a while, but not its connection for ever
            if request.transport is not None:
                request.transport.abort()


def timeout_of(request: web.BaseRequest) -> float | None:
    """Seconds until the deadline that the client asks for; None for none.

    Raises:
        OptionError: the header is not what gRPC has it to be.
    """
    text = request.headers.get("grpc-timeout")
    if text is None:
        return None
    found = TIMEOUT.fullmatch(text)
    if found is None:
        raise OptionError("grpc-timeout", text, "1 to 8 digits and one of H M S m u n")
    return int(found.group(1)) * SECONDS[found.group(2)]


def _outcome(
    context: WebContext, error: BaseException | None
) -> tuple[grpc.StatusCode, str, tuple[tuple[str, str | bytes], ...]]:
    """Code, text and trailing metadata of a call that has ended."""
    if error is None or isinstance(error, grpc.aio.AbortError) or context.code is not grpc.StatusCode.OK:
        return context.code, context.details, context.trailing
    if isinstance(error, Refused):
        return error.code, str(error), context.trailing
    if isinstance(error, grpc.aio.BaseError):  # nobody is there to be told
        error = Cancelled("the connection is closed")
    if isinstance(error, DecodeError):
        error = MalformedMessage("the bytes are no message of this method; accepted: protobuf")
    status = rpc_status.to_status(status_of(error if isinstance(error, Exception) else RuntimeError(repr(error))))
    return status.code, status.details, (*status.trailing_metadata, *context.trailing)


def _plain(status: int, text: str, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(status=status, text=text + "\n", headers={**HEADERS, **(headers or {})})
