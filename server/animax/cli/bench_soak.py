"""``animax bench soak``: streams that end in every way for a long time, and what the server keeps of them."""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import time
from dataclasses import asdict, dataclass
from statistics import linear_regression
from typing import TYPE_CHECKING

from animax.cli.bench_target import Target, add_target, describe, driver_of, target_of
from animax.cli.options import new_command, positive
from animax.cli.progress import ProgressDisplay
from animax.cli.status import DONE, FAILED
from animax.errors import OptionError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from animax.cli.load_driver import Driver, Leave, Outcome
    from animax.cli.server_counts import Counts
    from animax.client import Event

EXAMPLES = """\
  animax bench soak --minutes 30
  animax bench soak hero.glb --minutes 480 --streams 16
  animax bench soak --server farm:50051 --url http://farm:9464
"""
WAYS = {"stays": 8, "leaves in the queue": 3, "leaves while denoising": 4, "leaves within the frames": 2, "deadline": 3}
"""How streams end, in shares of 20."""
FRESH_CONNECTION = 0.2
"""Of the streams come by a connection of their own, which is closed with them."""
WARM_UP = 0.2
"""Of the time, for caches and pools to fill; memory is not looked at before."""
SLOPE_MIB = 1.0
"""A minute, at most."""
DESCRIPTORS, TASKS = 8, 4
"""By which a server that is idle again may differ from before: connections that are on their way out."""
SAMPLE_SECONDS = 2.0


@dataclass(frozen=True)
class Level:
    """What a server has at a moment: minutes since the beginning, MiB, open files and sockets, tasks of its loop."""

    minutes: float
    resident_mib: float
    descriptors: int
    tasks: int


