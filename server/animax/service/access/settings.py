"""How callers are known, and what each of them may use."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from animax.errors import OptionError
from animax.service.ranges import check_ranges

RANGES: dict[str, tuple[float, float]] = {
    "concurrent": (1, 100_000),
    "queued": (1, 10_000_000),
    "asset_bytes": (1, 2**60),
    "motion_seconds": (1, 86_400_000),
}
"""Least and most of each quota, where it is not None."""
ALGORITHMS = frozenset(f"{family}{bits}" for family in ("RS", "PS", "ES") for bits in ("256", "384", "512")) | {"EdDSA"}
"""Signatures with a key pair: with any other, whoever can verify a token could make one."""


@dataclass(frozen=True)
class Quotas:
    """What one caller may use; None sets no limit.

    Attributes:
        concurrent: calls at the same time.
        queued: requests that wait for a slot, and, counted apart, jobs that wait.
        asset_bytes: files of rigs that the caller brought and the server keeps.
        motion_seconds: of motion ordered within a minute, over all variants; counted by each server for itself.
    """

    concurrent: int | None = None
    queued: int | None = None
    asset_bytes: int | None = None
    motion_seconds: float | None = None

    def __post_init__(self) -> None:
        check_ranges(self, RANGES)


@dataclass(frozen=True)
class AuthSettings(Quotas):
    """Callers must show a bearer token: one of a file, or a JWT signed by a key of a JWKS file.

    Attributes:
        token_file: lines as ``animax token create`` prints them.
        jwks_file: JSON Web Key Set with the public keys of those who issue JWTs; needs ``animax[auth]``.
        issuer: ``iss`` that JWTs must have.
        audience: ``aud`` that JWTs must have.
        algorithms: of JWT signatures that are accepted; never ``none``, nor one with a shared secret.
        jwt_scope: that JWTs must have in ``scope``; None wants none.
        concurrent: calls of one caller at the same time, for callers whose line in the token file says nothing else.
        queued: likewise, requests of a caller that wait for a slot, and, counted apart, jobs that wait.
        asset_bytes: likewise, files of rigs that the caller brought and the server keeps.
        motion_seconds: likewise, motion ordered within a minute, over all variants; each server counts for itself.
    """

    token_file: Path | None = None
    jwks_file: Path | None = None
    issuer: str | None = None
    audience: str | None = None
    algorithms: tuple[str, ...] = ("RS256", "ES256", "EdDSA")
    jwt_scope: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.token_file is None and self.jwks_file is None:
            raise OptionError("token_file", None, "a token_file, a jwks_file, or both")
        if self.jwks_file is not None:
            for name in ("issuer", "audience"):
                if not getattr(self, name):
                    raise OptionError(name, getattr(self, name), f"the {name} of the JWTs, beside jwks_file")
        for algorithm in self.algorithms:
            if algorithm not in ALGORITHMS:
                raise OptionError("algorithms", algorithm, ", ".join(sorted(ALGORITHMS)))
        if not self.algorithms:
            raise OptionError("algorithms", self.algorithms, ", ".join(sorted(ALGORITHMS)))
        if self.jwt_scope is not None and not re.fullmatch(r"[!#-\[\]-~]+", self.jwt_scope):
            raise OptionError("jwt_scope", self.jwt_scope, "one scope, without spaces")

    def quotas(self) -> Quotas:
        """Of callers of whom nothing else is said."""
        return Quotas(self.concurrent, self.queued, self.asset_bytes, self.motion_seconds)
