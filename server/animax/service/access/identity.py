"""Who a caller is."""

from __future__ import annotations

from dataclasses import dataclass, field

from animax.service.access.settings import Quotas

ADMIN = "admin"
MAX_NAME = 200
"""Characters."""


@dataclass(frozen=True)
class Identity:
    """A caller that has proved who it is.

    Attributes:
        name: unique on this server, with where it is known from: ``token:studio``, ``jwt:4711``.
        scopes: what it may do beyond its own: ``admin`` sees everybody's jobs.
        quotas: what it may use.
    """

    name: str
    scopes: frozenset[str] = frozenset()
    quotas: Quotas = field(default_factory=Quotas)

    @property
    def admin(self) -> bool:
        """Sees everybody's jobs."""
        return ADMIN in self.scopes


EVERYBODY = Identity("", frozenset({ADMIN}))
"""On a server that tells nobody apart."""
