"""The second port: HTTP/1.1, and how it opens and closes."""

from __future__ import annotations

import asyncio
import logging
import ssl

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from animax.errors import ServiceError
from animax.service.boundary import Boundary
from animax.service.config import ServerConfig
from animax.service.web.bridge import Bridge, Methods
from animax.service.web.connections import Connections
from animax.service.web.origins import Origins

MAX_HEADER_LINE = 16 * 1024
"""Bytes of the request line, and of one header."""
MAX_HEADERS = 64
HANDSHAKE_SECONDS = 10.0
LINGER_SECONDS = 2.0
"""For the rest of a request that is answered before its end."""
HANG_UP_SECONDS = 1.0
"""For the connections to take the statuses of calls that were ended."""

http_log = logging.getLogger(f"{__name__}.http")


def is_defect(record: logging.LogRecord) -> bool:
    """Whether it is the server's fault: what anybody may send to an open port is not worth a trace; they get a 400."""
    error = record.exc_info[1] if record.exc_info else None
    return not isinstance(error, HttpProcessingError | web.RequestPayloadError | ConnectionError)


http_log.addFilter(is_defect)


class WebListener:
    """Serves ``methods`` over gRPC-Web. All methods belong to one event loop.

    Args:
        config: with a ``web_port``.
        boundary: that of the gRPC port, so that calls are counted together.
        max_message: bytes of one message of a request.
        security: of the transport; None speaks cleartext.
    """

    def __init__(
        self, config: ServerConfig, boundary: Boundary, max_message: int, security: ssl.SSLContext | None = None
    ) -> None:
        assert config.web_port is not None
        self.methods = Methods()
        self.port = config.web_port
        self._config = config
        self._security = security
        self._bridge = Bridge(
            self.methods,
            boundary,
            Origins(config.web_origins, config.host),
            max_message=max_message,
            read_seconds=config.upload_idle_seconds,
            write_seconds=config.write_timeout_seconds,
        )
        self._runner: web.AppRunner | None = None
        self._listening: asyncio.Server | None = None

    async def open(self) -> None:
        """Take the port; nobody is answered before ``start``.

        Raises:
            ServiceError: the address cannot be listened on.
        """
        config = self._config
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", self._bridge.handle)
        runner = web.AppRunner(application, handler_cancellation=True, shutdown_timeout=HANG_UP_SECONDS)
        await runner.setup()
        assert runner.server is not None
        options = {
            "access_log": None,
            "logger": http_log,
            "keepalive_timeout": config.web_idle_seconds,
            "max_line_size": MAX_HEADER_LINE,
            "max_field_size": MAX_HEADER_LINE,
            "max_headers": MAX_HEADERS,
            "lingering_time": LINGER_SECONDS,
            "auto_decompress": False,
        }
        try:
            self._listening = await asyncio.get_running_loop().create_server(
                Connections(runner.server, config.web_connections, options),
                config.host,
                config.web_port,
                ssl=self._security,
                ssl_handshake_timeout=HANDSHAKE_SECONDS if self._security else None,
                start_serving=False,
            )
        except OSError as error:
            await runner.cleanup()
            text = (
                f"cannot listen on {config.host}:{config.web_port}; accepted: a free port of an address of this machine"
            )
            raise ServiceError(text, reason="ADDRESS") from error
        self._runner = runner
        self.port = self._listening.sockets[0].getsockname()[1]

    async def start(self) -> None:
        """Answer."""
        assert self._listening is not None
        await self._listening.start_serving()

    async def stop(self) -> None:
        """Take no more connections, end the calls that are left with CANCELLED, and close."""
        listening, self._listening = self._listening, None
        runner, self._runner = self._runner, None
        if listening is not None:
            listening.close()
        for call in self._bridge.calls:
            call.cancel()
        if runner is not None:
            await runner.cleanup()
