"""A port of its own for those who watch: metrics, probes and a status page, over plain HTTP.

It has threads of its own, so that it still answers, and says so, when the event loop does not.
"""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric

from animax.errors import ServiceError
from animax.service.observe.snapshot import Observed, Snapshot
from animax.service.observe.status_page import status_page

log = logging.getLogger(__name__)

ANSWER_SECONDS = 4.0
"""For the event loop to answer: less than probes usually wait."""
REQUEST_SECONDS = 5.0
"""For a client to send its request, and to take the answer."""
MAX_CONNECTIONS = 32


class LoopStuck(Exception):
    """The event loop does not answer."""


class Monitor:
    """Serves until it is stopped.

    Args:
        observed: what to show.
        host: to listen on.
        port: 0 takes a free one; ``port`` is then the one in use.

    Raises:
        ServiceError: the address cannot be listened on.
    """

    def __init__(self, observed: Observed, host: str, port: int) -> None:
        self._observed = observed
        self._loop = asyncio.get_running_loop()
        pages: dict[str, Callable[[str], _Answer]] = {
            "/": self._page,
            "/metrics": self._metrics,
            "/status.json": self._status,
            "/healthz": self._alive,
            "/readyz": self._ready,
        }
        try:
            self._server = _HttpServer((host, port), pages)
        except (OSError, OverflowError) as error:
            raise ServiceError(
                f"cannot listen on {host}:{port}; accepted: a free port of an address of this machine", reason="ADDRESS"
            ) from error
        self.host, self.port = host, int(self._server.server_address[1])
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, name="animax-monitor", daemon=True
        )
        self._thread.start()
        log.info("metrics and status page on http://%s:%d/", f"[{host}]" if ":" in host else host, self.port)

    async def stop(self) -> None:
        """Close the port."""
        await asyncio.to_thread(self._server.shutdown)
        self._server.server_close()

    def _snapshot(self) -> Snapshot:
        """Taken on the event loop, which all of it belongs to; called from other threads.

        Raises:
            LoopStuck: it does not answer.
        """
        try:
            asking = asyncio.run_coroutine_threadsafe(self._observed.snapshot(), self._loop)
        except RuntimeError:  # it was closed
            raise LoopStuck from None
        try:
            return asking.result(ANSWER_SECONDS)
        except (FutureTimeoutError, asyncio.CancelledError):
            asking.cancel()
            raise LoopStuck from None

    def _metrics(self, accept: str) -> _Answer:
        encode, content_type = choose_encoder(accept)
        content: bytes = encode(_Scrape(self._observed, self._snapshot()))
        return _Answer(HTTPStatus.OK, content_type, content)

    def _page(self, _: str) -> _Answer:
        return _Answer(HTTPStatus.OK, "text/html; charset=utf-8", status_page(self._snapshot()).encode())

    def _status(self, _: str) -> _Answer:
        return _Answer(HTTPStatus.OK, "application/json", json.dumps(self._snapshot().json()).encode())

    def _alive(self, _: str) -> _Answer:
        self._snapshot()
        return _text(HTTPStatus.OK, "alive")

    def _ready(self, _: str) -> _Answer:
        snapshot = self._snapshot()
        if snapshot.ready:
            return _text(HTTPStatus.OK, "ready")
        return _text(HTTPStatus.SERVICE_UNAVAILABLE, snapshot.state)


class _Scrape:
    """What is counted as it happens, and how things stand now: a registry for one answer."""

    def __init__(self, observed: Observed, snapshot: Snapshot) -> None:
        self._observed = observed
        self._snapshot = snapshot

    def collect(self) -> Iterator[Metric]:
        yield from self._observed.metrics.registry.collect()
        yield from self._snapshot.families()


class _Answer:
    def __init__(self, status: HTTPStatus, content_type: str, content: bytes) -> None:
        self.status, self.content_type, self.content = status, content_type, content


def _text(status: HTTPStatus, text: str) -> _Answer:
    return _Answer(status, "text/plain; charset=utf-8", f"{text}\n".encode())


class _HttpServer(ThreadingHTTPServer):
    """At most ``MAX_CONNECTIONS`` threads; who comes beyond them is hung up on."""

    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True

    def __init__(self, address: tuple[str, int], pages: dict[str, Callable[[str], _Answer]]) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self.pages = pages
        self._room = threading.BoundedSemaphore(MAX_CONNECTIONS)
        super().__init__(address, _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._room.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()

    def handle_error(self, *_: Any) -> None:
        log.debug("a connection to the status port failed", exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    """GET and HEAD of the few pages there are."""

    timeout = REQUEST_SECONDS
    server: _HttpServer

    def do_GET(self) -> None:
        page = self.server.pages.get(self.path.partition("?")[0])
        if page is None:
            known = ", ".join(self.server.pages)
            self._send(_text(HTTPStatus.NOT_FOUND, f"there is no such page; accepted: {known}"))
            return
        try:
            answer = page(self.headers.get("Accept", ""))
        except LoopStuck:
            answer = _text(HTTPStatus.SERVICE_UNAVAILABLE, "the server does not answer")
        except Exception:
            log.exception("a defect of the status port")
            answer = _text(HTTPStatus.INTERNAL_SERVER_ERROR, "internal error; the server's log has it")
        self._send(answer)

    do_HEAD = do_GET  # noqa: N815

    def _send(self, answer: _Answer) -> None:
        self.send_response(answer.status)
        headers = {
            "Content-Type": answer.content_type,
            "Content-Length": str(len(answer.content)),
            "Cache-Control": "no-store",
            "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'",
            "X-Content-Type-Options": "nosniff",
        }
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            with suppress(ConnectionError, TimeoutError):
                self.wfile.write(answer.content)

    def send_error(self, code: int, *_: Any) -> None:
        """The base class's own answers, without an echo of what was sent."""
        self.close_connection = True
        self._send(_text(HTTPStatus(code), "accepted: GET and HEAD"))

    def version_string(self) -> str:
        """What the Server header tells: not which Python this is."""
        return "animax"

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002
        log.debug(format, *arguments)
