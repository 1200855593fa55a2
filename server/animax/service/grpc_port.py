"""gRPC's own server, but that one call cannot end it.

grpcio 1.85's loop of calls decodes the path of a method that nobody serves, outside of the call's own task: one
request with a path that is no UTF-8 ends the loop, and with it the server and every stream. Here such calls never reach
the loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import grpc
from grpc._cython import cygrpc  # type: ignore[attr-defined]

PARTS = ("_handle_rpc", "_schedule_rpc_coro", "_MethodResolver")
UNKNOWN = "a method that is not there"


def grpc_server(interceptors: Sequence[grpc.aio.ServerInterceptor], options: Sequence[tuple[str, int]]) -> Any:
    """A ``grpc.aio.Server``. All of its methods must be registered by ``add_registered_method_handlers``, as generated
    code does: others are answered with UNIMPLEMENTED."""
    plain = cygrpc.AioServer
    known = hasattr(plain, "_make_request_call_future") and all(hasattr(cygrpc, part) for part in PARTS)
    cygrpc.AioServer = sturdy(plain) if known else plain
    try:
        return grpc.aio.server(interceptors=interceptors, options=options)
    finally:
        cygrpc.AioServer = plain


def sturdy(plain: Any) -> Any:
    """The class of servers, with calls of unknown methods kept from its loop."""

    class Sturdy(plain):  # type: ignore[misc]
        async def _request_call(self) -> Any:
            """The loop's next call of a method that is not registered: none, ever. All are answered here."""
            loop = asyncio.get_running_loop()
            answering: set[asyncio.Task[None]] = set()
            while True:
                call = await super()._request_call()
                refusal = cygrpc._handle_rpc("", cygrpc._MethodResolver([], {}), (), call, loop, False)
                task = loop.create_task(cygrpc._schedule_rpc_coro(refusal, call, loop, UNKNOWN))
                answering.add(task)  # the loop itself keeps no task alive
                task.add_done_callback(answering.discard)

    return Sturdy
