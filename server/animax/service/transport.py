"""Transport security of both ports, which follows its files without a restart."""

from __future__ import annotations

import ssl
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from animax.errors import OptionError
from animax.service.config import Tls, TlsFiles
from animax.service.watched_files import WatchedFiles


@dataclass(frozen=True, eq=False)
class Loaded:
    """What was read last, for either port; made only of what both can use."""

    tls: Tls
    context: ssl.SSLContext


class Transport:
    """Certificate, key and the roots of clients, as their files have them now. Connections that are there keep theirs.

    Attributes:
        files: to look at from time to time; None where bytes were given.

    Raises:
        OptionError: certificate and key are not usable.
    """

    def __init__(self, tls: Tls | TlsFiles) -> None:
        self.files: WatchedFiles[Loaded] | None = None
        if isinstance(tls, TlsFiles):
            self.files = WatchedFiles("the certificate", tls.paths, lambda: _load(tls.read()))
            self._first = self.files.current
        else:
            self._first = _load(tls)

    @property
    def current(self) -> Loaded:
        """For the next connection."""
        return self._first if self.files is None else self.files.current

    def credentials(self) -> grpc.ServerCredentials:
        """For the gRPC port."""
        told = self.current

        def fetch() -> Any:
            """Asked at every handshake, by a thread of gRPC's; None is what it has already."""
            nonlocal told
            latest = self.current
            if latest is told:
                return None
            told = latest
            return _configuration(latest.tls)

        demand = told.tls.client_authority is not None
        made: grpc.ServerCredentials = grpc.dynamic_ssl_server_credentials(
            _configuration(told.tls), fetch, require_client_authentication=demand
        )
        return made

    def context(self) -> ssl.SSLContext:
        """For the gRPC-Web port."""
        context = _Following(ssl.PROTOCOL_TLS_SERVER)
        context.transport = self
        return context


class _Following(ssl.SSLContext):
    """Hands every new connection to the context of the moment: roots cannot be taken out of a context again."""

    transport: Transport

    def wrap_bio(self, *arguments: Any, **more: Any) -> ssl.SSLObject:
        """A connection's security."""
        return self.transport.current.context.wrap_bio(*arguments, **more)


def _configuration(tls: Tls) -> Any:
    return grpc.ssl_server_certificate_configuration([(tls.key, tls.certificate)], tls.client_authority)


def _load(tls: Tls) -> Loaded:
    return Loaded(tls, tls_context(tls))


def tls_context(tls: Tls) -> ssl.SSLContext:
    """The transport security of the gRPC port, for this one.

    Raises:
        OptionError: certificate and key are not usable.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        # the ssl module reads certificates and keys from files only; the folder is this user's alone
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "identity.pem"
            path.write_bytes(tls.key + b"\n" + tls.certificate)
            context.load_cert_chain(path)
        if tls.client_authority is not None:
            context.load_verify_locations(cadata=tls.client_authority.decode("ascii"))
            context.verify_mode = ssl.CERT_REQUIRED
    except (ssl.SSLError, UnicodeDecodeError):
        raise OptionError("tls", "what is no certificate with its key", "PEM: a chain, its key, roots") from None
    return context
