"""JWTs signed by a key of a JWKS file. Needs PyJWT (``animax[auth]``)."""

from __future__ import annotations

import json
from typing import Any

import jwt

from animax.errors import ForbiddenError, OptionError, UnauthenticatedError
from animax.service.access.identity import MAX_NAME, Identity
from animax.service.access.settings import AuthSettings

LEEWAY = 30.0
"""Seconds by which clocks may differ."""
REQUIRED = ["exp", "iss", "aud", "sub"]


class JwtVerifier:
    """Keys and rules of one server.

    Args:
        settings: with ``jwks_file``, ``issuer`` and ``audience``.

    Raises:
        OptionError: the file holds no usable key.
    """

    def __init__(self, settings: AuthSettings) -> None:
        assert settings.jwks_file is not None
        self._settings = settings
        try:
            entries = json.loads(settings.jwks_file.read_text("utf-8"))["keys"]
            usable = [entry for entry in entries if entry.get("use", "sig") == "sig" and entry["kty"] != "oct"]
            keys = [jwt.PyJWK(entry) for entry in usable]
        except (OSError, ValueError, KeyError, TypeError, AttributeError, jwt.PyJWTError):
            accepted = "a JSON Web Key Set with public keys that can be read"
            raise OptionError("jwks_file", settings.jwks_file.name, accepted) from None
        if not keys:
            raise OptionError("jwks_file", settings.jwks_file.name, "at least one public key for signatures")
        self._keys = keys

    def verify(self, token: str) -> Identity:
        """Who a token says the caller is.

        Raises:
            UnauthenticatedError: it is not valid, or not any more.
            ForbiddenError: it is valid, but lacks the scope that is wanted.
        """
        settings = self._settings
        try:
            key = self._key_of(jwt.get_unverified_header(token))
            claims: dict[str, Any] = jwt.decode(
                token,
                key,
                algorithms=list(settings.algorithms),
                issuer=settings.issuer,
                audience=settings.audience,
                leeway=LEEWAY,
                options={"require": REQUIRED},
            )
        except jwt.ExpiredSignatureError:
            raise UnauthenticatedError("the token has expired; accepted: a new one", reason="TOKEN_EXPIRED") from None
        except (jwt.PyJWTError, ValueError, TypeError):
            raise invalid() from None
        subject, scope = claims["sub"], claims.get("scope", "")
        if not (isinstance(subject, str) and 0 < len(subject) <= MAX_NAME and subject.isprintable()):
            raise invalid()
        scopes = frozenset(scope.split()) if isinstance(scope, str) else frozenset()
        if settings.jwt_scope is not None and settings.jwt_scope not in scopes:
            text = f"the token lacks a scope; accepted: tokens with the scope {settings.jwt_scope}"
            raise ForbiddenError(text, reason="SCOPE_MISSING")
        return Identity(f"jwt:{subject}", scopes, settings.quotas())

    def _key_of(self, header: dict[str, Any]) -> jwt.PyJWK:
        name = header.get("kid")
        fitting = [key for key in self._keys if name is None or key.key_id == name]
        if len(fitting) != 1:
            raise jwt.InvalidKeyError
        return fitting[0]


def invalid() -> UnauthenticatedError:
    """One answer to all tokens that are not valid: it does not tell how far one got."""
    return UnauthenticatedError("the token is not valid; accepted: one that this server knows", reason="TOKEN_INVALID")
