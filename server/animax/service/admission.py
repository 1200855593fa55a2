"""Who generates next: a fixed number of slots and a bounded queue before them."""

from __future__ import annotations

import asyncio
import time
from collections import deque

from animax.errors import BusyError


class Ticket:
    """One request's place in the queue, then its slot. ``release`` it in any case."""

    def __init__(self, slots: Slots) -> None:
        self._slots = slots
        self.granted = asyncio.Event()
        self.granted_at = 0.0

    @property
    def position(self) -> int:
        """Requests served before this one; 0 with a slot in hand, otherwise at least 1."""
        return self._slots.position(self)

    def release(self) -> None:
        """Give the slot or the place in the queue back. Doing it twice is harmless."""
        self._slots.release(self)


class Slots:
    """``count`` slots; up to ``max_waiting`` tickets wait for one, first come, first served."""

    def __init__(self, count: int, max_waiting: int) -> None:
        self.count = count
        self.max_waiting = max_waiting
        self._running: set[Ticket] = set()
        self._waiting: deque[Ticket] = deque()
        self._typical_seconds = 1.0

    @property
    def running(self) -> int:
        """Slots in use."""
        return len(self._running)

    @property
    def waiting(self) -> int:
        """Tickets in the queue."""
        return len(self._waiting)

    def enter(self, *, admitted: bool = False) -> Ticket:
        """A ticket at the end of the queue, or with a slot when one is free.

        Args:
            admitted: part of a request that was let in before; never refused.

        Raises:
            BusyError: the queue is full.
        """
        free = len(self._running) < self.count
        if not free and not admitted and len(self._waiting) >= self.max_waiting:
            text = f"{len(self._waiting)} requests are waiting; accepted: at most {self.max_waiting}"
            raise BusyError(text, reason="QUEUE_FULL", retry_after=self.retry_after())
        ticket = Ticket(self)
        self._waiting.append(ticket)
        self._grant()
        return ticket

    def retry_after(self) -> float:
        """Seconds after which the queue has probably moved by one: what a request took lately, shared by the slots."""
        return min(max(self._typical_seconds / self.count, 0.5), 60.0)

    def position(self, ticket: Ticket) -> int:
        """See ``Ticket.position``."""
        return self._waiting.index(ticket) + 1 if ticket in self._waiting else 0

    def release(self, ticket: Ticket) -> None:
        """See ``Ticket.release``."""
        if ticket in self._running:
            self._running.remove(ticket)
            self._typical_seconds += 0.2 * (time.monotonic() - ticket.granted_at - self._typical_seconds)
        elif ticket in self._waiting:
            self._waiting.remove(ticket)
        self._grant()

    def _grant(self) -> None:
        while self._waiting and len(self._running) < self.count:
            ticket = self._waiting.popleft()
            self._running.add(ticket)
            ticket.granted_at = time.monotonic()
            ticket.granted.set()
