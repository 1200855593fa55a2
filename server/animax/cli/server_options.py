"""Arguments that say which server a command talks to."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING, Any

from animax.cli.options import existing_file
from animax.errors import OptionError, UnavailableError

if TYPE_CHECKING:
    import grpc

LOCAL = "localhost:50051"
STATUS_PAGE = "the URL of a status page, http://HOST:PORT"
NOT_ASKED = {
    "debug": "the pictures stay where they are made",
    "up": "the server takes the file's own",
    "provider": "the server has its own",
    "threads": "the server has its own",
}
"""Arguments that a server is not told, and why."""
MOST_BYTES = 1 << 20
"""Of a page: a status page has a few thousand."""


def add_server(parser: argparse.ArgumentParser, default: str | None = LOCAL, help: str = "the server to ask") -> None:  # noqa: A002
    """The server, and how to trust it and be trusted."""
    told = f" (default: {default})" if default else ""
    parser.add_argument("--server", metavar="HOST:PORT", default=default, help=f"{help}{told}")
    parser.add_argument(
        "--tls-ca",
        type=existing_file,
        metavar="PEM",
        help="roots that the server's certificate must have; turns TLS on",
    )
    parser.add_argument(
        "--tls-cert",
        "--tls-certificate",
        dest="tls_certificate",
        type=existing_file,
        metavar="PEM",
        help="certificate chain to show, where servers ask for one",
    )
    parser.add_argument("--tls-key", type=existing_file, metavar="PEM", help="private key of the certificate")
    parser.add_argument(
        "--token-file",
        type=existing_file,
        metavar="FILE",
        help="the token to show to servers that want to know who calls (default: $ANIMAX_TOKEN, else none)",
    )


def check_local(options: argparse.Namespace) -> None:
    """Return unless something is given beside a server that it would not heed.

    Raises:
        OptionError: it is.
    """
    for name, why in NOT_ASKED.items():
        if options.server and (value := getattr(options, name, None)):
            raise OptionError(name, str(value), f"nothing with --server: {why}")


def connection_of(options: argparse.Namespace) -> dict[str, Any]:
    """Arguments of ``Client`` beside the target.

    Raises:
        OptionError: a part of what belongs together is missing, or a file cannot be read.
    """
    return {"credentials": credentials_of(options), "token": token_of(options)}


def credentials_of(options: argparse.Namespace) -> grpc.ChannelCredentials | None:
    """None for cleartext.

    Raises:
        OptionError: a part of what belongs together is missing.
    """
    from animax.wire.channel import channel_credentials

    try:
        return channel_credentials(options.tls_ca, options.tls_certificate, options.tls_key)
    except OptionError as error:
        raise OptionError(f"tls-{error.name}", error.seen, error.accepted) from None


def token_of(options: argparse.Namespace) -> str | None:
    """The token to show; None for none.

    Raises:
        OptionError: the file holds none.
    """
    if options.token_file is None:
        return os.environ.get("ANIMAX_TOKEN") or None
    words: list[str] = options.token_file.read_text("utf-8", "replace").split()
    if len(words) != 1:
        raise OptionError("token-file", f"a file with {len(words)} words", "a file with a token and nothing else")
    return words[0]


def ask_page(url: str, path: str, timeout: float) -> tuple[int, bytes]:
    """Status and content of a page beside a status page: 200, or 503 of a server that is not ready.

    Raises:
        OptionError: it is no URL of a status page.
        UnavailableError: it cannot be reached.
    """
    # both take a tenth of a second to import, which no other command should pay
    import urllib.error
    import urllib.request

    if not url.startswith(("http://", "https://")):
        raise OptionError("url", url, STATUS_PAGE)
    try:
        with urllib.request.urlopen(url.rstrip("/") + path, timeout=timeout) as answer:
            return 200, answer.read(MOST_BYTES)
    except urllib.error.HTTPError as error:
        if error.code == 503:
            return 503, error.read(MOST_BYTES)
        raise OptionError("url", url, STATUS_PAGE) from None
    except OSError as error:
        why = getattr(error, "reason", error)
        raise UnavailableError(f"{url} cannot be reached: {why}", reason="") from None
    except ValueError:
        raise OptionError("url", url, STATUS_PAGE) from None
