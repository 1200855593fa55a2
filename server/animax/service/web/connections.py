"""Connections of the web port: so many at a time, and what a badly chunked body is."""

from __future__ import annotations

import asyncio
from typing import Any

from aiohttp import web

FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\nServer: animax\r\nConnection: close\r\nRetry-After: 1\r\n"
    b"Content-Type: text/plain; charset=utf-8\r\nContent-Length: 26\r\n\r\ntoo many connections here\n"
)


class Connection(web.RequestHandler):
    """One connection.

    What cannot be read as the next chunk of a body, aiohttp takes for a further request that is bad, while the body
    waits for its rest. Here the body is told.
    """

    def data_received(self, data: bytes) -> None:
        """Take bytes from the client."""
        known = len(self._messages)
        super().data_received(data)
        request = self._current_request
        if request is None or request.content.is_eof() or len(self._messages) == known:
            return
        if not hasattr(self._messages[-1][0], "method"):  # no request, but what was wrong with it
            request.content.set_exception(web.RequestPayloadError("the body is badly chunked"))


class TurnedAway(asyncio.Protocol):
    """A connection beyond those that there may be."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Say so and close."""
        assert isinstance(transport, asyncio.Transport)
        transport.write(FULL)
        transport.close()


class Connections:
    """Makes the protocol of each new connection.

    Args:
        server: of aiohttp.
        most: connections at a time.
        options: of ``aiohttp.web.RequestHandler``.
    """

    def __init__(self, server: web.Server, most: int, options: dict[str, Any]) -> None:
        self._server = server
        self._most = most
        self._options = options

    def __call__(self) -> asyncio.Protocol:
        """The protocol of one more connection."""
        if len(self._server.connections) >= self._most:
            return TurnedAway()
        return Connection(self._server, loop=asyncio.get_running_loop(), **self._options)
