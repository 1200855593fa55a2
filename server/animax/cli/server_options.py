"""Arguments that say which server a command talks to."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from animax.cli.options import existing_file
from animax.errors import OptionError

if TYPE_CHECKING:
    import grpc

LOCAL = "localhost:50051"


def add_server(parser: argparse.ArgumentParser, default: str | None = LOCAL) -> None:
    """The server, and how to trust it and be trusted."""
    told = f" (default: {default})" if default else ""
    parser.add_argument("--server", metavar="HOST:PORT", default=default, help=f"the server to ask{told}")
    parser.add_argument(
        "--tls-ca",
        type=existing_file,
        metavar="PEM",
        help="roots that the server's certificate must have; turns TLS on",
    )
    parser.add_argument(
        "--tls-certificate",
        type=existing_file,
        metavar="PEM",
        help="certificate chain to show, where servers ask for one",
    )
    parser.add_argument("--tls-key", type=existing_file, metavar="PEM", help="private key of the certificate")


def credentials_of(options: argparse.Namespace) -> grpc.ChannelCredentials | None:
    """None for cleartext.

    Raises:
        OptionError: a part of what belongs together is missing.
    """
    import grpc

    ca, certificate, key = options.tls_ca, options.tls_certificate, options.tls_key
    if (certificate is None) != (key is None):
        raise OptionError("tls-certificate", certificate, "a certificate and its --tls-key, both")
    if ca is None:
        if certificate is not None:
            raise OptionError("tls-ca", None, "the server's roots, beside --tls-certificate")
        return None
    return grpc.ssl_channel_credentials(
        ca.read_bytes(), key.read_bytes() if key else None, certificate.read_bytes() if certificate else None
    )
