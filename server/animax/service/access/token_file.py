"""Static tokens: a file with one line each, which holds their hashes alone.

    NAME SHA256 [scopes=admin] [concurrent=N] [queued=N] [asset_bytes=N] [motion_seconds=S]

A token is 256 random bits, so a plain SHA-256 of it is as good as a slow hash: there is nothing to guess.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from animax.errors import OptionError
from animax.service.access.identity import ADMIN, Identity
from animax.service.access.settings import Quotas

PREFIX = "animax_"
NAME = re.compile(r"[A-Za-z0-9._@-]{1,64}")
HASH = re.compile("[0-9a-f]{64}")
ACCEPTED = (
    "NAME SHA256 [scopes=admin] [concurrent=N] [queued=N] [asset_bytes=N] [motion_seconds=S], "
    "as `animax token create NAME` prints it"
)


def new_token() -> str:
    """A token that nobody guesses."""
    return PREFIX + secrets.token_urlsafe(32)


def token_line(name: str, token: str, more: Mapping[str, object]) -> str:
    """Its line for the file.

    Raises:
        OptionError: the name or one of ``more`` is not accepted.
    """
    if not NAME.fullmatch(name):
        raise OptionError("name", name, "1 to 64 characters of A-Z a-z 0-9 . _ @ -")
    line = " ".join([name, digest(token), *(f"{key}={value}" for key, value in more.items() if value is not None)])
    _identity(line.split(), Quotas(), "line")
    return line


def digest(token: str) -> str:
    """What the file holds of a token."""
    return hashlib.sha256(token.encode()).hexdigest()


def read_tokens(path: Path, quotas: Quotas) -> dict[str, Identity]:
    """Identities by hash of their token.

    Args:
        path: of the file.
        quotas: where a line says nothing else.

    Raises:
        OptionError: the file cannot be read, or a line is not as it should be; the line's number is told, not its text.
    """
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        raise OptionError("token_file", path.name, "a text file that can be read") from None
    found: dict[str, Identity] = {}
    names: set[str] = set()
    for number, line in enumerate(lines, 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        place = f"token_file, line {number}"
        identity = _identity(words, quotas, place)
        if words[1] in found or identity.name in names:
            raise OptionError(place, "a repetition", "every name and every token once")
        names.add(identity.name)
        found[words[1]] = identity
    return found


def _identity(words: list[str], quotas: Quotas, place: str) -> Identity:
    if len(words) < 2 or not NAME.fullmatch(words[0]) or not HASH.fullmatch(words[1]):
        raise OptionError(place, "no name with a SHA-256", ACCEPTED)
    scopes: frozenset[str] = frozenset()
    given: dict[str, float] = {}
    for word in words[2:]:
        key, _, value = word.partition("=")
        if key == "scopes" and set(value.split(",")) <= {ADMIN}:
            scopes = frozenset(value.split(","))
        elif key in Quotas.__dataclass_fields__ and re.fullmatch(r"[0-9]+", value):
            given[key] = int(value)
        else:
            raise OptionError(place, f"{key[:40]}=…", ACCEPTED)
    try:
        return Identity(f"token:{words[0]}", scopes, replace(quotas, **given))  # type: ignore[arg-type]
    except OptionError as error:
        raise OptionError(f"{place}, {error.name}", error.seen, error.accepted) from None
