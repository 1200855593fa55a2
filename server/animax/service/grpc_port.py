"""gRPC's own server, but that one call cannot end it, and that many may arrive at a time.

grpcio 1.85's loop of calls decodes the path of a method that nobody serves, outside of the call's own task: one
request with a path that is no UTF-8 ends the loop, and with it the server and every stream. Here such calls never reach
the loop. And it takes one call of a method, then waits to be told of the next one: on a busy machine, where each waking
takes long, calls wait for it without a limit, before anybody could refuse them. Here many are asked for at a time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import grpc
from grpc._cython import cygrpc  # type: ignore[attr-defined]

PARTS = ("_handle_rpc", "_schedule_rpc_coro", "_MethodResolver")
UNKNOWN = "a method that is not there"
AT_A_TIME = 16
"""Calls of one method that gRPC may hand over before anybody is woken."""


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
    """The class of servers, with all that is said above."""

    class Sturdy(plain):  # type: ignore[misc]
        def __init__(self, *arguments: Any, **more: Any) -> None:
            super().__init__(*arguments, **more)
            self._arrivals: dict[bytes, asyncio.Queue[Any]] = {}
            self._accepting: set[asyncio.Task[None]] = set()  # the event loop itself keeps no task alive

        def _make_request_call_future(self, method: bytes | None) -> asyncio.Task[Any]:
            """The loop's next call of a registered method, or of any other."""
            loop = asyncio.get_running_loop()
            if method is None:
                return loop.create_task(self._request_call())
            if method not in self._arrivals:
                self._arrivals[method] = asyncio.Queue()
                for _ in range(AT_A_TIME):
                    self._keep(loop.create_task(self._accept(method)))
            return loop.create_task(self._arrival(method))

        async def _accept(self, method: bytes) -> None:
            while True:
                try:
                    call = await self._request_registered_call(method)
                except Exception as error:  # the server ends; its loop is to know
                    self._arrivals[method].put_nowait(error)
                    return
                self._arrivals[method].put_nowait(call)

        async def _arrival(self, method: bytes) -> Any:
            call = await self._arrivals[method].get()
            if isinstance(call, Exception):
                raise call
            return call

        async def _request_call(self) -> Any:
            """The loop's next call of a method that is not registered: none, ever. All are answered here."""
            loop = asyncio.get_running_loop()
            while True:
                call = await super()._request_call()
                refusal = cygrpc._handle_rpc("", cygrpc._MethodResolver([], {}), (), call, loop, False)
                self._keep(loop.create_task(cygrpc._schedule_rpc_coro(refusal, call, loop, UNKNOWN)))

        def _keep(self, task: asyncio.Task[None]) -> None:
            self._accepting.add(task)
            task.add_done_callback(self._accepting.discard)

    return Sturdy
