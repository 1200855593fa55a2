"""What a server has counted itself, read off its metrics, and whether a load driver has counted the same."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families

from animax.cli.load_driver import Outcome, by_code
from animax.cli.server_options import STATUS_PAGE, ask_page
from animax.errors import OptionError, UnavailableError

ANIMATE = "animax.v1.AnimationService/Animate"
LEFT_BY_CLIENT = frozenset({"CANCELLED", "DEADLINE_EXCEEDED"})
"""The client's own word: what it is told no more may have ended otherwise at the server, or have come too late."""
SETTLE_SECONDS = 30.0


@dataclass(frozen=True)
class Counts:
    """What a server tells of itself.

    Attributes:
        calls: of ``Animate`` that ended, by status code.
        refused: calls of any method that were turned away or cut short for the server's state, by reason.
        first_frames: calls that got as far as a frame.
        in_progress: calls of ``Animate``.
        resident: bytes of memory.
        descriptors: that the process has open.
        tasks: of its event loop.
    """

    calls: Counter[str]
    refused: Counter[str]
    first_frames: int
    in_progress: int
    resident: int
    descriptors: int
    tasks: int

    def since(self, before: Counts) -> Counts:
        """Only what was counted after ``before``; what is a level stays."""
        return Counts(
            self.calls - before.calls,
            self.refused - before.refused,
            self.first_frames - before.first_frames,
            self.in_progress,
            self.resident,
            self.descriptors,
            self.tasks,
        )


def read_counts(url: str) -> Counts:
    """The counts of a server now.

    Args:
        url: of its status page.

    Raises:
        OptionError: it is no such URL.
        UnavailableError: it cannot be reached.
    """
    status, page = ask_page(url, "/metrics", 10.0)
    if status != 200:
        raise UnavailableError("the server does not answer", reason="")
    calls: Counter[str] = Counter()
    refused: Counter[str] = Counter()
    levels: dict[str, float] = {}
    for family in text_string_to_metric_families(page.decode()):
        for sample in family.samples:
            if sample.name == "animax_requests_total" and sample.labels["method"] == ANIMATE:
                calls[sample.labels["code"]] += int(sample.value)
            elif sample.name == "animax_refusals_total":
                refused[sample.labels["reason"]] += int(sample.value)
            elif sample.name == "animax_requests_in_progress":
                levels[sample.name] = sample.value if sample.labels["method"] == ANIMATE else levels.get(sample.name, 0)
            elif not sample.labels:
                levels[sample.name] = sample.value
    if "animax_ready" not in levels:
        raise OptionError("url", url, STATUS_PAGE)

    def level(name: str) -> int:
        return int(levels.get(name, 0))

    return Counts(
        calls,
        refused,
        level("animax_first_frame_seconds_count"),
        level("animax_requests_in_progress"),
        level("process_resident_memory_bytes"),
        level("process_open_fds"),
        level("animax_tasks"),
    )


async def settled_counts(url: str) -> Counts:
    """The counts once no call is in progress.

    Raises:
        UnavailableError: some do not end.
    """
    end = time.monotonic() + SETTLE_SECONDS
    while (counts := await asyncio.to_thread(read_counts, url)).in_progress:
        if time.monotonic() > end:
            text = f"{counts.in_progress} calls are in progress {SETTLE_SECONDS:g} s after the last one that was made"
            raise UnavailableError(text, reason="")
        await asyncio.sleep(0.05)
    return counts


def differences(outcomes: Sequence[Outcome], counted: Counts) -> list[str]:
    """Where a driver's counts and the server's are not the same, one sentence each.

    Args:
        outcomes: of all calls that were made while the server counted.
        counted: by the server, in the same time.
    """
    own = by_code(outcomes)
    left = sum(own[code] for code in LEFT_BY_CLIENT)
    found = [
        f"{code}: the driver saw {own[code]}, the server {counted.calls[code]}"
        for code in sorted((own.keys() | counted.calls.keys()) - LEFT_BY_CLIENT)
        # of the calls that a client left, some had ended already, in the server's eyes
        if not own[code] <= counted.calls[code] <= own[code] + left
    ]
    told = sum(counted.calls.values())
    # a deadline may pass before the call is on its way
    if not len(outcomes) - own["DEADLINE_EXCEEDED"] <= told <= len(outcomes):
        found.append(f"calls: the driver made {len(outcomes)}, the server saw {told}")
    frames = sum(one.first_frame is not None for one in outcomes)
    # who leaves at the first frame may be gone before the server has seen it off
    at_first = sum(one.first_frame is not None and one.code in LEFT_BY_CLIENT for one in outcomes)
    if not frames - at_first <= counted.first_frames <= frames + left:
        found.append(f"streams with frames: the driver saw {frames}, the server {counted.first_frames}")
    refused = Counter(one.reason for one in outcomes if one.reason in counted.refused or one.reason == "QUEUE_FULL")
    found += [
        f"{reason}: the driver saw {refused[reason]}, the server {counted.refused[reason]}"
        for reason in sorted(refused.keys() | counted.refused.keys())
        if refused[reason] != counted.refused[reason]
    ]
    return found


def verdict(found: Iterable[str]) -> str:
    """The same for people, in one line."""
    text = "; ".join(found)
    return f"counts of the server differ from the driver's: {text}" if text else "counts of the server are the driver's"