@dataclass(frozen=True)
class Report:
    """What a soak left behind.

    Attributes:
        minutes: of load.
        ends: streams by way and by what became of them.
        before, after: with no stream in progress, after a short warm-up and at the end.
        slope_mib: of memory by the minute, after the warm-up.
        peak_mib: of memory.
        samples: while it was under load.
        broken: promises, and where the server's counts differ from ours.
    """

    minutes: float
    ends: dict[str, int]
    before: Level
    after: Level
    slope_mib: float
    peak_mib: float
    samples: int
    broken: list[str]


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = new_command(
        commands, "bench soak", "load a server for long and see whether it keeps memory, sockets or tasks", EXAMPLES
    )
    parser.add_argument("--minutes", metavar="N", type=float, default=30.0, help="(default: %(default)g)")
    parser.add_argument("--streams", metavar="N", type=positive, default=6, help="at a time (default: %(default)d)")
    add_target(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Load, watch, report. Fails when something stays behind."""
    if options.server and not options.url:
        raise OptionError("url", None, "the server's status page, beside --server")
    if not 0.05 <= options.minutes <= 10_000:
        raise OptionError("minutes", options.minutes, "0.05 to 10000")
    with ProgressDisplay() as display, target_of(options) as target:
        report, text = asyncio.run(measure(options, target, display))
    if options.json:
        print(json.dumps(asdict(report), indent=2))
    else:
        print("\n".join([text, "", *lines(report)]))
    return FAILED if report.broken else DONE


async def measure(options: argparse.Namespace, target: Target, display: ProgressDisplay) -> tuple[Report, str]:
    """What was left behind, and what was measured."""
    from animax.cli.server_counts import differences, read_counts, settled_counts

    dice = random.Random(options.seed)
    outcomes: list[tuple[str, Outcome]] = []
    levels: list[Level] = []
    async with driver_of(options, target) as driver:
        alone = (await driver.stream()).seconds

        async def reader(end: float, made: list[tuple[str, Outcome]]) -> None:
            while time.monotonic() < end:
                way = dice.choices(list(WAYS), list(WAYS.values()))[0]
                made.append((way, await one(driver, target, way, alone * dice.random(), dice)))

        async def readers(seconds: float, made: list[tuple[str, Outcome]]) -> None:
            end = time.monotonic() + seconds
            await asyncio.gather(*(reader(end, made) for _ in range(options.streams)))

        display.show("warming up")
        await readers(min(20.0, 6 * options.minutes), [])
        idle = await settled_counts(target.url)
        began = time.monotonic()
        before = level_of(idle, 0.0)
        load = asyncio.create_task(readers(60 * options.minutes, outcomes))
        while not load.done():
            await asyncio.wait({load}, timeout=min(SAMPLE_SECONDS, 0.6 * options.minutes))
            minutes = (time.monotonic() - began) / 60
            try:
                levels.append(level_of(await asyncio.to_thread(read_counts, target.url), minutes))
            except UnavailableError:  # a busy machine; one that does not come back is noticed at the end
                continue
            display.show(f"{minutes:.1f} of {options.minutes:g} minutes, {levels[-1].resident_mib:.0f} MiB")
        await load
        counts = await settled_counts(target.url)
        found = differences([outcome for _, outcome in outcomes], counts.since(idle))
        after = await come_to_rest(target, before, (time.monotonic() - began) / 60)
        text = describe(options, await driver.clients[0].capabilities())
    return report_of(options.minutes, outcomes, levels, before, after, found), text


async def one(driver: Driver, target: Target, way: str, deadline: float, dice: random.Random) -> Outcome:
    """One stream that ends in a given way."""
    from animax.client import AsyncClient

    leave, timeout = leaving(way), max(0.05, deadline) if way == "deadline" else None
    if dice.random() >= FRESH_CONNECTION:
        return await driver.stream(leave=leave, timeout=timeout)
    async with AsyncClient(target.address, own_connection=True, **target.connection) as client:
        return await driver.stream(leave=leave, timeout=timeout, client=client)


def leaving(way: str) -> Leave | None:
    """When a stream is left that ends in a given way; None for not at all."""
    from animax.v1 import animation_service_pb2 as pb

    def at(stage: int, event: Event) -> bool:
        return isinstance(event, pb.Progress) and event.stage == stage

    ways: dict[str, Leave] = {
        "leaves in the queue": lambda event: isinstance(event, pb.Header),
        "leaves while denoising": lambda event: at(pb.STAGE_DENOISE, event),
        "leaves within the frames": lambda event: isinstance(event, pb.Frames),
    }
    return ways.get(way)


async def come_to_rest(target: Target, before: Level, minutes: float) -> Level:
    """The level once it is that of before, or does not come down any further for a while."""
    from animax.cli.server_counts import settled_counts

    for _ in range(20):
        level = level_of(await settled_counts(target.url), minutes)
        if not kept(before, level):
            break
        await asyncio.sleep(0.5)
    return level


def kept(before: Level, after: Level) -> list[str]:
    """What an idle server has that it had not before, one sentence each."""
    found = []
    for name, more in (("descriptors", DESCRIPTORS), ("tasks", TASKS)):
        was, now = getattr(before, name), getattr(after, name)
        if now > was + more:
            found.append(f"{now} {name} are left; promised: {was}, as before, and at most {more} more")
    return found


def report_of(
    minutes: float,
    outcomes: Sequence[tuple[str, Outcome]],
    levels: Sequence[Level],
    before: Level,
    after: Level,
    found: Sequence[str],
) -> Report:
    """The figures, and the promises that were broken."""
    from collections import Counter

    ends = Counter(f"{way}: {outcome.code} {outcome.reason}".strip() for way, outcome in outcomes)
    warm = [level for level in levels if level.minutes >= WARM_UP * minutes]
    slope = slope_of(warm)
    broken = [*found, *kept(before, after)]
    if slope > SLOPE_MIB:
        broken.append(f"memory grows by {slope:.2f} MiB a minute; promised: at most {SLOPE_MIB:g}")
    strange = [f"{number} × {end}" for end, number in ends.items() if end.startswith("stays") and "OK" not in end]
    broken += [f"{text}; promised: none" for text in strange if "QUEUE_FULL" not in text]
    peak = max(level.resident_mib for level in (*levels, before, after))
    return Report(minutes, dict(sorted(ends.items())), before, after, slope, peak, len(levels), broken)


def slope_of(levels: Sequence[Level]) -> float:
    """MiB a minute: the line of least squares."""
    if len(levels) < 2:
        return 0.0
    return linear_regression([level.minutes for level in levels], [level.resident_mib for level in levels]).slope


def level_of(counts: Counts, minutes: float) -> Level:
    """The level that a server's counts tell."""
    return Level(minutes, counts.resident / 2**20, counts.descriptors, counts.tasks)


def lines(report: Report) -> list[str]:
    """A report for people."""
    before, after = report.before, report.after
    return [
        f"minutes                  {report.minutes:g}",
        f"streams                  {sum(report.ends.values())}",
        *(f"  {end:<42} {number:>6}" for end, number in report.ends.items()),
        "",
        "                         before   after",
        f"memory, MiB             {before.resident_mib:>7.1f} {after.resident_mib:>7.1f}   peak {report.peak_mib:.1f}",
        f"descriptors             {before.descriptors:>7} {after.descriptors:>7}",
        f"tasks                   {before.tasks:>7} {after.tasks:>7}",
        f"memory's slope           {report.slope_mib:+.3f} MiB a minute, after the first {WARM_UP:.0%} of the time, "
        f"{report.samples} samples",
        "",
        *(report.broken or ["nothing stayed behind, and the server's counts are the driver's"]),
    ]
