"""``animax bench load``: time to the first frame and between frames at 1 to 32 streams, failures apart."""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from animax.cli.bench_target import Target, add_target, describe, driver_of, target_of
from animax.cli.options import new_command, positive
from animax.cli.progress import ProgressDisplay
from animax.cli.status import DONE, FAILED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from animax.cli.load_driver import Driver, Outcome, Spread

EXAMPLES = """\
  animax bench load
  animax bench load hero.glb --streams 1 8 64 --clips 128 --seconds 4
  animax bench load --server farm:50051 --url http://farm:9464 --json
"""
STREAMS = (1, 2, 4, 8, 16, 32)


@dataclass(frozen=True)
class Row:
    """How a server did with so many streams at a time; seconds.

    Attributes:
        streams: at a time.
        clips: asked for.
        whole: that came whole.
        failed: the others, by code and reason.
        first_frame: from the call to the first frame, of those that came whole.
        gap: between one message with frames and the next.
        clips_per_minute: whole ones.
    """

    streams: int
    clips: int
    whole: int
    failed: dict[str, int]
    first_frame: Spread
    gap: Spread
    clips_per_minute: float


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = new_command(commands, "bench load", "measure a server's latencies with many streams at a time", EXAMPLES)
    parser.add_argument(
        "--streams", metavar="N", type=positive, nargs="+", default=STREAMS, help="at a time (default: 1 2 4 8 16 32)"
    )
    parser.add_argument(
        "--clips", metavar="N", type=positive, default=48, help="for each, one a stream at least (default: %(default)d)"
    )
    add_target(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Measure, report. Fails when the server has counted something else than this command."""
    room = str(max(16, *options.streams))  # so that a server of its own turns nobody away
    with ProgressDisplay() as display, target_of(options, "--queue", room) as target:
        rows, text, found = asyncio.run(measure(options, target, display))
    if options.json:
        print(json.dumps({"load": [asdict(row) for row in rows], "differences": found}, indent=2))
    else:
        from animax.cli.server_counts import verdict

        told = "no --url: the server's counts were not looked at" if found is None else verdict(found)
        print("\n".join([text, "", *lines(rows), "", told]))
    return FAILED if found else DONE


async def measure(
    options: argparse.Namespace, target: Target, display: ProgressDisplay
) -> tuple[list[Row], str, list[str] | None]:
    """The rows, what was measured, and where the server's counts differ; None where they cannot be known."""
    from animax.cli.server_counts import differences, settled_counts

    rows: list[Row] = []
    outcomes: list[Outcome] = []
    found = None
    async with driver_of(options, target) as driver:
        before = await settled_counts(target.url) if target.url else None
        for streams in options.streams:
            display.show(f"{streams} at a time")
            row, made = await load(driver, streams, options.clips)
            rows.append(row)
            outcomes += made
        if before is not None:
            found = differences(outcomes, (await settled_counts(target.url)).since(before))
        text = describe(options, await driver.clients[0].capabilities())
    return rows, text, found


async def load(driver: Driver, streams: int, clips: int) -> tuple[Row, list[Outcome]]:
    """So many streams at a time, and what became of each."""
    from animax.cli.load_driver import failures, spread

    began = time.monotonic()
    outcomes = await driver.closed(streams, max(clips, streams))
    took = time.monotonic() - began
    whole = [one for one in outcomes if one.ok]
    row = Row(
        streams,
        len(outcomes),
        len(whole),
        failures(outcomes),
        spread(one.first_frame for one in whole if one.first_frame is not None),
        spread(gap for one in whole for gap in one.gaps),
        60 * len(whole) / took,
    )
    return row, outcomes


def lines(rows: Sequence[Row]) -> list[str]:
    """A table for people; failures below it."""
    out = [
        "streams   clips   whole   first frame s, p50    p95      p99     gap ms, p50    p95      p99    clips/min",
        *(
            f"{row.streams:>7} {row.clips:>7} {row.whole:>7} {numbers(row.first_frame):>38} "
            f"{numbers(row.gap, 1000):>30} {row.clips_per_minute:>12.1f}"
            for row in rows
        ),
    ]
    failed = [
        f"  at {row.streams:>2}: {number} × {how}" for row in rows for how, number in row.failed.items()
    ]  # fmt: skip
    return [*out, "", "failures:", *(failed or ["  none"])]


def numbers(spread: Spread, scale: float = 1.0) -> str:
    """The percentiles, side by side."""
    values = (spread.p50, spread.p95, spread.p99)
    return " ".join("      –" if value is None else f"{value * scale:>8.3f}" for value in values)
