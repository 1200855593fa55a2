"""How channels to a server are set up."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from animax.errors import OptionError

if TYPE_CHECKING:
    import grpc

Pem = str | Path | bytes
"""A PEM file, or what is in one."""
LOOPBACK = ("localhost", "127.", "[::1]", "unix:")
TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")


def channel_options(target: str) -> list[tuple[str, int]]:
    """Options of a channel: find a server that vanished while it has our call; never ask a proxy for this machine."""
    options = [("grpc.keepalive_time_ms", 20_000), ("grpc.keepalive_timeout_ms", 10_000)]
    if target.startswith(LOOPBACK):
        options.append(("grpc.enable_http_proxy", 0))
    return options


def channel_credentials(ca: Pem | None, certificate: Pem | None, key: Pem | None) -> grpc.ChannelCredentials | None:
    """Transport security; None for cleartext.

    Raises:
        OptionError: a part of what belongs together is missing, or a file cannot be read.
    """
    if (certificate is None) != (key is None):
        raise OptionError("certificate", "one alone", "a certificate and its key, both")
    if ca is None:
        if certificate is not None:
            raise OptionError("ca", None, "the server's roots, beside a certificate")
        return None
    import grpc

    return grpc.ssl_channel_credentials(_read(ca, "ca"), _read(key, "key"), _read(certificate, "certificate"))


def check_token(token: str | None, target: str, *, secure: bool) -> None:
    """Return if a token may be sent; errors do not hold it.

    Raises:
        OptionError: it is none, or everybody on the way could read it.
    """
    if token is None:
        return
    if not TOKEN.fullmatch(token):
        raise OptionError("token", "something else", "a bearer token: letters, digits and . _ ~ + / - =")
    if not secure and not _this_machine(target):
        raise OptionError("token", "one without TLS", "a token over TLS (ca), or to a server on this machine")


class TokenChannel:
    """A channel, blocking or not, whose calls show a token."""

    def __init__(self, channel: Any, token: str) -> None:
        self._channel = channel
        self._metadata = (("authorization", f"Bearer {token}"),)

    def unary_unary(self, *arguments: Any, **more: Any) -> Any:
        """See ``grpc.Channel``."""
        return partial(self._channel.unary_unary(*arguments, **more), metadata=self._metadata)

    def unary_stream(self, *arguments: Any, **more: Any) -> Any:
        """See ``grpc.Channel``."""
        return partial(self._channel.unary_stream(*arguments, **more), metadata=self._metadata)

    def stream_unary(self, *arguments: Any, **more: Any) -> Any:
        """See ``grpc.Channel``."""
        return partial(self._channel.stream_unary(*arguments, **more), metadata=self._metadata)

    def stream_stream(self, *arguments: Any, **more: Any) -> Any:
        """See ``grpc.Channel``."""
        return partial(self._channel.stream_stream(*arguments, **more), metadata=self._metadata)


def _this_machine(target: str) -> bool:
    """Stricter than ``LOOPBACK``: localhost.example and 127.example are names of anybody's."""
    return bool(re.fullmatch(r"(localhost|127(\.[0-9]{1,3}){3}|\[::1\])(:[0-9]+)?|unix:.*", target))


def _read(pem: Pem | None, name: str) -> bytes | None:
    if pem is None or isinstance(pem, bytes):
        return pem
    try:
        return Path(pem).read_bytes()
    except OSError as error:
        raise OptionError(name, Path(pem).name, f"a PEM file that can be read ({error.strerror})") from None
