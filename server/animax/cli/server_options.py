"""Arguments that say which server a command talks to."""

from __future__ import annotations

import argparse
import os
import re
from typing import TYPE_CHECKING, Any

from animax.cli.options import existing_file
from animax.errors import OptionError, UnavailableError

if TYPE_CHECKING:
    import grpc

LOCAL = "localhost:50051"
ADDRESS = re.compile(r"(?:[\w.-]+|\[[0-9A-Fa-f:.%\w]+\]):(?P<port>[0-9]{1,5})|unix:.+")
NO_CONNECTION = re.compile(
    r"UNAVAILABLE: .*(?:errors resolving|Failed to connect to remote|connect failed).*: (?P<why>[^]:]+)]?"
)
"""What gRPC tells of a server that it has not reached."""
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
    parser.add_argument("--server", metavar="HOST:PORT", type=address, default=default, help=f"{help}{told}")
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


def address(text: str) -> str:
    """An argparse type: where a server is."""
    found = ADDRESS.fullmatch(text)
    if found is None or (found["port"] and not 1 <= int(found["port"]) <= 65535):
        raise argparse.ArgumentTypeError(f"{text!r}; accepted: HOST:PORT, like {LOCAL} or [::1]:50051")
    return text


def in_words(error: UnavailableError, options: argparse.Namespace) -> UnavailableError:
    """The error, in words for people where there is no connection to the server that the arguments say."""
    found = NO_CONNECTION.fullmatch(str(error))
    if found is None:
        return error
    server = getattr(options, "server", None) or LOCAL
    text = f"no server at {server} ({found['why'].lower()}); start one with `animax serve`"
    return UnavailableError(text, reason=error.reason, retry_after=error.retry_after)


def connection_of(options: argparse.Namespace) -> dict[str, Any]:
    """Arguments of ``Client`` beside the target.

    Raises:
        OptionError: a part of what belongs together is missing, or a file cannot be read.
    """
    return {"credentials": credentials_of(options), "token": token_of(options)}


def credentials_of(options: argparse.Namespace) -> grpc.ChannelCredentials | None:
    """None for cleartext.

    Raises:
        OptionError: a part of what belongs together is missing, or no PEM.
    """
    from animax.wire.channel import channel_credentials

    try:
        credentials = channel_credentials(options.tls_ca, options.tls_certificate, options.tls_key)
    except OptionError as error:
        raise OptionError(f"tls-{error.name}", error.seen, error.accepted) from None
    if credentials is not None:
        check_pem(options)
    return credentials


def check_pem(options: argparse.Namespace) -> None:
    """Return if the files of the transport security can be used: gRPC tells of those that cannot be as of a server that
    cannot be reached.

    Raises:
        OptionError: one cannot be.
    """
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    for name, file in (("tls-ca", options.tls_ca), ("tls-cert", options.tls_certificate)):
        try:
            if file is not None:
                context.load_verify_locations(file)
        except ssl.SSLError:
            raise OptionError(name, str(file), "a PEM file with certificates") from None
    try:
        if options.tls_key is not None:
            context.load_cert_chain(options.tls_certificate, options.tls_key, password="")
    except ssl.SSLError:
        raise OptionError("tls-key", str(options.tls_key), "a PEM file with the certificate's private key") from None


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
