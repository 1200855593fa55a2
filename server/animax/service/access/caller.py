"""What each caller uses at the moment, and the caller of the call that is being worked on."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from animax.errors import QuotaError
from animax.service.access.identity import EVERYBODY, Identity

MINUTE = 60.0
BUSY_RETRY = 1.0
QUEUE_RETRY = 5.0
"""Seconds."""
MOST_IDLE = 1000
"""Callers that are remembered; beyond it those go that use nothing."""


@dataclass(frozen=True, eq=False)
class Ordered:
    """Seconds of motion that were ordered at a time."""

    at: float
    seconds: float


class Caller:
    """One identity and what it uses. Belongs to one event loop.

    Attributes:
        identity: as the last call proved it.
        running: its calls in progress.
    """

    def __init__(self, identity: Identity, clock: Callable[[], float] = time.monotonic) -> None:
        self.identity = identity
        self.running = 0
        self._clock = clock
        self._ordered: deque[Ordered] = deque()

    @property
    def name(self) -> str:
        """Of the identity; empty on a server that tells nobody apart."""
        return self.identity.name

    @property
    def idle(self) -> bool:
        """It uses nothing that is counted here."""
        self._forget()
        return not (self.running or self._ordered)

    @contextmanager
    def call(self) -> Iterator[None]:
        """One more call, as long as the context lasts.

        Raises:
            QuotaError: there are as many as there may be.
        """
        most = self.identity.quotas.concurrent
        if most is not None and self.running >= most:
            text = f"{self.running} calls of this caller are in progress; accepted: at most {most}"
            raise QuotaError("concurrent", text, BUSY_RETRY)
        self.running += 1
        try:
            yield
        finally:
            self.running -= 1

    def queue(self, waiting: int) -> None:
        """Return if one more request may wait beside ``waiting`` others of this caller.

        Raises:
            QuotaError: it may not.
        """
        most = self.identity.quotas.queued
        if most is not None and waiting >= most:
            text = f"{waiting} requests of this caller are waiting; accepted: at most {most}"
            raise QuotaError("queued", text, QUEUE_RETRY)

    def order(self, seconds: float) -> Ordered | None:
        """Count motion that is ordered; gives what ``take_back`` takes, None where there is no limit.

        Raises:
            QuotaError: it is too much for this minute.
        """
        most = self.identity.quotas.motion_seconds
        if most is None:
            return None
        self._forget()
        used = sum(entry.seconds for entry in self._ordered)
        if used + seconds > most:
            text = f"{used:g} s of motion were ordered within a minute, and {seconds:g} s more; accepted: {most:g} s"
            raise QuotaError("motion_seconds", text, self._until(used + seconds - most))
        entry = Ordered(self._clock(), seconds)
        self._ordered.append(entry)
        return entry

    def take_back(self, entry: Ordered | None) -> None:
        """An order was refused for another reason, or is not made."""
        self._ordered = deque(kept for kept in self._ordered if kept is not entry)

    def _until(self, excess: float) -> float | None:
        """Seconds until so much is forgotten; None when never."""
        for entry in self._ordered:
            excess -= entry.seconds
            if excess <= 0:
                return max(0.1, entry.at + MINUTE - self._clock())
        return None

    def _forget(self) -> None:
        while self._ordered and self._ordered[0].at <= self._clock() - MINUTE:
            self._ordered.popleft()


class Callers:
    """All callers of a server."""

    def __init__(self) -> None:
        self._callers: dict[str, Caller] = {}

    def of(self, identity: Identity) -> Caller:
        """The caller that an identity is."""
        found = self._callers.get(identity.name)
        if found is None:
            if len(self._callers) >= MOST_IDLE:
                self._callers = {name: caller for name, caller in self._callers.items() if not caller.idle}
            found = self._callers[identity.name] = Caller(identity)
        found.identity = identity  # its quotas may have changed
        return found


current: ContextVar[Caller | None] = ContextVar("animax_caller", default=None)
"""Of the call that a task works on."""


def caller() -> Caller:
    """Who made the call that is being worked on; everybody outside of one."""
    return current.get() or Caller(EVERYBODY)
