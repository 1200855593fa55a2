"""Where a list goes on, as a text that clients keep without looking into it."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json

from animax.errors import OptionError
from animax.service.jobs.job import Filter

_ACCEPTED = "next_page_token of the page before, with the same filter"


def write_page_token(before: int, which: Filter) -> str:
    """The token of the page with jobs created before the one with sequence ``before``."""
    return base64.urlsafe_b64encode(f"{before}.{_fingerprint(which)}".encode()).decode()


def read_page_token(token: str, which: Filter) -> int | None:
    """What ``write_page_token`` was given; None for the first page.

    Raises:
        OptionError: it is no token, or that of another filter.
    """
    if not token:
        return None
    try:
        before, _, fingerprint = base64.b64decode(token.encode(), b"-_", validate=True).decode().partition(".")
        sequence = int(before)
    except (ValueError, binascii.Error):
        raise OptionError("page_token", token, _ACCEPTED) from None
    if fingerprint != _fingerprint(which) or not 0 < sequence < 2**63:
        raise OptionError("page_token", token, _ACCEPTED)
    return sequence


def _fingerprint(which: Filter) -> str:
    parts = [sorted(which.states), which.rig_id, sorted(which.labels.items()), which.owner]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]
