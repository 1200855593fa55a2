"""Who generates next: a fixed number of slots and a bounded queue before them."""

from __future__ import annotations

import asyncio
import time
from collections import deque

from animax.errors import BusyError
from animax.service.access.caller import caller


class Ticket:
    """One request's place in the queue, then its slot. ``release`` it in any case."""

    def __init__(self, slots: Slots, owner: str = "") -> None:
        self._slots = slots
        self.owner = owner
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
    """``count`` slots; up to ``max_waiting`` tickets wait for one, first come, first served.

    Background tickets, for work that nobody holds a stream open for, take what these leave free, and while both wait
    every ``background_share``-th slot that becomes free.
    """

    def __init__(self, count: int, max_waiting: int, background_share: int = 4) -> None:
        self.count = count
        self.max_waiting = max_waiting
        self.background_share = background_share
        self._running: set[Ticket] = set()
        self._waiting: deque[Ticket] = deque()
        self._background: deque[Ticket] = deque()
        self._passed_over = 0
        self._typical_seconds = 1.0

    @property
    def running(self) -> int:
        """Slots in use."""
        return len(self._running)

    @property
    def waiting(self) -> int:
        """Tickets in the queue, without those in the background."""
        return len(self._waiting)

    @property
    def background(self) -> int:
        """Background tickets in their queue."""
        return len(self._background)

    def enter(self, *, admitted: bool = False, background: bool = False) -> Ticket:
        """A ticket at the end of the queue, or with a slot when one is free.

        Args:
            admitted: part of a request that was let in before; never refused.
            background: behind everybody else, but never for ever; never refused.

        Raises:
            BusyError: the queue is full.
            QuotaError: the caller has as many in it as it may have.
        """
        if not admitted and not background:
            self.require_room()
        ticket = Ticket(self, caller().name)
        (self._background if background else self._waiting).append(ticket)
        self._grant()
        return ticket

    def require_room(self) -> None:
        """Return if ``enter`` would let a request in now. Asked before anything is done for it, a refusal costs little.

        Raises:
            BusyError: the queue is full.
            QuotaError: the caller has as many in it as it may have.
        """
        if len(self._running) < self.count:
            return
        if len(self._waiting) >= self.max_waiting:
            text = f"{len(self._waiting)} requests are waiting; accepted: at most {self.max_waiting}"
            raise BusyError(text, reason="QUEUE_FULL", retry_after=self.retry_after())
        who = caller()
        who.queue(sum(ticket.owner == who.name for ticket in self._waiting))

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
        for queue in (self._waiting, self._background):
            if ticket in queue:
                queue.remove(ticket)
        self._grant()

    def _grant(self) -> None:
        while (self._waiting or self._background) and len(self._running) < self.count:
            ticket = self._next()
            self._running.add(ticket)
            ticket.granted_at = time.monotonic()
            ticket.granted.set()

    def _next(self) -> Ticket:
        if self._waiting and (not self._background or self._passed_over < self.background_share - 1):
            self._passed_over += bool(self._background)
            return self._waiting.popleft()
        self._passed_over = 0
        return self._background.popleft()
