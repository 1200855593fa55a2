"""Slots under any sequence of comings and goings."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from animax.errors import BusyError
from animax.service.admission import Slots, Ticket


@given(st.integers(1, 4), st.integers(0, 4), st.lists(st.tuples(st.booleans(), st.integers(0, 30)), max_size=60))
def test_slots_are_bounded_fair_and_never_idle_while_somebody_waits(
    count: int, max_waiting: int, moves: list[tuple[bool, int]]
) -> None:
    slots = Slots(count, max_waiting)
    held: list[Ticket] = []
    served: list[Ticket] = []
    entered: list[Ticket] = []
    abandoned: set[int] = set()

    def note() -> None:
        served.extend(t for t in entered if t.granted.is_set() and t not in served)

    for enters, which in moves:
        if enters:
            full = slots.running == count and slots.waiting >= max_waiting
            if full:
                with pytest.raises(BusyError) as caught:
                    slots.enter()
                assert caught.value.retry_after is not None
                continue
            ticket = slots.enter()
            held.append(ticket)
            entered.append(ticket)
        elif held:
            ticket = held.pop(which % len(held))
            if not ticket.granted.is_set():
                abandoned.add(id(ticket))
            ticket.release()
            ticket.release()
        note()
        assert slots.running <= count
        assert slots.waiting <= max_waiting
        assert slots.waiting == 0 or slots.running == count
        assert slots.running + slots.waiting == len(held)
        assert sorted(t.position for t in held if not t.granted.is_set()) == list(range(1, slots.waiting + 1))
    assert served == [t for t in entered if id(t) not in abandoned and t.granted.is_set()]


def test_what_was_let_in_is_never_refused() -> None:
    slots = Slots(1, 0)
    first = slots.enter()
    again = slots.enter(admitted=True)
    assert again.position == 1
    first.release()
    assert again.granted.is_set()
