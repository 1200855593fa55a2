"""How channels to a server are set up."""

from __future__ import annotations

LOOPBACK = ("localhost", "127.", "[::1]", "unix:")


def channel_options(target: str) -> list[tuple[str, int]]:
    """Options of a channel: find a server that vanished while it has our call; never ask a proxy for this machine."""
    options = [("grpc.keepalive_time_ms", 20_000), ("grpc.keepalive_timeout_ms", 10_000)]
    if target.startswith(LOOPBACK):
        options.append(("grpc.enable_http_proxy", 0))
    return options
