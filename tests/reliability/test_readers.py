"""The short version of ``python -m tests.reliability.readers``."""

from __future__ import annotations

import pytest

from tests.reliability.readers import try_kind

TIMEOUT = 1.5


@pytest.mark.parametrize("kind", ["stalled", "vanished", "stalled, gRPC-Web"])
async def test_who_reads_no_more_is_given_up_in_the_stated_time_and_holds_nobody_up(kind: str) -> None:
    report = await try_kind(kind, readers=3, timeout=TIMEOUT, others=3)
    assert len(report.held) == 3
    # a busy machine adds to the end
    assert min(report.held) > TIMEOUT
    assert max(report.held) < TIMEOUT + 20
    # slots are free at once, and the others are done before anybody is given up
    assert report.slots < min(report.held)
    assert report.whole == 0
    assert len(report.others) == 3


async def test_who_is_slow_but_reads_gets_everything() -> None:
    report = await try_kind("slow", readers=2, timeout=TIMEOUT, others=2)
    assert report.whole == 2
