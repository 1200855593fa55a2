"""Which web pages may call: those of the allow-list, and those that come from this very address."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from urllib.parse import urlsplit

from aiohttp import web

ANY = "*"
PREFLIGHT = {
    "Access-Control-Allow-Methods": "POST",
    "Access-Control-Allow-Headers": "authorization, content-type, grpc-timeout, x-grpc-web, x-user-agent, "
    "x-request-id, traceparent, tracestate",
    "Access-Control-Max-Age": "7200",
}
EXPOSED = "grpc-status, grpc-message, grpc-status-details-bin"


class Origins:
    """The rule of one listener.

    Args:
        allowed: origins, or ``*`` for all.
        host: name of the address that is listened on.
    """

    def __init__(self, allowed: Sequence[str], host: str) -> None:
        self._allowed = frozenset(allowed)
        self._host = host

    def grant(self, request: web.BaseRequest) -> dict[str, str] | None:
        """Headers for the response to a request; None when its page may not call. No page, no rule."""
        headers = {"Vary": "Origin"}
        origin = request.headers.get("Origin")
        if origin is not None:
            if not (ANY in self._allowed or origin in self._allowed or self._same(origin, request)):
                return None
            headers.update({"Access-Control-Allow-Origin": origin, "Access-Control-Expose-Headers": EXPOSED})
        return headers

    def _same(self, origin: str, request: web.BaseRequest) -> bool:
        if origin != f"{request.scheme}://{request.headers.get('Host', '')}":
            return False
        # without TLS a name proves nothing: whoever owns a name can have it point to this machine (DNS rebinding)
        return request.secure or self._is_address(urlsplit(origin).hostname or "")

    def _is_address(self, name: str) -> bool:
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return name in ("localhost", self._host)
        return True
