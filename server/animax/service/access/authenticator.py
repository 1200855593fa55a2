"""From a call's metadata to who calls: one way for gRPC and gRPC-Web."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

from animax.errors import OptionError, UnauthenticatedError
from animax.service.access.identity import EVERYBODY, Identity
from animax.service.access.settings import AuthSettings
from animax.service.access.token_file import digest, read_tokens
from animax.service.watched_files import WatchedFiles

HEADER = "authorization"
MAX_CREDENTIAL = 4096
"""Characters of the header; no more are looked at."""
BEARER = re.compile(r"(?i:bearer) +([A-Za-z0-9._~+/-]+=*) *")

Metadata = Iterable[tuple[str, str | bytes]]
Identify = Callable[[Metadata], Identity]


def anybody(_: Metadata) -> Identity:
    """The ``Identify`` of a server without accounts."""
    return EVERYBODY


class Authenticator:
    """Knows tokens and JWTs as the files have them now.

    Raises:
        OptionError: a file cannot be used, or PyJWT is not installed.
    """

    def __init__(self, settings: AuthSettings) -> None:
        self.files: list[WatchedFiles[Any]] = []
        self._tokens: WatchedFiles[dict[str, Identity]] | None = None
        self._verifier: WatchedFiles[Any] | None = None
        if (token_file := settings.token_file) is not None:
            self._tokens = WatchedFiles(
                "the token file", [token_file], lambda: read_tokens(token_file, settings.quotas())
            )
            self.files.append(self._tokens)
        if settings.jwks_file is not None:
            try:
                from animax.service.access.jwt_verifier import JwtVerifier
            except ImportError:
                accepted = "nothing without PyJWT (pip install 'animax[auth]')"
                raise OptionError("jwks_file", settings.jwks_file.name, accepted) from None
            self._verifier = WatchedFiles("the key set", [settings.jwks_file], lambda: JwtVerifier(settings))
            self.files.append(self._verifier)

    def identify(self, metadata: Metadata) -> Identity:
        """Who calls.

        Raises:
            UnauthenticatedError: nobody whom this server knows.
            ForbiddenError: somebody who may not call.
        """
        token = bearer_token(metadata)
        known = self._tokens.current.get(digest(token)) if self._tokens is not None else None
        if known is not None:
            return known
        if self._verifier is not None and token.count(".") == 2:
            identity: Identity = self._verifier.current.verify(token)
            return identity
        text = "the token is not valid; accepted: one that this server knows"
        raise UnauthenticatedError(text, reason="TOKEN_INVALID")


def bearer_token(metadata: Metadata) -> str:
    """The token that a call brings.

    Raises:
        UnauthenticatedError: none, several, or something else.
    """
    given = [value for name, value in metadata if name.lower() == HEADER]
    accepted = "accepted: one `authorization: Bearer TOKEN`"
    if not given:
        raise UnauthenticatedError(f"the call has no credentials; {accepted}", reason="TOKEN_MISSING")
    value = given[0]
    if len(given) > 1 or not isinstance(value, str):
        raise UnauthenticatedError(f"the call has {len(given)} credentials; {accepted}", reason="TOKEN_INVALID")
    if len(value) > MAX_CREDENTIAL:
        text = f"the credentials have {len(value)} characters; accepted: at most {MAX_CREDENTIAL}"
        raise UnauthenticatedError(text, reason="TOKEN_INVALID")
    found = BEARER.fullmatch(value)
    if found is None:
        raise UnauthenticatedError(f"the credentials are no bearer token; {accepted}", reason="TOKEN_INVALID")
    return found[1]
